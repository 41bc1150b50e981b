# librdkafka's C API, looked up at run time in the library that confluent_kafka has loaded. The functions and the
# message are its stable public ABI, so neither its headers nor linking are needed.

from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport strlen

cdef extern from "<dlfcn.h>" nogil:
    enum:
        RTLD_NOW
        RTLD_NOLOAD
    void *dlopen(const char *path, int flags)
    void *dlsym(void *library, const char *name)

cdef enum:
    OLDEST_LIBRARY = 0x020100ff  # 2.1.0 was the first with leader epochs of messages and positions
    CONSUMER = 1
    KEEP_GROUP = 8  # RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE: there is no group to leave
    INVALID_ARGUMENT = -186
    END_OF_PARTITION = -191
    FATAL = -150


cdef struct Message:
    # rd_kafka_message_t
    int error
    void *topic
    int32_t partition
    void *value  # of an error: its text
    size_t value_size
    void *key
    size_t key_size
    int64_t offset
    void *private

ctypedef int (*version_t)() noexcept nogil
ctypedef void *(*new_conf_t)() noexcept nogil
ctypedef int (*set_conf_t)(void *conf, const char *name, const char *value, char *text, size_t size) noexcept nogil
ctypedef void (*set_pointer_t)(void *conf, void *pointer) noexcept nogil
ctypedef void (*destroy_t)(void *thing) noexcept nogil
ctypedef void *(*new_client_t)(int kind, void *conf, char *text, size_t size) noexcept nogil
ctypedef void (*destroy_client_t)(void *client, int flags) noexcept nogil
ctypedef int (*code_of_t)(const void *thing) noexcept nogil
ctypedef const char *(*text_of_t)(const void *thing) noexcept nogil
ctypedef int (*fatal_error_t)(void *client, char *text, size_t size) noexcept nogil
ctypedef void *(*pointer_of_t)(const void *thing) noexcept nogil
ctypedef void *(*new_topic_t)(void *client, const char *name, void *conf) noexcept nogil
ctypedef int (*metadata_t)(void *client, int all, void *topic, void **answer, int timeout_ms) noexcept nogil
ctypedef void *(*new_list_t)(int size) noexcept nogil
ctypedef void *(*add_partition_t)(void *partitions, const char *topic, int32_t partition) noexcept nogil
ctypedef int (*set_offset_t)(void *partitions, const char *topic, int32_t partition, int64_t offset) noexcept nogil
ctypedef void (*set_epoch_t)(void *partition, int32_t epoch) noexcept nogil
ctypedef void *(*assign_t)(void *client, const void *partitions) noexcept nogil
ctypedef Py_ssize_t (*consume_t)(void *queue, int timeout_ms, Message **messages, size_t size) noexcept nogil
ctypedef int (*position_t)(void *client, void *partitions) noexcept nogil
ctypedef int (*watermarks_t)(
    void *client, const char *topic, int32_t partition, int64_t *low, int64_t *high
) noexcept nogil
ctypedef int64_t (*timestamp_t)(const Message *message, int *kind) noexcept nogil


cdef struct Library:
    version_t version
    new_conf_t new_conf
    destroy_t destroy_conf
    set_conf_t set_conf
    set_pointer_t set_error_callback, set_log_callback, set_opaque
    pointer_of_t opaque
    new_client_t new_client
    destroy_client_t destroy_client
    text_of_t client_name
    code_of_t last_error
    fatal_error_t fatal_error
    code_of_t use_one_queue
    pointer_of_t consumer_queue
    destroy_t yield_queue, destroy_queue
    new_topic_t new_topic
    metadata_t metadata
    destroy_t destroy_topic, destroy_metadata
    new_list_t new_list
    destroy_t destroy_list
    add_partition_t add_partition
    set_offset_t set_offset
    set_epoch_t set_epoch
    assign_t assign, unassign
    position_t position
    watermarks_t watermarks
    code_of_t error_code
    text_of_t error_text
    destroy_t destroy_error
    consume_t consume
    timestamp_t timestamp
    code_of_t leader_epoch
    text_of_t message_text, topic_name
    destroy_t destroy_message


cdef Library kafka
cdef bint kafka_found = False


cdef void *symbol(void *library, const char *name) except NULL:
    cdef void *found = dlsym(library, name)
    if found == NULL:
        raise LookupError(f"the library has no {name.decode()}")
    return found


