# Which partition the partitioners in use put a key into. A record that lies where the topic's partitioner puts its
# key is the only place of that key, so that it needs no look at others. `core/common.py` names them.

cdef enum:
    MURMUR2, CRC32, FNV1A, MURMUR2_WINDOW, MURMUR2_WINDOW_STORE, MURMUR2_SESSION
    PARTITIONER_COUNT

cdef extern from *:
    """
    static uint32_t statestore_crc_tables[8][256];

    static void statestore_fill_crc_tables(void) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
            statestore_crc_tables[0][i] = crc;
        }
        for (int table = 1; table < 8; table++)
            for (uint32_t i = 0; i < 256; i++) {
                uint32_t crc = statestore_crc_tables[table - 1][i];
                statestore_crc_tables[table][i] = crc >> 8 ^ statestore_crc_tables[0][crc & 0xff];
            }
    }

    static inline uint32_t statestore_little32(const unsigned char *data) {
        return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
    }

    /* As zlib's, eight bytes at once. */
    static uint32_t statestore_crc32(const char *key, Py_ssize_t size) {
        const unsigned char *data = (const unsigned char *)key;
        uint32_t (*tables)[256] = statestore_crc_tables;
        uint32_t crc = 0xffffffffu;
        for (; size >= 8; size -= 8, data += 8) {
            uint32_t low = statestore_little32(data) ^ crc, high = statestore_little32(data + 4);
            crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff]
                ^ tables[4][low >> 24] ^ tables[3][high & 0xff] ^ tables[2][high >> 8 & 0xff]
                ^ tables[1][high >> 16 & 0xff] ^ tables[0][high >> 24];
        }
        for (; size > 0; size--)
            crc = crc >> 8 ^ tables[0][(crc ^ *data++) & 0xff];
        return ~crc;
    }

    /* As Kafka's clients in Java have it. */
    static uint32_t statestore_murmur2(const char *key, Py_ssize_t size) {
        const unsigned char *data = (const unsigned char *)key;
        const uint32_t factor = 0x5bd1e995u;
        uint32_t hash = 0x9747b28cu ^ (uint32_t)size;
        for (; size >= 4; size -= 4, data += 4) {
            uint32_t word = statestore_little32(data) * factor;
            hash = hash * factor ^ (word ^ word >> 24) * factor;
        }
        if (size > 0) {
            for (Py_ssize_t i = 0; i < size; i++)
                hash ^= (uint32_t)data[i] << 8 * i;
            hash *= factor;
        }
        hash = (hash ^ hash >> 13) * factor;
        return hash ^ hash >> 15;
    }

    static uint32_t statestore_fnv1a(const char *key, Py_ssize_t size) {
        uint32_t hash = 0x811c9dc5u;
        for (Py_ssize_t i = 0; i < size; i++)
            hash = (hash ^ (unsigned char)key[i]) * 0x01000193u;
        return hash;
    }
    """
    void fill_crc_tables "statestore_fill_crc_tables"() noexcept nogil
    uint32_t crc32 "statestore_crc32"(const char *key, Py_ssize_t size) noexcept nogil
    uint32_t murmur2 "statestore_murmur2"(const char *key, Py_ssize_t size) noexcept nogil
    uint32_t fnv1a "statestore_fnv1a"(const char *key, Py_ssize_t size) noexcept nogil

fill_crc_tables()


cdef inline int64_t place_of_key(int partitioner, const char *key, Py_ssize_t size, uint32_t count) noexcept nogil:
    """Return the partition, of ``count``, that ``partitioner`` puts a key into; -1: not a key of its kind."""
    cdef uint32_t digest
    if partitioner == MURMUR2:
        return (murmur2(key, size) & 0x7fffffff) % count
    if partitioner == CRC32:
        return crc32(key, size) % count
    if partitioner == FNV1A:
        digest = fnv1a(key, size)
        return (digest if digest < <uint32_t>0x80000000 else 0 - digest) % count  # the absolute value
    if partitioner == MURMUR2_WINDOW:
        size -= 8
    elif partitioner == MURMUR2_WINDOW_STORE:
        size -= 12
    elif partitioner == MURMUR2_SESSION:
        size -= 16
    if size < 0:
        return -1
    return (murmur2(key, size) & 0x7fffffff) % count


cdef uint32_t conforming(
    uint32_t candidates, const char *key, Py_ssize_t size, int32_t partition, uint32_t count
) noexcept nogil:
    """Return those of ``candidates`` that put the key into ``partition``; 0: none of them."""
    cdef uint32_t found = 0
    cdef int number
    for number in range(PARTITIONER_COUNT):
        if candidates >> number & 1 and place_of_key(number, key, size, count) == partition:
            found |= <uint32_t>1 << number
    return found


