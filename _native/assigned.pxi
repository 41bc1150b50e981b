# What is read of one topic: its records, as librdkafka gives them, become a run of writes.

from libc.stdint cimport INT64_MAX


cdef struct Partition:
    int32_t number
    int32_t epoch  # leader epoch of its last record in this read
    bint moved  # a record of it is in this read
    int64_t next  # the offset to apply next
    int64_t end  # to be reported at once when it is reached
    int64_t hold_from  # from this offset on records are held back
    Held held
    bint failed  # an error was told: nothing of it is given until it is assigned anew


@cython.final
cdef class AssignedTopic:
    """One topic that is read."""

    cdef bytes name, namespace
    cdef const char *topic  # the same
    cdef Partition *partitions
    cdef int count
    cdef bint touched  # a record of it is in this read
    cdef WriteRun run
    cdef StrayRecords strays
    cdef Py_ssize_t null_keys, stale, size, skipped
    cdef int64_t last_timestamp
    cdef Py_ssize_t longest, long_keys, long_tombstones  # bytes of the longest key taken; counts of longer ones
    cdef object record_filter, key_limit, last_skipped, rejected
    cdef bint filtered, stopped  # whether there is a filter; whether that stopped the topic, for good

    def __cinit__(
        self,
        bytes name,
        dict positions,
        dict ends,
        bytes namespace,
        record_filter,
        key_limit,
        partitioning,
        bint holds,
    ):
        self.name, self.namespace = name, namespace
        self.record_filter, self.filtered = record_filter, record_filter is not None
        self.key_limit, self.longest = key_limit, LARGEST if key_limit is None else key_limit.longest
        self.topic = PyBytes_AS_STRING(name)
        self.partitions = <Partition *>calloc(max(1, len(positions)), sizeof(Partition))
        if self.partitions == NULL:
            raise MemoryError(f"no memory for {len(positions)} partitions")
        for number in sorted(positions):
            self.partitions[self.count].number = number
            self.partitions[self.count].next = positions[number][0]
            self.partitions[self.count].end = ends.get(number, -1)
            self.partitions[self.count].hold_from = self.partitions[self.count].end if holds else INT64_MAX
            self.partitions[self.count].held.stable = -1
            self.count += 1
        self.strays = StrayRecords.__new__(StrayRecords, partitioning)
        self.start()

    def __dealloc__(self):
        self.drop_held()
        free(self.partitions)

    cdef void drop_held(self) noexcept:
        cdef int i
        for i in range(self.count):
            let_go(&self.partitions[i].held, self.partitions[i].held.count)

    cdef int start(self) except -1:
        """Begin a new run."""
        cdef int i
        self.run = WriteRun.__new__(WriteRun, self.namespace)
        self.strays.start()
        self.touched = False
        self.null_keys = self.stale = self.size = self.skipped = self.long_keys = self.long_tombstones = 0
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
        cdef bint is_long = <Py_ssize_t>message.key_size > self.longest
        if self.stopped:
            return False
        self.touched = True
        if message.offset < partition.next:
            self.stale += 1
            return False
        timestamp = kafka.timestamp(message, &kind)
        if kind == 0:
            timestamp = -1
        if (self.filtered or is_long) and message.key != NULL and message.value != NULL:
            if not self.passes(message, timestamp, is_long):
                if self.stopped:
                    return False
                partition.next = message.offset + 1
                partition.moved = True
                return True
        if is_long:  # a tombstone: there is nothing to delete
            self.long_tombstones += 1
            self.size += <Py_ssize_t>message.key_size
        elif message.key != NULL:
            if self.strays.have(
                <const char *>message.key, <Py_ssize_t>message.key_size, partition.number
            ):
                self.strays.put(
                    <const char *>message.key,
                    <Py_ssize_t>message.key_size,
                    partition.number,
                    <const char *>message.value,
                    <Py_ssize_t>message.value_size,
                    timestamp,
                )
            else:
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

    cdef bint passes(self, const Message *message, int64_t timestamp, bint is_long) except -1 nogil:
        """Ask the key limit or the filter; take note of a record that it rejects."""
        with gil:
            judge = self.key_limit if is_long else self.record_filter
            rejected = judge(
                message.partition,
                message.offset,
                PyBytes_FromStringAndSize(<const char *>message.key, <Py_ssize_t>message.key_size),
                PyBytes_FromStringAndSize(<const char *>message.value, <Py_ssize_t>message.value_size),
                timestamp,
            )
            if rejected is None:
                return True
            self.long_keys += is_long
            if rejected.stops:
                self.rejected, self.stopped = rejected, True
            else:
                self.last_skipped = rejected
                self.skipped += 1
            return False

    cdef int take_held(self, Partition *partition, int64_t below) except -1:
        """Take the records that are held back and lie below an offset."""
        cdef Held *held = &partition.held
        cdef Py_ssize_t count = 0
        cdef const Message *applied = NULL
        while count < held.count and held.records[count].offset < below:
            if self.take(partition, held.records[count]):
                applied = held.records[count]
            count += 1
        if applied != NULL:
            partition.epoch = kafka.leader_epoch(applied)
        let_go(held, count)
        return 0

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
            self.long_keys,
            self.long_tombstones,
            self.strays.run,
            self.strays.candidates,
        )
        self.start()
        return folded
