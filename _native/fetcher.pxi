# Records from librdkafka straight into runs of writes: no Python object for a record, and the GIL is taken only
# for what is told at the end of a read.

from libc.stdlib cimport realloc
from libc.string cimport strcmp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    BATCH = 256  # messages taken from librdkafka at once


cdef struct Partition:
    int32_t number
    int32_t epoch  # leader epoch of its last record in this read
    bint moved  # a record of it is in this read
    int64_t next  # the offset to apply next
    int64_t end  # to be reported at once when it is reached


@cython.final
cdef class AssignedTopic:
    """One topic that is read."""

    cdef bytes name, namespace
    cdef const char *topic  # the same
    cdef Partition *partitions
    cdef int count
    cdef bint touched  # a record of it is in this read
    cdef WriteRun run
    cdef Py_ssize_t null_keys, stale, size, skipped
    cdef int64_t last_timestamp
    cdef object record_filter, last_skipped, rejected
    cdef bint filtered, stopped  # whether there is a filter; whether that stopped the topic, for good

    def __cinit__(self, bytes name, dict positions, dict ends, bytes namespace, record_filter):
        self.name, self.namespace = name, namespace
        self.record_filter, self.filtered = record_filter, record_filter is not None
        self.topic = PyBytes_AS_STRING(name)
        self.partitions = <Partition *>calloc(max(1, len(positions)), sizeof(Partition))
        if self.partitions == NULL:
            raise MemoryError(f"no memory for {len(positions)} partitions")
        for number in sorted(positions):
            self.partitions[self.count].number = number
            self.partitions[self.count].next = positions[number][0]
            self.partitions[self.count].end = ends.get(number, -1)
            self.count += 1
        self.start()

    def __dealloc__(self):
        free(self.partitions)

    cdef int start(self) except -1:
        """Begin a new run."""
        cdef int i
        self.run = WriteRun.__new__(WriteRun, self.namespace)
        self.touched = False
        self.null_keys = self.stale = self.size = self.skipped = 0
        self.last_skipped = self.rejected = None
        self.last_timestamp = -1
        for i in range(self.count):
            self.partitions[i].moved = False
        return 0

    cdef Partition *find(self, int32_t number) noexcept nogil:
        cdef int i
        if 0 <= number < self.count and self.partitions[number].number == number:
            return self.partitions + number
        for i in range(self.count):
            if self.partitions[i].number == number:
                return self.partitions + i
        return NULL

    cdef bint take(self, Partition *partition, const Message *message) except -1 nogil:
        """Take a record, unless it was applied before; tell which."""
        cdef int kind = 0
        cdef int64_t timestamp
        if self.stopped:
            return False
        self.touched = True
        if message.offset < partition.next:
            self.stale += 1
            return False
        timestamp = kafka.timestamp(message, &kind)
        if kind == 0:
            timestamp = -1
        if self.filtered and message.key != NULL and message.value != NULL:
            if not self.passes(message, timestamp):
                if self.stopped:
                    return False
                partition.next = message.offset + 1
                partition.moved = True
                return True
        if message.key != NULL:
            self.run.put(
                <const char *>message.key,
                <Py_ssize_t>message.key_size,
                <const char *>message.value,
                <Py_ssize_t>message.value_size,
                timestamp,
            )
            self.size += <Py_ssize_t>message.key_size
        else:
            self.null_keys += 1
        if message.value != NULL:
            self.size += <Py_ssize_t>message.value_size
        self.last_timestamp = max(self.last_timestamp, timestamp)
        partition.next = message.offset + 1
        partition.moved = True
        return True

    cdef bint passes(self, const Message *message, int64_t timestamp) except -1 nogil:
        """Ask the filter; take note of a record that it rejects."""
        with gil:
            rejected = self.record_filter(
                message.partition,
                message.offset,
                PyBytes_FromStringAndSize(<const char *>message.key, <Py_ssize_t>message.key_size),
                PyBytes_FromStringAndSize(<const char *>message.value, <Py_ssize_t>message.value_size),
                timestamp,
            )
            if rejected is None:
                return True
            if rejected.stops:
                self.rejected, self.stopped = rejected, True
            else:
                self.last_skipped = rejected
                self.skipped += 1
            return False

    cdef object folded(self, bint sort):
        """Hand over what was read, and begin anew."""
        cdef int i
        cdef WriteRun run = self.run
        if sort:
            run.sort()
        positions = {
            self.partitions[i].number: (self.partitions[i].next, self.partitions[i].epoch)
            for i in range(self.count)
            if self.partitions[i].moved
        }
        folded = common.folded(
            run,
            positions,
            self.null_keys,
            self.stale,
            self.size,
            self.last_timestamp,
            self.skipped,
            self.last_skipped,
            self.rejected,
        )
        self.start()
        return folded


