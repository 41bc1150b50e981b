# The record cache: what was read lately, of all stores of a manager, within one bound. The interpreter's lock
# is what protects it: nothing here gives it up, and no code of Python runs in the middle of a change.

from cpython.bytes cimport PyBytes_CheckExact
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdlib cimport calloc

cdef enum:
    FIRST_ROOM = 16  # records of the first tables; they double
    LONGEST_CHAIN = 16  # one more does not come in; there is none unless keys were made to collide
    MOST_CHANCES = 64  # records passed over for one that goes, so that one insert takes bounded time
    LARGEST_PART = 8  # a record that takes more than this part of the whole is not kept


cdef struct Cached:
    PyObject *key  # exact bytes; NULL: free
    PyObject *value  # exact bytes without header, or None: known to be absent
    void *share  # of the store; it takes its records away before it goes
    uint32_t digest
    uint32_t next  # in the chain, or of the free ones; 0: none, here and below
    uint32_t newer
    uint32_t older
    bint seen  # read since it was the oldest the last time


cdef inline Py_ssize_t memory_of(PyObject *text) noexcept:
    """Return what an object of ``bytes`` takes of the allocator, nearly."""
    if text == <PyObject *>None:
        return 0
    return (PyBytes_GET_SIZE(<object>text) + 33 + 8 + 15) & ~<Py_ssize_t>15


cdef class CacheShare