def find_kafka(str path not None):
    """Look librdkafka up in ``path``, a loaded library, or in those it depends on.

    Returns its version (``0xMMmmrrpp``). Raises ``LookupError`` that says what is missing.
    """
    global kafka, kafka_found
    cdef Library found
    # Never closed: what was looked up must stay.
    cdef void *library = dlopen(path.encode(), RTLD_NOW | RTLD_NOLOAD)
    if library == NULL:
        raise LookupError(f"{path} is not loaded")
    found.version = <version_t>symbol(library, b"rd_kafka_version")
    if found.version() < OLDEST_LIBRARY:
        raise LookupError(f"librdkafka 2.1 is needed, this one is {found.version():#010x}")
    found.new_conf = <new_conf_t>symbol(library, b"rd_kafka_conf_new")
    found.destroy_conf = <destroy_t>symbol(library, b"rd_kafka_conf_destroy")
    found.set_conf = <set_conf_t>symbol(library, b"rd_kafka_conf_set")
    found.set_error_callback = <set_pointer_t>symbol(library, b"rd_kafka_conf_set_error_cb")
    found.set_log_callback = <set_pointer_t>symbol(library, b"rd_kafka_conf_set_log_cb")
    found.set_opaque = <set_pointer_t>symbol(library, b"rd_kafka_conf_set_opaque")
    found.opaque = <pointer_of_t>symbol(library, b"rd_kafka_opaque")
    found.new_client = <new_client_t>symbol(library, b"rd_kafka_new")
    found.destroy_client = <destroy_client_t>symbol(library, b"rd_kafka_destroy_flags")
    found.client_name = <text_of_t>symbol(library, b"rd_kafka_name")
    found.last_error = <code_of_t>symbol(library, b"rd_kafka_last_error")
    found.fatal_error = <fatal_error_t>symbol(library, b"rd_kafka_fatal_error")
    found.use_one_queue = <code_of_t>symbol(library, b"rd_kafka_poll_set_consumer")
    found.consumer_queue = <pointer_of_t>symbol(library, b"rd_kafka_queue_get_consumer")
    found.yield_queue = <destroy_t>symbol(library, b"rd_kafka_queue_yield")
    found.destroy_queue = <destroy_t>symbol(library, b"rd_kafka_queue_destroy")
    found.new_topic = <new_topic_t>symbol(library, b"rd_kafka_topic_new")
    found.destroy_topic = <destroy_t>symbol(library, b"rd_kafka_topic_destroy")
    found.metadata = <metadata_t>symbol(library, b"rd_kafka_metadata")
    found.destroy_metadata = <destroy_t>symbol(library, b"rd_kafka_metadata_destroy")
    found.new_list = <new_list_t>symbol(library, b"rd_kafka_topic_partition_list_new")
    found.destroy_list = <destroy_t>symbol(library, b"rd_kafka_topic_partition_list_destroy")
    found.add_partition = <add_partition_t>symbol(library, b"rd_kafka_topic_partition_list_add")
    found.set_offset = <set_offset_t>symbol(library, b"rd_kafka_topic_partition_list_set_offset")
    found.set_epoch = <set_epoch_t>symbol(library, b"rd_kafka_topic_partition_set_leader_epoch")
    found.assign = <assign_t>symbol(library, b"rd_kafka_incremental_assign")
    found.unassign = <assign_t>symbol(library, b"rd_kafka_incremental_unassign")
    found.position = <position_t>symbol(library, b"rd_kafka_position")
    found.watermarks = <watermarks_t>symbol(library, b"rd_kafka_get_watermark_offsets")
    found.error_code = <code_of_t>symbol(library, b"rd_kafka_error_code")
    found.error_text = <text_of_t>symbol(library, b"rd_kafka_error_string")
    found.destroy_error = <destroy_t>symbol(library, b"rd_kafka_error_destroy")
    found.consume = <consume_t>symbol(library, b"rd_kafka_consume_batch_queue")
    found.timestamp = <timestamp_t>symbol(library, b"rd_kafka_message_timestamp")
    found.leader_epoch = <code_of_t>symbol(library, b"rd_kafka_message_leader_epoch")
    found.message_text = <text_of_t>symbol(library, b"rd_kafka_message_errstr")
    found.topic_name = <text_of_t>symbol(library, b"rd_kafka_topic_name")
    found.destroy_message = <destroy_t>symbol(library, b"rd_kafka_message_destroy")
    kafka = found
    kafka_found = True
    return kafka.version()


