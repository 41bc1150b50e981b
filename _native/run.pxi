# The last write of each key of one topic: a hash table over records that lie one after the other in large
# blocks. No Python object is made for a record, and nothing here but feed() and its like needs the GIL.

from libc.string cimport memset
from os import urandom

include "sort.pxi"

cdef extern from *:
    """
    #include <sys/mman.h>

    static inline uint64_t statestore_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    #ifndef MAP_POPULATE
    #define MAP_POPULATE 0
    #endif

    /* Blocks of the system's own, since free() keeps what it got. */
    static void *statestore_map(size_t size, int populate) {
        void *block = mmap(NULL, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | (populate ? MAP_POPULATE : 0), -1, 0);
        return block == MAP_FAILED ? NULL : block;
    }
    """
    uint64_t mix "statestore_mix"(uint64_t a, uint64_t b) noexcept nogil
    void *map_block "statestore_map"(size_t size, bint populate) noexcept nogil
    int munmap(void *block, size_t size) noexcept nogil
    void prefetch "__builtin_prefetch"(const void *address) noexcept nogil

cdef enum:
    TOMBSTONE = 0xffffffff
    TAKEN = 0xfffffffe  # taken out of the run
    LARGEST = 0x7fffffff  # of a key, of a value; Kafka's lengths have 31 bits too
    MAPPED_FROM = 64 << 10  # bytes of a block that does not come from malloc
    FIRST_CHUNK = 4 << 10
    LARGEST_CHUNK = 1 << 20
    FIRST_SLOTS = 64
    SLICE = 256  # records and ...
    SLICE_SIZE = 128 << 10  # ... bytes that are fed before other threads get their turn

# Keys come from foreign producers: without secret numbers in the hash, some could be chosen to collide.
cdef uint64_t HASH_SEED = int.from_bytes(urandom(8))
cdef uint64_t HASH_FACTOR = int.from_bytes(urandom(8)) | 1


cdef inline void *take_block(Py_ssize_t size, bint populate) noexcept nogil:
    return map_block(size, populate) if size >= MAPPED_FROM else malloc(size)


cdef inline void give_block(void *block, Py_ssize_t size) noexcept nogil:
    if size >= MAPPED_FROM:
        if block != NULL:
            munmap(block, size)
    else:
        free(block)


cdef inline uint32_t hash_of(const char *key, Py_ssize_t size) noexcept nogil:
    cdef uint64_t number = HASH_SEED ^ <uint64_t>size
    cdef uint64_t word
    cdef Py_ssize_t left = size
    while left >= 8:
        memcpy(&word, key, 8)
        number = mix(number ^ word, HASH_FACTOR)
        key += 8
        left -= 8
    if left > 0:
        word = 0
        if size >= 8:
            memcpy(&word, key + left - 8, 8)
        else:
            memcpy(&word, key, left)
        number = mix(number ^ word, HASH_FACTOR)
    return <uint32_t>mix(number ^ HASH_SEED, HASH_FACTOR)


cdef struct Chunk:
    # Followed by records.
    Chunk *next
    Py_ssize_t size