@cython.final
@cython.auto_pickle(False)
cdef class RecordCache:
    """What was read lately, of all stores of a manager: at most ``limit`` bytes. Thread-safe.

    ``limit`` counts keys, values and the cache's own tables; 0 keeps nothing. Above it the records go that
    were not read again since they came (CLOCK). Stores take part by being made with the cache.
    """

    cdef object __weakref__
    cdef readonly Py_ssize_t limit, count, used
    cdef readonly uint64_t hits, misses  # reads that it answered, and did not, of all stores
    cdef Cached *records  # the first one is not used
    cdef uint32_t *buckets  # as many as there are records
    cdef uint32_t room, filled, free, newest, oldest
    cdef bint off

    def __cinit__(self, Py_ssize_t limit):
        self.limit = limit

    def __dealloc__(self):
        # Empty by now: each share holds the cache, and takes its records away when it goes.
        free(self.records)
        free(self.buckets)

    def _forked(self):
        """Answer nothing any more: in a forked child every store raises."""
        self.off = True

    cdef PyObject *find(self, CacheShare share, const char *key, Py_ssize_t size) noexcept:
        """Return the value of ``key``, borrowed; NULL where it is not known."""
        cdef uint32_t digest, number
        cdef Cached *record
        if share.count == 0 or self.off:
            return NULL
        digest = hash_of(key, size) ^ share.salt
        number = self.buckets[digest & (self.room - 1)]
        while number:
            record = &self.records[number]
            if record.digest == digest and matches(record, share, key, size):
                if not record.seen:
                    record.seen = True
                self.hits += 1
                share.hits += 1
                return record.value
            number = record.next
        return NULL

    cdef void insert(self, CacheShare share, PyObject *key, PyObject *value) noexcept:
        """Keep a record, unless it is too large, or there already (another reader was first)."""
        cdef Py_ssize_t memory = memory_of(key) + memory_of(value)
        cdef const char *text = PyBytes_AS_STRING(<object>key)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(<object>key)
        cdef uint32_t digest = hash_of(text, size) ^ share.salt
        cdef uint32_t number
        cdef int length = 0
        cdef Cached *record
        if self.off or memory > self.limit // LARGEST_PART:
            return
        if self.room:
            number = self.buckets[digest & (self.room - 1)]
            while number:
                record = &self.records[number]
                length += 1
                if length == LONGEST_CHAIN or record.digest == digest and matches(record, share, text, size):
                    return
                number = record.next
        number = self.take()
        if number == 0:
            return
        while self.count and self.used + memory > self.limit:
            self.evict()
        if self.used + memory > self.limit:  # the tables alone are too large, of a very small bound
            self.release(number)
            return
        record = &self.records[number]
        Py_INCREF(<object>key)
        Py_INCREF(<object>value)
        record.key, record.value, record.share, record.digest = key, value, <void *>share, digest
        record.seen = False
        record.next = self.buckets[digest & (self.room - 1)]
        self.buckets[digest & (self.room - 1)] = number
        self.make_newest(number)
        self.used += memory
        self.count += 1
        share.count += 1

    cdef void drop(self, CacheShare share, const char *key, Py_ssize_t size) noexcept:
        """Forget ``key``, where it is known."""
        cdef uint32_t digest, number
        if share.count == 0:
            return
        digest = hash_of(key, size) ^ share.salt
        number = self.buckets[digest & (self.room - 1)]
        while number:
            if self.records[number].digest == digest and matches(&self.records[number], share, key, size):
                self.remove(number)
                return
            number = self.records[number].next

    cdef void drop_all(self, CacheShare share) noexcept:
        """Forget all of one store's records."""
        cdef uint32_t number = self.oldest
        cdef uint32_t newer
        while number and share.count:
            newer = self.records[number].newer
            if self.records[number].share == <void *>share:
                self.remove(number)
            number = newer
        if self.count == 0:
            free(self.records)
            free(self.buckets)
            self.records = NULL
            self.buckets = NULL
            self.room = self.filled = self.free = 0
            self.used = 0

    cdef void evict(self) noexcept:
        """Let the oldest record go that was not read since it was the oldest the last time."""
        cdef int chances = 0
        cdef uint32_t number = self.oldest
        while self.records[number].seen and chances < MOST_CHANCES:
            self.records[number].seen = False
            self.unlink(number)
            self.make_newest(number)
            number = self.oldest
            chances += 1
        self.remove(number)

    cdef void remove(self, uint32_t number) noexcept:
        cdef Cached *record = &self.records[number]
        cdef uint32_t *link = &self.buckets[record.digest & (self.room - 1)]
        while link[0] != number:
            link = &self.records[link[0]].next
        link[0] = record.next
        self.unlink(number)
        self.used -= memory_of(record.key) + memory_of(record.value)
        self.count -= 1
        (<CacheShare>record.share).count -= 1
        Py_XDECREF(record.key)
        Py_XDECREF(record.value)
        self.release(number)

    cdef uint32_t take(self) noexcept:
        """Return the number of a free record; where there is no room for one more, the oldest one's."""
        if self.free == 0 and self.filled + 1 >= self.room and not self.grow():
            if self.count == 0:
                return 0
            self.evict()
        cdef uint32_t number = self.free
        if number:
            self.free = self.records[number].next
        else:
            self.filled += 1
            number = self.filled
        return number

    cdef void release(self, uint32_t number) noexcept:
        self.records[number].key = NULL
        self.records[number].next = self.free
        self.free = number

    cdef bint grow(self) noexcept:
        """Make room for twice the records; say whether there is the memory for it, and the bound allows it."""
        cdef uint32_t room = max(2 * self.room, <uint32_t>FIRST_ROOM)
        cdef Py_ssize_t memory = (room - self.room) * <Py_ssize_t>(sizeof(Cached) + sizeof(uint32_t))
        cdef uint32_t number
        cdef uint32_t *buckets
        cdef Cached *records
        if self.used + memory > self.limit or room > <uint32_t>1 << 30:
            return False
        buckets = <uint32_t *>calloc(room, sizeof(uint32_t))
        if buckets == NULL:
            return False
        records = <Cached *>realloc(self.records, room * sizeof(Cached))
        if records == NULL:
            free(buckets)
            return False
        free(self.buckets)
        self.records, self.buckets, self.room = records, buckets, room
        self.used += memory
        number = self.oldest
        while number:
            records[number].next = buckets[records[number].digest & (room - 1)]
            buckets[records[number].digest & (room - 1)] = number
            number = records[number].newer
        return True

    cdef void make_newest(self, uint32_t number) noexcept:
        self.records[number].newer = 0
        self.records[number].older = self.newest
        if self.newest:
            self.records[self.newest].newer = number
        else:
            self.oldest = number
        self.newest = number

    cdef void unlink(self, uint32_t number) noexcept:
        cdef uint32_t newer = self.records[number].newer
        cdef uint32_t older = self.records[number].older
        if newer:
            self.records[newer].older = older
        else:
            self.newest = older
        if older:
            self.records[older].newer = newer
        else:
            self.oldest = newer