def place_of(int partitioner, bytes key not None, int partitions):
    """Return the partition, of ``partitions``, that ``PARTITIONERS[partitioner]`` puts ``key`` into.

    -1 for a key that is not of its kind: too short to end with a window.
    """
    if not 0 <= partitioner < PARTITIONER_COUNT or partitions < 1:
        raise ValueError(f"no partitioner {partitioner}, or no partition of {partitions}")
    return place_of_key(partitioner, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), partitions)


cdef enum:
    STRAY_FACTOR = 6  # memory of a stray while it is applied, in which objects are made for it


@cython.final
cdef class StrayRecords:
    """Parts the records of one topic: those which lie where a partitioner puts their key, and the others.

    ``partitioning`` is ``(partitions, candidates)``; ``None``: all records are of the first kind. Each of
    them leaves of the candidates those that explain it. One that none of them explains is a stray: what is
    kept of it has ``key ‖ partition`` as its key.
    """

    cdef WriteRun run
    cdef uint32_t candidates, partitions
    cdef int single  # the candidate, where one is left; else -1
    cdef char *joined  # room for a key and a partition
    cdef Py_ssize_t room

    def __cinit__(self, partitioning):
        self.partitions, self.candidates = (0, 0) if partitioning is None else partitioning
        self.settle()

    def __dealloc__(self):
        free(self.joined)

    cdef int start(self) except -1:
        self.run = WriteRun.__new__(WriteRun, b"")
        return 0

    cdef void settle(self) noexcept nogil:
        cdef int number
        self.single = -1
        for number in range(PARTITIONER_COUNT):
            if self.candidates == <uint32_t>1 << number:
                self.single = number

    cdef int put(
        self,
        const char *key,
        Py_ssize_t key_size,
        int32_t partition,
        const char *value,
        Py_ssize_t value_size,
        int64_t timestamp,
    ) except -1 nogil:
        """Take the write of a stray."""
        return self.run.put(self.join(key, key_size, partition), key_size + 4, value, value_size, timestamp)

    cdef inline bint have(self, const char *key, Py_ssize_t key_size, int32_t partition) noexcept nogil:
        """Tell whether a record with this key in this partition is a stray."""
        if self.candidates == 0:
            return False
        if self.single >= 0:
            return place_of_key(self.single, key, key_size, self.partitions) != partition
        return not self.narrow(key, key_size, partition)

    cdef bint narrow(self, const char *key, Py_ssize_t key_size, int32_t partition) noexcept nogil:
        """Leave the candidates that explain the record; tell whether one does."""
        cdef uint32_t left = conforming(self.candidates, key, key_size, partition, self.partitions)
        if left != 0 and left != self.candidates:
            self.candidates = left
            self.settle()
        return left != 0

    cdef char *join(self, const char *key, Py_ssize_t key_size, int32_t partition) except NULL nogil:
        cdef char *joined
        if self.room < key_size + 4:
            joined = <char *>realloc(self.joined, 2 * key_size + 64)
            if joined == NULL:
                no_memory(2 * key_size + 64)
            self.joined, self.room = joined, 2 * key_size + 64
        memcpy(self.joined, key, key_size)
        store32(self.joined + key_size, <uint32_t>partition)
        return self.joined


@cython.final
cdef class TombstoneMarks:
    """A sorted run of what remembers the tombstones in another one."""

    cdef WriteRun run
    cdef bytes namespace, note
    cdef Py_ssize_t count

    def __cinit__(self, WriteRun run not None, bytes namespace not None, bytes note not None):
        cdef Py_ssize_t i
        self.run, self.namespace, self.note = run, namespace, note
        if run.tombstones:
            for i in range(run.count):
                self.count += run.record_list[i].value_size == <uint32_t>TOMBSTONE

    def __len__(self):
        return self.count

    def feed(self, put, delete):
        """Call ``put(key, value)`` for each tombstone, in ascending order of keys, as ``WriteRun.feed``."""
        cdef WriteRun run = self.run
        cdef Py_ssize_t start = 0, stop, i
        cdef Record *record
        if self.count == 0:
            return
        run.sort()
        while start < run.count:
            with nogil:
                stop = run.prepare(start)
            for i in range(start, stop):
                record = run.items[i].record
                if record.value_size == TOMBSTONE:
                    put(
                        self.namespace + key_bytes(record)[run.first_size :],
                        PyBytes_FromStringAndSize(key_of(record) + record.key_size, 8) + self.note,
                    )
            start = stop