@cython.final
cdef class WriteRun:
    """The last write of each key of one topic: what a restore writes at once.

    Keys get ``namespace`` in front, values are ``timestamp ms (int64 BE) ‖ payload``. A run is filled first
    and read afterwards: from the first ``feed`` on, a write raises ``RuntimeError``. One thread at a time.
    """

    # How many keys; bytes of their keys and values as stored; bytes of memory, those of sorting included.
    cdef readonly Py_ssize_t count, size, memory
    # Of the writes, also of those replaced; the longest key's bytes, namespace not counted.
    cdef readonly Py_ssize_t upserts, tombstones, longest_key

    cdef bytes namespace
    cdef const char *first  # bytes of each key: the namespace
    cdef Py_ssize_t first_size
    cdef Chunk *chunks  # the one being filled is the first
    cdef Py_ssize_t chunk_used, chunk_memory, next_chunk
    cdef Record **record_list  # by the order in which their keys came
    cdef Py_ssize_t record_room
    cdef uint64_t *slots  # hash and number of the record from 1, 32 bits each; 0: free
    cdef Py_ssize_t slot_count
    cdef Item *items  # the records by key, from the first feed on
    cdef Py_ssize_t taken  # records of `count` that are not in the run any more
    cdef bint sealed, sorting

    def __cinit__(self, bytes namespace not None):
        self.namespace = namespace
        self.first, self.first_size = PyBytes_AS_STRING(namespace), PyBytes_GET_SIZE(namespace)

    def __dealloc__(self):
        cdef Chunk *chunk
        while self.chunks != NULL:
            chunk = self.chunks
            self.chunks = chunk.next
            give_block(chunk, chunk.size)
        give_block(self.record_list, self.record_room * sizeof(Record *))
        give_block(self.slots, self.slot_count * sizeof(uint64_t))
        give_block(self.items, self.count * sizeof(Item))

    # Filling

    cdef int put(
        self,
        const char *key,
        Py_ssize_t key_size,
        const char *value,
        Py_ssize_t value_size,
        int64_t timestamp,
    ) except -1 nogil:
        """Take one write; without ``value`` (NULL) a tombstone. Raises ``MemoryError``, changing nothing."""
        cdef uint32_t digest
        cdef Py_ssize_t slot, replaced
        cdef uint64_t entry
        cdef Record *record
        if self.sealed or not 0 <= key_size < LARGEST or not 0 <= value_size <= LARGEST - 8:
            self.refuse(key_size, value_size)
        if 3 * (self.count + 1) > 2 * self.slot_count:
            self.grow()
        digest = hash_of(key, key_size)
        slot = digest & (self.slot_count - 1)
        while True:
            entry = self.slots[slot]
            if entry == 0:
                record = self.take_record(key, key_size, value_size)
                self.record_list[self.count] = record
                self.count += 1
                self.slots[slot] = <uint64_t>digest << 32 | <uint64_t>self.count
                self.size += record.key_size
                break
            if entry >> 32 == digest:
                record = self.record_list[<uint32_t>entry - 1]
                if (
                    record.key_size == self.first_size + key_size
                    and memcmp(key_of(record) + self.first_size, key, key_size) == 0
                ):
                    replaced = value_size_of(record)
                    if value != NULL and value_size + 8 > record.capacity:
                        record = self.take_record(key, key_size, value_size)
                        self.record_list[<uint32_t>entry - 1] = record
                    self.size -= replaced
                    break
            slot = (slot + 1) & (self.slot_count - 1)
        self.fill(record, value, value_size, timestamp)
        self.longest_key = max(self.longest_key, key_size)
        self.account()
        return 0

    cdef inline void fill(
        self, Record *record, const char *value, Py_ssize_t value_size, int64_t timestamp
    ) noexcept nogil:
        cdef char *out = key_of(record) + record.key_size
        store64(out, <uint64_t>timestamp)
        if value == NULL:
            record.value_size = TOMBSTONE
            self.tombstones += 1
            return
        record.value_size = <uint32_t>(value_size + 8)
        memcpy(out + 8, value, value_size)
        self.size += record.value_size
        self.upserts += 1

    cdef inline void account(self) noexcept nogil:
        # Sorting takes twice the items, once the slots are given back.
        self.memory = (
            self.chunk_memory
            + self.record_room * <Py_ssize_t>sizeof(Record *)
            + max(self.slot_count * <Py_ssize_t>sizeof(uint64_t), 2 * self.count * <Py_ssize_t>sizeof(Item))
        )

    cdef Record *take_record(
        self, const char *key, Py_ssize_t key_size, Py_ssize_t value_size
    ) except NULL nogil:
        """Return a new record with its key, and room for a timestamp and a value."""
        cdef Py_ssize_t capacity = value_size + 8
        # Rounded up, so that each record begins where its numbers may lie.
        cdef Py_ssize_t stored = self.first_size + key_size
        cdef Py_ssize_t size = (<Py_ssize_t>sizeof(Record) + stored + capacity + 3) & ~<Py_ssize_t>3
        cdef Record *record = <Record *>self.allot(size)
        record.key_size = <uint32_t>stored
        record.capacity = <uint32_t>capacity
        memcpy(key_of(record), self.first, self.first_size)
        memcpy(key_of(record) + self.first_size, key, key_size)
        return record

    cdef inline char *allot(self, Py_ssize_t size) except NULL nogil:
        if self.chunks == NULL or size > self.chunks.size - self.chunk_used:
            if size > LARGEST_CHUNK // 4:
                return <char *>self.add_chunk(size, True) + sizeof(Chunk)
            self.add_chunk(size, False)
        self.chunk_used += size
        return <char *>self.chunks + self.chunk_used - size

    cdef Chunk *add_chunk(self, Py_ssize_t size, bint alone) except NULL nogil:
        """Add a chunk with room for ``size`` bytes; ``alone``: and for nothing else, so not to be filled."""
        cdef Py_ssize_t room = size + <Py_ssize_t>sizeof(Chunk)
        cdef Chunk *chunk
        if not alone:
            self.next_chunk = min(2 * self.next_chunk, <Py_ssize_t>LARGEST_CHUNK) or FIRST_CHUNK
            room = max(room, self.next_chunk)
        chunk = <Chunk *>take_block(room, True)
        if chunk == NULL:
            no_memory(room)
        chunk.size = room
        self.chunk_memory += room
        if alone and self.chunks != NULL:
            chunk.next = self.chunks.next
            self.chunks.next = chunk
        else:
            chunk.next = self.chunks
            self.chunks = chunk
            self.chunk_used = room if alone else <Py_ssize_t>sizeof(Chunk)
        return chunk

    cdef int grow(self) except -1 nogil:
        """Make room for twice the keys."""
        cdef Py_ssize_t slot_count = max(2 * self.slot_count, <Py_ssize_t>FIRST_SLOTS)
        cdef Py_ssize_t room = 2 * slot_count // 3
        cdef uint64_t *slots = <uint64_t *>take_block(slot_count * sizeof(uint64_t), False)
        cdef Record **records = <Record **>take_block(room * sizeof(Record *), False)
        cdef Py_ssize_t i, slot
        if slots == NULL or records == NULL or slot_count > <Py_ssize_t>LARGEST:
            give_block(slots, slot_count * sizeof(uint64_t))
            give_block(records, room * sizeof(Record *))
            no_memory(slot_count * sizeof(uint64_t))
        memset(slots, 0, slot_count * sizeof(uint64_t))
        for i in range(self.slot_count):
            if self.slots[i] != 0:
                slot = <Py_ssize_t>(self.slots[i] >> 32) & (slot_count - 1)
                while slots[slot] != 0:
                    slot = (slot + 1) & (slot_count - 1)
                slots[slot] = self.slots[i]
        if self.count:
            memcpy(records, self.record_list, self.count * sizeof(Record *))
        give_block(self.slots, self.slot_count * sizeof(uint64_t))
        give_block(self.record_list, self.record_room * sizeof(Record *))
        self.slots, self.slot_count = slots, slot_count
        self.record_list, self.record_room = records, room
        return 0

    cdef int refuse(self, Py_ssize_t key_size, Py_ssize_t value_size) except -1 nogil:
        with gil:
            if self.sealed:
                raise RuntimeError("a run that was fed takes no more writes")
            raise OverflowError(f"a key of {key_size} or a value of {value_size} bytes is too long for a run")

    cdef int add(self, bytes key, bytes value, int64_t timestamp) except -1:
        return self.put(
            PyBytes_AS_STRING(key),
            PyBytes_GET_SIZE(key),
            NULL if value is None else PyBytes_AS_STRING(value),
            0 if value is None else PyBytes_GET_SIZE(value),
            timestamp,
        )

    def write(self, bytes key not None, bytes value, int64_t timestamp):
        """Take one write: ``value`` ``None`` is a tombstone, ``timestamp`` in ms, -1 for none.

        Raises ``MemoryError``, and ``RuntimeError`` after the first ``feed``; both change nothing.
        """
        self.add(key, value, timestamp)

    # Reading

    def __len__(self):
        return self.count - self.taken

    def keys(self, Py_ssize_t start, Py_ssize_t stop):
        """Return keys in the order they came in: from the ``start``-th to before the ``stop``-th at most."""
        cdef Py_ssize_t i
        return [
            key_bytes(self.record_list[i])
            for i in range(max(start, 0), min(stop, self.count))
            if self.record_list[i].value_size != TAKEN
        ]

    def records(self):
        """Return ``[(key, timestamp, payload)]`` as the keys came in; payload ``None``: a tombstone."""
        cdef Py_ssize_t i
        return [
            self.described(self.record_list[i])
            for i in range(self.count)
            if self.record_list[i].value_size != TAKEN
        ]

    def take(self, bytes key not None):
        """Take the write of ``key``, with its namespace, out of the run; return ``(timestamp, payload)``.

        ``None`` where there is none; payload ``None``: a tombstone. The run takes no more writes afterwards.
        """
        cdef Record *record = self.look_up(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        if record == NULL or record.value_size == TAKEN:
            return None
        result = self.described(record)[1:]
        self.sealed = True
        self.size -= record.key_size + value_size_of(record)
        self.taken += 1
        record.value_size = TAKEN
        return result

    cdef tuple described(self, const Record *record):
        cdef const char *data = key_of(record) + record.key_size
        payload = None
        if record.value_size != TOMBSTONE:
            payload = PyBytes_FromStringAndSize(data + 8, record.value_size - 8)
        return key_bytes(record), <int64_t>load64(data), payload

    cdef Record *look_up(self, const char *key, Py_ssize_t size) noexcept nogil:
        """Return the record of a key with its namespace; NULL: there is none."""
        cdef Py_ssize_t low = 0, high = self.count, slot, order
        cdef uint32_t digest
        cdef Record *record
        if size < self.first_size or memcmp(key, self.first, self.first_size) != 0:
            return NULL
        if self.items != NULL:
            while low < high:
                record = self.items[(low + high) // 2].record
                order = memcmp(key_of(record), key, min(size, <Py_ssize_t>record.key_size))
                if order == 0:
                    order = <Py_ssize_t>record.key_size - size
                if order == 0:
                    return record
                if order < 0:
                    low = (low + high) // 2 + 1
                else:
                    high = (low + high) // 2
            return NULL
        if self.slot_count == 0:
            return NULL
        digest = hash_of(key + self.first_size, size - self.first_size)
        slot = digest & (self.slot_count - 1)
        while self.slots[slot] != 0:
            if self.slots[slot] >> 32 == digest:
                record = self.record_list[<uint32_t>self.slots[slot] - 1]
                if record.key_size == size and memcmp(key_of(record), key, size) == 0:
                    return record
            slot = (slot + 1) & (self.slot_count - 1)
        return NULL

    def marks(self, bytes namespace not None, bytes note not None):
        """Return the run of what remembers the tombstones in this: ``namespace ‖ key → timestamp ‖ note``.

        Its keys are without the namespace of this run. It is fed like this one, and while this one is not.
        """
        return TombstoneMarks.__new__(TombstoneMarks, self, namespace, note)

    def puts(self):
        """Return ``[(key, value)]`` of the keys whose last write has a value, in the order they came in."""
        cdef Py_ssize_t i
        return [
            (key_bytes(self.record_list[i]), value_bytes(self.record_list[i]))
            for i in range(self.count)
            if self.record_list[i].value_size < TAKEN
        ]

    def deletes(self):
        """Return the keys whose last write is a tombstone, in the order they came in."""
        cdef Py_ssize_t i
        return [
            key_bytes(self.record_list[i]) for i in range(self.count) if self.record_list[i].value_size == TOMBSTONE
        ]

    def unlike(self, KeyPattern pattern not None):
        """Return ``[(key, header or None)]`` of the keys that do not fit ``pattern``; ``None``: a tombstone.

        Keys come without their namespace.
        """
        cdef list found = []
        cdef Py_ssize_t i = 0
        cdef Record *record
        while True:
            with nogil:
                while i < self.count and (
                    self.record_list[i].value_size == TAKEN
                    or pattern.takes(
                        key_of(self.record_list[i]) + self.first_size,
                        self.record_list[i].key_size - self.first_size,
                    )
                ):
                    i += 1
            if i >= self.count:
                return found
            record = self.record_list[i]
            found.append((
                PyBytes_FromStringAndSize(key_of(record) + self.first_size, record.key_size - self.first_size),
                None
                if record.value_size == TOMBSTONE
                else PyBytes_FromStringAndSize(key_of(record) + record.key_size, 8),
            ))
            i += 1

    def times(self, Py_ssize_t back, int64_t least, int64_t stop, int64_t ahead):
        """Return the greatest time in the keys, how many values are late, and how many times are early."""
        cdef int64_t greatest = -1, time, timestamp
        cdef Py_ssize_t i, late = 0, early = 0
        cdef const Record *record
        if back < 8:
            raise ValueError(f"a time of 8 bytes cannot be {back} bytes before the end of a key")
        with nogil:
            for i in range(self.count):
                record = self.record_list[i]
                if record.value_size != TAKEN and <Py_ssize_t>record.key_size >= self.first_size + back:
                    time = <int64_t>load64(key_of(record) + record.key_size - back)
                    timestamp = <int64_t>load64(key_of(record) + record.key_size)
                    if 0 <= time < stop and 0 <= timestamp < time - ahead:
                        early += 1
                    elif 0 <= time < stop:
                        greatest = max(greatest, time)
                        late += time < least and record.value_size != TOMBSTONE
        return greatest, late, early

    def feed(self, put, delete):
        """Call ``put(key, value)`` or ``delete(key)`` for each key, in ascending order of the keys.

        Other threads get their turn at least every millisecond or so, as far as the calls let them. What a
        call raises ends it; ``feed`` may then be called again, and begins at the first key.
        """
        cdef Py_ssize_t start = 0, stop, i
        cdef Record *record
        self.sort()
        while start < self.count:
            with nogil:
                stop = self.prepare(start)
            for i in range(start, stop):
                record = self.items[i].record
                if record.value_size == TOMBSTONE:
                    delete(key_bytes(record))
                elif record.value_size != TAKEN:
                    put(key_bytes(record), value_bytes(record))
            start = stop

    cdef Py_ssize_t prepare(self, Py_ssize_t start) noexcept nogil:
        """Bring the next records into the cache, in the pause in which others may run; return their end."""
        cdef Py_ssize_t stop = start, size = 0, taken, offset
        cdef Record *record
        cdef volatile char seen
        while stop < self.count and stop - start < SLICE and size < SLICE_SIZE:
            if stop + 8 < self.count:
                prefetch(self.items[stop + 8].record)
            record = self.items[stop].record
            taken = record.key_size + value_size_of(record)
            for offset in range(0, min(taken, <Py_ssize_t>4096), 64):
                seen = key_of(record)[offset]
            size += taken
            stop += 1
        return stop

    cdef int sort(self) except -1:
        cdef Item *items
        cdef Item *scratch
        cdef Py_ssize_t i, size = self.count * <Py_ssize_t>sizeof(Item)
        if self.sorting:
            raise RuntimeError("a run is used by one thread at a time")
        self.sealed = True
        if self.items != NULL or self.count == 0:
            return 0
        self.sorting = True
        with nogil:
            give_block(self.slots, self.slot_count * sizeof(uint64_t))
            self.slots, self.slot_count = NULL, 0
            items = <Item *>take_block(size, True)
            scratch = <Item *>take_block(size, True)
            if items != NULL and scratch != NULL:
                for i in range(self.count):
                    items[i].record = self.record_list[i]
                sort_items(items, scratch, self.count, 0, 0)
                self.items = items
            else:
                give_block(items, size)
            give_block(scratch, size)
        self.sorting = False
        if self.items == NULL:
            no_memory(2 * size)
        return 0
