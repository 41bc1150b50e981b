# The apply loop: consumed messages → last write per key, per topic. The hottest code of a restore.


@cython.final
cdef class Table:
    """The last write per key of one topic, and what was counted on the way."""

    cdef dict positions
    cdef Run writes
    cdef Py_ssize_t null_keys, stale, size
    cdef int64_t last_timestamp
    cdef object check, last_skipped, stopped  # None: there is none
    cdef Py_ssize_t skipped

    def __cinit__(self, check):
        self.check = check
        self.positions = {}
        self.writes = Run.__new__(Run)
        self.last_timestamp = -1

    cdef bint passes(self, object message, object offset) except -1:
        """Ask the check; take note of a record that it refuses."""
        cdef object key = message.key()
        cdef object value = message.value()
        cdef tuple stamp
        if key is None or value is None:
            return True
        stamp = message.timestamp()
        refusal = self.check(message.partition(), offset, key, value, -1 if stamp[0] == 0 else stamp[1])
        if refusal is None:
            return True
        if refusal.stops:
            self.stopped = refusal
        else:
            self.last_skipped = refusal
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
cdef class Cursor:
    """How far the fold got in one partition; without a table: the partition is not ours."""

    cdef Table table
    cdef object topic, partition, last
    cdef int64_t next

    cdef int finish(self) except -1:
        """Tell the table how far its partition got."""
        if self.last is not None:
            epoch = self.last.leader_epoch()
            self.table.positions[self.partition] = (self.next, -1 if epoch is None else epoch)
        return 0


def fold(messages, positions, checks=None):
    """Fold consumed ``messages`` into the last write of each key, per topic.

    ``positions`` holds the next offset to apply of each ``(topic, partition)`` that is ours. A record below
    it, or below one seen earlier in ``messages``, was applied before: it is counted as stale and otherwise
    ignored. A record of any other partition is not ours and leaves no trace. Where several partitions of one
    topic write one key, the later in the list wins. ``checks`` has a ``Check`` by topic: what that skips
    moves the position only, and where it stops, the topic's records are left out from there on.

    Returns ``Folded`` by topic, for the topics with a record of ours, and the messages that are errors or
    events (``error()`` is not ``None``) in their order. Keeps nothing: any thread may call it.
    """
    cdef dict tables = {}
    cdef dict cursors = {}
    cdef list events = []
    cdef Cursor cursor = None
    cdef int64_t offset
    if checks is None:
        checks = {}
    for message in messages:
        if message.error() is not None:
            events.append(message)
            continue
        topic = message.topic()
        partition = message.partition()
        # Records come in runs of one partition, so the last cursor is nearly always the right one.
        if cursor is None or partition != cursor.partition or topic != cursor.topic:
            place = (topic, partition)
            cursor = cursors.get(place)
            if cursor is None:
                cursor = cursors[place] = open_cursor(place, positions, tables, checks)
        if cursor.table is None or cursor.table.stopped is not None:
            continue
        offset = message.offset()
        if offset < cursor.next:
            cursor.table.stale += 1
            continue
        if cursor.table.check is None or cursor.table.passes(message, offset):
            cursor.table.apply(message)
        elif cursor.table.stopped is not None:
            continue
        cursor.next = offset + 1
        cursor.last = message
    for cursor in cursors.values():
        cursor.finish()
    return {topic: (<Table>table).folded() for topic, table in tables.items()}, events


cdef Cursor open_cursor(tuple place, object positions, dict tables, object checks):
    cdef Cursor cursor = Cursor.__new__(Cursor)
    cursor.topic, cursor.partition = place
    position = positions.get(place)
    if position is None:
        return cursor
    cursor.next = position
    cursor.table = tables.get(cursor.topic)
    if cursor.table is None:
        cursor.table = tables[cursor.topic] = Table.__new__(Table, checks.get(cursor.topic))
    return cursor
