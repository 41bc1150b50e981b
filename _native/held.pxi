# Records that a fetcher holds back until their partition may be cut behind them: ``kafka/cuts.py`` says where.

from libc.stdlib cimport realloc
from libc.string cimport memmove

cdef enum:
    RECORD_OVERHEAD = 400  # bytes that librdkafka takes for a record beside key and value


cdef struct Held:
    Message **records
    Py_ssize_t count, room, memory
    int64_t gap  # the offset of the last of them before which offsets are missing; of the first, if none
    int64_t stable  # the offset of the last end-of-partition event


cdef struct ListedPartition:
    # rd_kafka_topic_partition_t, as far as it is looked at
    char *topic
    int32_t partition
    int64_t offset


cdef inline Py_ssize_t size_held(const Message *message) noexcept nogil:
    return RECORD_OVERHEAD + <Py_ssize_t>message.key_size + <Py_ssize_t>message.value_size


cdef int hold(Held *held, Message *message) except -1 nogil:
    """Take ``message`` over."""
    cdef Message **records
    cdef Py_ssize_t room
    if held.count == held.room:
        room = max(<Py_ssize_t>64, 2 * held.room)
        records = <Message **>realloc(held.records, room * sizeof(Message *))
        if records == NULL:
            with gil:
                raise MemoryError("no memory for records that wait for the rest of their transaction")
        held.records, held.room = records, room
    if held.count == 0 or message.offset != held.records[held.count - 1].offset + 1:
        held.gap = message.offset
    held.records[held.count] = message
    held.count += 1
    held.memory += size_held(message)
    return 0


cdef void let_go(Held *held, Py_ssize_t count) noexcept nogil:
    """Give the first ``count`` records back to librdkafka."""
    cdef Py_ssize_t i
    for i in range(count):
        held.memory -= size_held(held.records[i])
        kafka.destroy_message(held.records[i])
    held.count -= count
    if held.count:
        memmove(held.records, held.records + count, held.count * sizeof(Message *))
        held.gap = max(held.gap, held.records[0].offset)
    else:
        free(held.records)
        held.records = NULL
        held.room = 0


cdef int64_t position_of(void *client, const char *topic, int32_t number) except -2:
    """Return what follows the last record, or marker, that was taken out of the queue; -1: nothing was."""
    cdef int64_t found = -1
    cdef void *partitions = kafka.new_list(1)
    cdef ListedPartition *listed = <ListedPartition *>kafka.add_partition(partitions, topic, number)
    if kafka.position(client, partitions) == 0 and listed.offset >= 0:
        found = listed.offset
    kafka.destroy_list(partitions)
    return found


cdef int64_t high_watermark(void *client, const char *topic, int32_t number) noexcept nogil:
    """Return the high watermark that the last fetch has brought; -1: none has."""
    cdef int64_t low = -1
    cdef int64_t high = -1
    return high if kafka.watermarks(client, topic, number, &low, &high) == 0 and high >= 0 else -1
