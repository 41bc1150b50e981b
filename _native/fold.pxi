# The apply loop: consumed messages → last write per key, per topic. The hottest code of a restore.


@cython.final
cdef class TopicFold:
    """The last write per key of one topic, and what was counted on the way."""

    cdef dict positions
    cdef WriteRun writes
    cdef Py_ssize_t null_keys, stale, size
    cdef int64_t last_timestamp
    cdef object record_filter, last_skipped, stopped  # None: there is none
    cdef Py_ssize_t skipped

    def __cinit__(self, bytes namespace, record_filter):
        self.record_filter = record_filter
        self.positions = {}
        self.writes = WriteRun.__new__(WriteRun, namespace)
        self.last_timestamp = -1

    cdef bint passes(self, object message, object offset) except -1:
        """Ask the filter; take note of a record that it rejects."""
        cdef object key = message.key()
        cdef object value = message.value()
        cdef tuple stamp
        if key is None or value is None:
            return True
        stamp = message.timestamp()
        rejected = self.record_filter(message.partition(), offset, key, value, -1 if stamp[0] == 0 else stamp[1])
        if rejected is None:
            return True
        if rejected.stops:
            self.stopped = rejected
        else:
            self.last_skipped = rejected
            self.skipped += 1
        return False

    cdef int apply(self, object message) except -1:
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


def fold(messages, positions, bytes namespace not None, filters=None):
    """Fold consumed ``messages`` into the last write of each key, per topic; ``namespace`` is put before it.

    ``positions`` holds the next offset to apply of each ``(topic, partition)`` that is ours. A record below
    it, or below one seen earlier in ``messages``, was applied before: it is counted as stale and otherwise
    ignored. A record of any other partition is not ours and leaves no trace. Where several partitions of one
    topic write one key, the later in the list wins. ``filters`` has a ``RecordFilter`` by topic: a record
    that it skips moves the position only; from one at which it stops, the topic's records are left out.

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
                part = parts[place] = part_of(place, positions, topics, namespace, filters)
        if part.topic_fold is None or part.topic_fold.stopped is not None:
            continue
        offset = message.offset()
        if offset < part.next:
            part.topic_fold.stale += 1
            continue
        if part.topic_fold.record_filter is None or part.topic_fold.passes(message, offset):
            part.topic_fold.apply(message)
        elif part.topic_fold.stopped is not None:
            continue
        part.next = offset + 1
        part.last = message
    for part in parts.values():
        part.finish()
    return {topic: (<TopicFold>one).folded() for topic, one in topics.items()}, events


cdef PartitionFold part_of(tuple place, object positions, dict topics, bytes namespace, object filters):
    cdef PartitionFold part = PartitionFold.__new__(PartitionFold)
    part.topic, part.partition = place
    position = positions.get(place)
    if position is None:
        return part
    part.next = position
    part.topic_fold = topics.get(part.topic)
    if part.topic_fold is None:
        part.topic_fold = topics[part.topic] = TopicFold.__new__(TopicFold, namespace, filters.get(part.topic))
    return part