@cython.final
cdef class Fetcher:
    """A consumer of its own that reads assigned partitions into runs of writes.

    ``properties`` are librdkafka's, as ``(name, value)`` strings; ``None`` takes its default. ``namespace`` is
    put before each key. One thread at a time, but ``wake`` from any: another call meanwhile raises ``RuntimeError``, as does one after ``close``.
    Raises ``statestore.core.common.ClientError`` for what librdkafka refuses. ``find_kafka`` comes first.
    """

    cdef void *client
    cdef void *queue
    cdef Inbox *inbox
    cdef dict assigned  # by topic
    cdef list order  # the same ones, for ``places``
    cdef void **places  # borrowed from ``order``
    cdef Py_ssize_t count
    cdef bint filtered  # one of them has a filter
    cdef bytes namespace
    cdef list events
    cdef volatile bint woken
    cdef bint busy
    cdef bint reached, told  # in this read: an end of assign, an event
    cdef Message *batch[BATCH]

    def __cinit__(self, properties, bytes namespace not None):
        cdef void *conf
        cdef void *client
        cdef char text[512]
        if not kafka_found:
            raise RuntimeError("find_kafka comes first")
        self.assigned, self.order, self.events = {}, [], []
        self.namespace = namespace
        self.inbox = new_inbox()
        conf = kafka.new_conf()
        try:
            for name, value in properties:
                set_property(conf, name.encode(), None if value is None else value.encode())
            kafka.set_error_callback(conf, <void *>told_error)
            kafka.set_log_callback(conf, <void *>told_log)
            kafka.set_opaque(conf, self.inbox)
            with nogil:
                client = kafka.new_client(CONSUMER, conf, text, sizeof(text))
            if client == NULL:
                code = kafka.last_error(NULL)
                raise common.ClientError(code, f"Failed to create consumer: {text_of(text)}")
        except BaseException:
            kafka.destroy_conf(conf)
            raise
        self.client = client
        kafka.use_one_queue(client)
        self.queue = self.inbox.queue = kafka.consumer_queue(client)

    def __dealloc__(self):
        if self.client != NULL:
            self.destroy()
        if self.inbox != NULL:
            free_inbox(self.inbox)
        free(self.places)

    def close(self):
        """End the client; what it was told is dropped. Waits for its threads, a second or so. Idempotent."""
        if self.client == NULL:
            return
        self.enter()
        try:
            self.destroy()
        finally:
            self.busy = False

    cdef int destroy(self) except -1:
        cdef void *client = self.client
        cdef void *queue = self.queue
        self.client = self.queue = self.inbox.queue = NULL
        with nogil:
            kafka.destroy_queue(queue)
            kafka.destroy_client(client, KEEP_GROUP)
        return 0

    cdef int enter(self) except -1:
        if self.client == NULL:
            raise RuntimeError("the fetcher is closed")
        if self.busy:
            raise RuntimeError("a fetcher is used by one thread at a time")
        self.busy = True
        return 0

    # What is read

    def assign(self, str topic not None, dict positions not None, dict ends not None, record_filter=None):
        """Read ``topic`` too, from ``{partition: (offset, leader epoch)}``.

        ``ends`` are offsets at which a read returns at once. What the records of other partitions say is
        dropped. A record that ``record_filter`` skips moves the position only; from one at which it stops,
        nothing of the topic is given or told any more.
        """
        cdef AssignedTopic one_topic
        self.enter()
        try:
            if topic in self.assigned:
                raise ValueError(f"topic {topic!r} is read already")
            one_topic = AssignedTopic.__new__(
                AssignedTopic, topic.encode(), positions, ends, self.namespace, record_filter
            )
            self.reserve(self.count + 1)
            self.change(one_topic, positions, kafka.assign)
            self.assigned[topic] = one_topic
            self.list_assigned()
        finally:
            self.busy = False

    def unassign(self, str topic not None):
        """Read ``topic`` no more; fine when it was not read. What was read of it is dropped."""
        cdef AssignedTopic one_topic
        cdef int i
        self.enter()
        try:
            one_topic = self.assigned.pop(topic, None)
            if one_topic is None:
                return
            self.list_assigned()
            positions = {one_topic.partitions[i].number: (0, -1) for i in range(one_topic.count)}
            self.change(one_topic, positions, kafka.unassign)
        finally:
            self.busy = False

    def look_up(self, str topic not None, double timeout):
        """Ask for the leaders of ``topic``; tell whether the broker answered within ``timeout`` seconds."""
        cdef bytes name = topic.encode()
        cdef const char *text = PyBytes_AS_STRING(name)
        cdef void *handle
        cdef void *answer = NULL
        cdef int failure = -1
        self.enter()
        try:
            with nogil:
                handle = kafka.new_topic(self.client, text, NULL)
                if handle != NULL:
                    failure = kafka.metadata(self.client, 0, handle, &answer, <int>(1000 * timeout))
                    if failure == 0:
                        kafka.destroy_metadata(answer)
                    kafka.destroy_topic(handle)
            return failure == 0
        finally:
            self.busy = False

    cdef int reserve(self, Py_ssize_t count) except -1:
        cdef void **places = <void **>realloc(self.places, count * sizeof(void *))
        if places == NULL:
            raise MemoryError("no memory for another topic")
        self.places = places
        return 0

    cdef int list_assigned(self) except -1:
        cdef AssignedTopic one_topic
        self.order = list(self.assigned.values())
        self.count = 0
        self.filtered = False
        for one_topic in self.order:
            self.filtered = self.filtered or one_topic.filtered
            self.places[self.count] = <void *>one_topic
            self.count += 1
        return 0

    cdef int change(self, AssignedTopic one_topic, dict positions, assign_t call) except -1:
        cdef void *client = self.client
        cdef void *partition
        cdef void *failure
        cdef void *partitions = kafka.new_list(<int>len(positions))
        try:
            for number, (offset, epoch) in positions.items():
                partition = kafka.add_partition(partitions, one_topic.topic, number)
                kafka.set_epoch(partition, epoch)
                kafka.set_offset(partitions, one_topic.topic, number, offset)
            with nogil:
                failure = call(client, partitions)
        finally:
            kafka.destroy_list(partitions)
        if failure != NULL:
            error = common.ClientError(kafka.error_code(failure), text_of(kafka.error_text(failure)))
            kafka.destroy_error(failure)
            raise error
        return 0

    # Reading

    def wake(self):
        """Have the read that is under way, or the next one, return at once. Any thread; nothing once closed."""
        self.woken = True
        if self.queue != NULL:
            kafka.yield_queue(self.queue)

    def read(
        self,
        double wait,
        double idle,
        double span,
        Py_ssize_t records,
        Py_ssize_t memory,
        bint sort=False,
    ):
        """Return ``(folded by topic, events, reports)`` of what has arrived.

        Waits ``wait`` seconds for a first record, and goes on until none comes for ``idle``, until ``span``
        is over or ``records`` were read, until the runs take ``memory`` bytes, or until there is something to
        tell: an event, an end of ``assign``. An event is ``(topic, partition, offset, code, text)``, a report
        ``(code, level, text)``: an error that concerns no partition, or with code 0 a line of the log.

        With ``sort`` the runs are sorted here, on this thread, and not by who feeds them; they take no more
        writes.

        After an exception what was read is lost: every topic must be assigned again.
        """
        cdef AssignedTopic one_topic
        self.enter()
        try:
            self.events = []  # of a read that failed: an end without the records before it
            with nogil:
                self.fill(wait, idle, span, records, memory)
            by_topic = {topic: one_topic.folded(sort) for topic, one_topic in self.assigned.items() if one_topic.touched}
            events, self.events = self.events, []
            return by_topic, events, take_reports(self.inbox)
        finally:
            self.busy = False

    cdef int fill(
        self, double wait, double idle, double span, Py_ssize_t records, Py_ssize_t memory
    ) except -1 nogil:
        cdef Py_ssize_t taken, total = 0
        cdef double deadline = now() + wait + span
        self.reached = self.told = False
        while not self.woken:
            taken = self.consume(0, min(<Py_ssize_t>BATCH, records - total))
            if taken == 0:
                if self.reached or self.woken:  # the call before has taken the queue's own note of it
                    break
                taken = self.consume(<int>(1000 * (idle if total else wait)), 1)
                if taken == 0:
                    break
            if total == 0:
                deadline = now() + span
            total += taken
            if self.told or total >= records or now() >= deadline or self.memory() >= memory:
                break
        self.woken = False
        return 0

    cdef Py_ssize_t memory(self) noexcept nogil:
        cdef Py_ssize_t i, total = 0
        for i in range(self.count):
            if (<AssignedTopic>self.places[i]).touched:
                total += (<AssignedTopic>self.places[i]).run.memory
        return total

    cdef Py_ssize_t consume(self, int timeout, Py_ssize_t most) except -1 nogil:
        cdef Py_ssize_t i, taken = kafka.consume(self.queue, timeout, self.batch, most)
        if taken < 0:
            with gil:
                raise common.ClientError(kafka.last_error(NULL), "records cannot be taken")
        try:
            if self.filtered:
                with gil:  # once, and not anew for each record: others would be waited for each time
                    self.take(taken)
            else:
                self.take(taken)
        finally:
            for i in range(taken):
                kafka.destroy_message(self.batch[i])
        return taken

    cdef int take(self, Py_ssize_t taken) except -1 nogil:
        cdef Py_ssize_t i
        cdef Message *message
        cdef Message *last = NULL
        cdef Message *applied = NULL
        cdef void *place = NULL
        cdef Partition *partition = NULL
        for i in range(taken):
            message = self.batch[i]
            if message.error != 0:
                self.note(message)
                continue
            # Records come in stretches of one partition. The topic of two records of one batch is the same
            # if its address is; of two batches it need not be.
            if last == NULL or message.partition != last.partition or message.topic != last.topic:
                self.leave(partition, applied)
                partition = self.find(message, &place)
                applied = NULL
            last = message
            if partition != NULL and (<AssignedTopic>place).take(partition, message):
                applied = message
        self.leave(partition, applied)
        return 0

    cdef void leave(self, Partition *partition, const Message *applied) noexcept nogil:
        if applied != NULL:
            partition.epoch = kafka.leader_epoch(applied)
            if partition.next == partition.end:
                self.reached = True

    cdef Partition *find(self, const Message *message, void **place) noexcept nogil:
        cdef Py_ssize_t i
        cdef const char *name
        if message.topic == NULL:
            return NULL
        name = kafka.topic_name(message.topic)
        for i in range(self.count):
            if strcmp((<AssignedTopic>self.places[i]).topic, name) == 0:
                place[0] = self.places[i]
                return (<AssignedTopic>place[0]).find(message.partition)
        return NULL

    cdef int note(self, const Message *message) except -1 nogil:
        cdef void *place = NULL
        if self.find(message, &place) == NULL or (<AssignedTopic>place).stopped:
            return 0
        with gil:
            self.events.append((
                (<AssignedTopic>place).name.decode(),
                message.partition,
                message.offset,
                message.error,
                text_of(kafka.message_text(message)),
            ))
        self.told = True
        return 0


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