cdef inline bint matches(Cached *record, CacheShare share, const char *key, Py_ssize_t size) noexcept:
    return (
        record.share == <void *>share
        and PyBytes_GET_SIZE(<object>record.key) == size
        and memcmp(PyBytes_AS_STRING(<object>record.key), key, size) == 0
    )


@cython.final
@cython.no_gc  # so that the cache is there until the last of these records is gone
cdef class CacheShare:
    """One store's part of a record cache, and who may add to it.

    A write takes the keys that it changes away, and forbids additions until it has ended; a reader adds what
    it has read only if no write was under way when it began to read, and none has begun since.
    """

    cdef RecordCache cache
    cdef bytes namespace  # of the keys that may be here, as a write has them
    cdef uint64_t epoch  # counts the writes begun, from 1
    cdef Py_ssize_t writers, count
    cdef uint64_t hits, misses
    cdef uint32_t salt
    cdef bint shut

    def __cinit__(self, RecordCache cache not None, bytes namespace not None):
        self.cache = cache
        self.namespace = namespace
        self.epoch = 1
        self.salt = <uint32_t>mix(<uint64_t><void *>self, HASH_FACTOR)

    def __dealloc__(self):
        if self.cache is not None:
            self.cache.drop_all(self)

    cdef inline void count_miss(self) noexcept:
        self.misses += 1
        self.cache.misses += 1

    cdef inline uint64_t ticket(self) noexcept:
        """Return what a reader has to show after it has read, to keep it; 0: nothing is kept now."""
        return 0 if self.writers or self.shut else self.epoch

    cdef void keep(self, PyObject *key, PyObject *value, uint64_t ticket) noexcept:
        if ticket == self.epoch and not self.shut:
            self.cache.insert(self, key, value)

    cdef int begin(self, puts, deletes) except -1:
        """A write of these pairs and keys, with namespace, begins; without them (``None``) of any."""
        self.epoch += 1
        self.writers += 1
        if self.count == 0:
            return 0
        if puts is None or len(puts) + len(deletes) > self.cache.count:
            self.cache.drop_all(self)
            return 0
        for key, _ in puts:
            self.drop(key)
        for key in deletes:
            self.drop(key)
        return 0

    cdef inline void drop(self, key) noexcept:
        cdef Py_ssize_t first = PyBytes_GET_SIZE(self.namespace)
        cdef Py_ssize_t size
        if PyBytes_CheckExact(key):
            size = PyBytes_GET_SIZE(key) - first
            if size >= 0 and memcmp(PyBytes_AS_STRING(key), PyBytes_AS_STRING(self.namespace), first) == 0:
                self.cache.drop(self, PyBytes_AS_STRING(key) + first, size)

    cdef void end(self, bint failed) noexcept:
        """It has ended. After a failed one the engine may be in any state, which it tells itself."""
        self.writers -= 1
        if failed:
            self.cache.drop_all(self)

    cdef void close(self) noexcept:
        """Keep nothing any more."""
        self.shut = True
        self.cache.drop_all(self)


@cython.final
cdef class CacheSilence:
    """Around a write, in ``with``: while it lasts, and where it has changed something, the cache is silent."""

    cdef CacheShare share
    cdef object puts, deletes
    cdef bint entered

    def __enter__(self):
        if self.share is None or self.entered:
            return
        self.entered = True
        try:
            self.share.begin(self.puts, self.deletes)
        except BaseException:
            self.entered = False
            self.share.end(True)
            raise

    def __exit__(self, kind, error, traceback):
        if self.entered:
            self.entered = False
            self.share.end(kind is not None)
