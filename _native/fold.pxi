# The apply loop: consumed messages → last write per key, per topic. The hottest code of a restore.


@cython.final
cdef class Table:
    """The last write per key of one topic, and what was counted on the way."""

    cdef list cursors
    cdef dict writes  # namespaced key → timestamp ‖ payload, None for a tombstone
    cdef Py_ssize_t upserts, tombstones, null_keys, stale, size, longest_key
    cdef int64_t last_timestamp

    def __cinit__(self):
        self.cursors = []
        self.writes = {}
        self.last_timestamp = -1

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
        if PyBytes_GET_SIZE(key) > self.longest_key:
            self.longest_key = PyBytes_GET_SIZE(key)
        if value is None:
            self.tombstones += 1
            self.writes[in_data_namespace(key)] = None
        else:
            self.upserts += 1
            self.writes[in_data_namespace(key)] = timestamped(timestamp, value)
        return 0

    cdef object folded(self):
        cdef list puts = []
        cdef list deletes = []
        cdef dict positions = {}
        cdef Cursor cursor
        for key, value in self.writes.items():
            if value is None:
                deletes.append(key)
            else:
                puts.append((key, value))
        for cursor in self.cursors:
            if cursor.last is not None:
                epoch = cursor.last.leader_epoch()
                positions[cursor.partition] = (cursor.next, -1 if epoch is None else epoch)
        return common.Folded(
            puts=puts,
            deletes=deletes,
            positions=positions,
            records=self.upserts + self.tombstones + self.null_keys,
            upserts=self.upserts,
            tombstones=self.tombstones,
            null_keys=self.null_keys,
            stale=self.stale,
            bytes=self.size,
            longest_key=self.longest_key,
            last_timestamp=self.last_timestamp,
        )


@cython.final
cdef class Cursor:
    """How far the fold got in one partition; without a table: the partition is not ours."""

    cdef Table table
    cdef object topic, partition, last
    cdef int64_t next


cdef inline bytes in_data_namespace(bytes key):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, size + 1)
    cdef char *out = PyBytes_AS_STRING(result)
    out[0] = 1
    memcpy(out + 1, PyBytes_AS_STRING(key), size)
    return result


cdef inline bytes timestamped(int64_t timestamp, bytes payload):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, size + 8)
    cdef char *out = PyBytes_AS_STRING(result)
    store64(out, <uint64_t>timestamp)
    memcpy(out + 8, PyBytes_AS_STRING(payload), size)
    return result


def fold(messages, positions):
    """Fold consumed ``messages`` into the last write of each key, per topic.

    ``positions`` holds the next offset to apply of each ``(topic, partition)`` that is ours. A record below
    it, or below one seen earlier in ``messages``, was applied before: it is counted as stale and otherwise
    ignored. A record of any other partition is not ours and leaves no trace. Where several partitions of one
    topic write one key, the later in the list wins.

    Returns ``Folded`` by topic, for the topics with a record of ours, and the messages that are errors or
    events (``error()`` is not ``None``) in their order. Keeps nothing: any thread may call it.
    """
    cdef dict tables = {}
    cdef dict cursors = {}
    cdef list events = []
    cdef Cursor cursor = None
    cdef int64_t offset
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
                cursor = cursors[place] = open_cursor(place, positions, tables)
        if cursor.table is None:
            continue
        offset = message.offset()
        if offset < cursor.next:
            cursor.table.stale += 1
            continue
        cursor.table.apply(message)
        cursor.next = offset + 1
        cursor.last = message
    return {topic: (<Table>table).folded() for topic, table in tables.items()}, events


cdef Cursor open_cursor(tuple place, object positions, dict tables):
    cdef Cursor cursor = Cursor.__new__(Cursor)
    cursor.topic, cursor.partition = place
    position = positions.get(place)
    if position is None:
        return cursor
    cursor.next = position
    cursor.table = tables.get(cursor.topic)
    if cursor.table is None:
        cursor.table = tables[cursor.topic] = Table.__new__(Table)
    cursor.table.cursors.append(cursor)
    return cursor
