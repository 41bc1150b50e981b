# The apply loop: consumed messages → last write per key, per topic. The hottest code of a restore.


@cython.final
cdef class TopicFold:
    """The last write per key of one topic, and what was counted on the way."""

    cdef dict positions
    cdef WriteRun writes
    cdef StrayRecords strays
    cdef Py_ssize_t null_keys, stale, size
    cdef int64_t last_timestamp
    cdef bint judges  # whether there is a filter or a key limit
    cdef object record_filter, key_limit, last_skipped, stopped  # None: there is none
    cdef Py_ssize_t skipped, longest, long_keys, long_tombstones

    def __cinit__(self, bytes namespace, record_filter, key_limit, partitioning):
        self.record_filter, self.key_limit = record_filter, key_limit
        self.judges = record_filter is not None or key_limit is not None
        self.longest = LARGEST if key_limit is None else key_limit.longest
        self.strays = StrayRecords.__new__(StrayRecords, partitioning)
        self.strays.start()
        self.positions = {}
        self.writes = WriteRun.__new__(WriteRun, namespace)
        self.last_timestamp = -1

    cdef bint passes(self, object message, object offset) except -1:
        """Ask the key limit or the filter, if there is one; take note of a record that it rejects."""
        cdef object key = message.key()
        cdef object value = message.value()
        cdef tuple stamp
        cdef bint is_long
        if key is None or value is None:
            return True
        is_long = len(key) > self.longest
        judge = self.key_limit if is_long else self.record_filter
        if judge is None:
            return True
        stamp = message.timestamp()
        rejected = judge(message.partition(), offset, key, value, -1 if stamp[0] == 0 else stamp[1])
        if rejected is None:
            return True
        self.long_keys += is_long
        if rejected.stops:
            self.stopped = rejected
        else:
            self.last_skipped = rejected
            self.skipped += 1
        return False

    cdef int apply(self, object message, int32_t partition) except -1:
        cdef bytes key = message.key()
        cdef bytes value = message.value()
        cdef tuple stamp = message.timestamp()
        cdef int64_t timestamp = -1 if stamp[0] == 0 else stamp[1]
        if timestamp > self.last_timestamp:
            self.last_timestamp = timestamp
        if value is not None:
            self.size += PyBytes_GET_SIZE(value)
        if key is None:
            self.null_keys += 1
            return 0
        self.size += PyBytes_GET_SIZE(key)
        if PyBytes_GET_SIZE(key) > self.longest:
            self.long_tombstones += 1  # nothing to delete
            return 0
        if self.strays.have(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), partition):
            self.strays.put(
                PyBytes_AS_STRING(key),
                PyBytes_GET_SIZE(key),
                partition,
                NULL if value is None else PyBytes_AS_STRING(value),
                0 if value is None else PyBytes_GET_SIZE(value),
                timestamp,
            )
        else:
            self.writes.add(key, value, timestamp)
        return 0

    cdef object folded(self):
        return common.folded(
            self.writes,
            self.positions,
            self.null_keys,
            self.stale,
            self.size,
            self.last_timestamp,
            self.skipped,
            self.last_skipped,
            self.stopped,
            self.long_keys,
            self.long_tombstones,
            self.strays.run,
            self.strays.candidates,
        )


@cython.final
cdef class PartitionFold:
    """How far the fold got in one partition; without a fold of its topic: the partition is not ours."""

    cdef TopicFold topic_fold
    cdef object topic, partition, last
    cdef int64_t next

    cdef int finish(self) except -1:
        """Tell the topic's fold how far its partition got."""
        if self.last is not None:
            epoch = self.last.leader_epoch()
            self.topic_fold.positions[self.partition] = (self.next, -1 if epoch is None else epoch)
        return 0


def fold(messages, positions, bytes namespace not None, filters=None, key_limits=None, partitioning=None):
    """Fold consumed ``messages`` into the last write of each key, per topic; ``namespace`` is put before it.

    ``positions`` holds the next offset to apply of each ``(topic, partition)`` that is ours. A record below
    it, or below one seen earlier in ``messages``, was applied before: it is counted as stale and otherwise
    ignored. A record of any other partition is not ours and leaves no trace. ``filters`` has a
    ``RecordFilter`` by topic: a record that it skips moves the position only; from one at which it stops, the
    topic's records are left out. ``key_limits`` has a ``KeyLimit`` by topic, which judges records with longer
    keys in the same way. ``partitioning`` has a ``Partitioning`` by topic: its strays are kept apart. Without
    one, where several partitions of a topic write one key, the later in the list wins.

    Returns ``Folded`` by topic, for the topics with a record of ours, and the messages that are errors or
    events (``error()`` is not ``None``) in their order. Keeps nothing: any thread may call it.
    """
    cdef dict topics = {}
    cdef dict parts = {}
    cdef list events = []
    cdef PartitionFold part = None
    cdef int64_t offset
    if filters is None:
        filters = {}
    if key_limits is None:
        key_limits = {}
    if partitioning is None:
        partitioning = {}
    for message in messages:
        if message.error() is not None:
            events.append(message)
            continue
        topic = message.topic()
        partition = message.partition()
        # Records come in runs of one partition, so the last partition is nearly always the right one.
        if part is None or partition != part.partition or topic != part.topic:
            place = (topic, partition)
            part = parts.get(place)
            if part is None:
                part = parts[place] = part_of(
                    place, positions, topics, namespace, filters, key_limits, partitioning
                )
        if part.topic_fold is None or part.topic_fold.stopped is not None:
            continue
        offset = message.offset()
        if offset < part.next:
            part.topic_fold.stale += 1
            continue
        if not part.topic_fold.judges or part.topic_fold.passes(message, offset):
            part.topic_fold.apply(message, part.partition)
        elif part.topic_fold.stopped is not None:
            continue
        part.next = offset + 1
        part.last = message
    for part in parts.values():
        part.finish()
    return {topic: (<TopicFold>one).folded() for topic, one in topics.items()}, events


cdef PartitionFold part_of(
    tuple place,
    object positions,
    dict topics,
    bytes namespace,
    object filters,
    object key_limits,
    object partitioning,
):
    cdef PartitionFold part = PartitionFold.__new__(PartitionFold)
    part.topic, part.partition = place
    position = positions.get(place)
    if position is None:
        return part
    part.next = position
    part.topic_fold = topics.get(part.topic)
    if part.topic_fold is None:
        part.topic_fold = topics[part.topic] = TopicFold.__new__(
            TopicFold,
            namespace,
            filters.get(part.topic),
            key_limits.get(part.topic),
            partitioning.get(part.topic),
        )
    return part