# What a client tells on threads of librdkafka, until Python fetches it.

cdef enum:
    MOST_REPORTS = 1000


cdef struct ClientReport:
    # Followed by its text.
    ClientReport *next
    int code  # of an error, 0 for a line of the log
    int level  # of a line of the log, as syslog has it


cdef struct Inbox:
    PyThread_type_lock lock
    ClientReport *first
    ClientReport *last
    int count
    int lost
    void *queue  # the client's, while open


cdef void post(Inbox *inbox, int code, int level, const char *text) noexcept nogil:
    cdef size_t size = strlen(text) + 1
    cdef ClientReport *report = <ClientReport *>malloc(sizeof(ClientReport) + size)
    if report != NULL:
        report.next = NULL
        report.code = code
        report.level = level
        memcpy(report + 1, text, size)
    PyThread_acquire_lock(inbox.lock, WAIT_LOCK)
    if report == NULL or inbox.count == MOST_REPORTS:
        free(report)
        inbox.lost += 1
    else:
        if inbox.last == NULL:
            inbox.first = report
        else:
            inbox.last.next = report
        inbox.last = report
        inbox.count += 1
    PyThread_release_lock(inbox.lock)


cdef void told_error(void *client, int code, const char *reason, void *opaque) noexcept nogil:
    cdef Inbox *inbox = <Inbox *>opaque
    cdef char text[512]
    cdef int fatal
    post(inbox, code, 0, reason)
    if code == FATAL:
        fatal = kafka.fatal_error(client, text, sizeof(text))
        post(inbox, fatal, -1, text)
    if inbox.queue != NULL:
        kafka.yield_queue(inbox.queue)  # whoever waits for records hears of it at once


cdef void told_log(const void *client, int level, const char *facility, const char *line) noexcept nogil:
    cdef char text[1024]
    cdef Inbox *inbox = <Inbox *>kafka.opaque(client) if client != NULL else NULL
    if inbox != NULL:
        snprintf(text, sizeof(text), b"%s [%s] %s", facility, kafka.client_name(client), line)
        post(inbox, 0, level, text)


cdef list take_reports(Inbox *inbox):
    """Return ``[(code, level, text)]``; nothing is lost where memory for it is missing."""
    cdef ClientReport *report
    cdef list taken = []
    cdef int lost
    while inbox.first != NULL:
        report = inbox.first
        taken.append((report.code, report.level, (<const char *>(report + 1)).decode("utf-8", "replace")))
        PyThread_acquire_lock(inbox.lock, WAIT_LOCK)
        inbox.first = report.next
        if inbox.first == NULL:
            inbox.last = NULL
        inbox.count -= 1
        PyThread_release_lock(inbox.lock)
        free(report)
    if inbox.lost:
        PyThread_acquire_lock(inbox.lock, WAIT_LOCK)
        lost, inbox.lost = inbox.lost, 0
        PyThread_release_lock(inbox.lock)
        taken.append((0, 4, f"{lost} lines of librdkafka's log were dropped"))
    return taken


cdef Inbox *new_inbox() except NULL:
    cdef Inbox *inbox = <Inbox *>calloc(1, sizeof(Inbox))
    if inbox != NULL:
        inbox.lock = PyThread_allocate_lock()
        if inbox.lock == NULL:
            free(inbox)
            inbox = NULL
    if inbox == NULL:
        raise MemoryError("no memory for what a Kafka client tells")
    return inbox


cdef void free_inbox(Inbox *inbox) noexcept:
    cdef ClientReport *report
    while inbox.first != NULL:
        report = inbox.first
        inbox.first = report.next
        free(report)
    PyThread_free_lock(inbox.lock)
    free(inbox)


cdef inline str text_of(const char *text):
    return text.decode("utf-8", "replace")


cdef inline double now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec + at.tv_nsec * 1e-9


cdef int set_property(void *conf, bytes name, bytes value) except -1:
    cdef char text[512]
    cdef const char *given = NULL if value is None else PyBytes_AS_STRING(value)
    if kafka.set_conf(conf, PyBytes_AS_STRING(name), given, text, sizeof(text)) != 0:
        raise common.ClientError(INVALID_ARGUMENT, text_of(text))
    return 0
