# Records in the order of their keys (unsigned bytes), sorted without the interpreter's lock.
#
# Eight bytes of each key after what all have in common are sorted as a number, byte by byte from the last
# one; keys that are equal there are sorted in the same way by what follows. So a key's bytes are read once.

from libc.string cimport memcmp


cdef struct Record:
    # Followed by the key and, with room for `capacity` bytes, the value.
    uint32_t key_size
    uint32_t value_size  # TOMBSTONE: none
    uint32_t capacity


cdef struct Item:
    uint64_t prefix
    Record *record


cdef enum:
    FEW = 24  # items that are sorted by comparing them
    DEEPEST = 32  # levels of recursion; what is equal so far down is compared


cdef inline char *key_of(const Record *record) noexcept nogil:
    return <char *>record + sizeof(Record)


cdef inline bint comes_before(const Record *one, const Record *other, Py_ssize_t depth) noexcept nogil:
    """Compare two keys that are equal in, and not shorter than, the first ``depth`` bytes."""
    cdef Py_ssize_t shorter = min(one.key_size, other.key_size)
    cdef int difference = memcmp(key_of(one) + depth, key_of(other) + depth, shorter - depth)
    return difference < 0 or (difference == 0 and one.key_size < other.key_size)


cdef void insertion_sort(Item *items, Py_ssize_t count, Py_ssize_t depth) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef Item item
    for i in range(1, count):
        item = items[i]
        j = i
        while j > 0 and comes_before(item.record, items[j - 1].record, depth):
            items[j] = items[j - 1]
            j -= 1
        items[j] = item


cdef void heap_sort(Item *items, Py_ssize_t count, Py_ssize_t depth) noexcept nogil:
    cdef Py_ssize_t i
    cdef Item item
    for i in range(count // 2 - 1, -1, -1):
        sift_down(items, i, count, depth)
    for i in range(count - 1, 0, -1):
        item = items[0]
        items[0] = items[i]
        items[i] = item
        sift_down(items, 0, i, depth)


cdef void sift_down(Item *items, Py_ssize_t parent, Py_ssize_t count, Py_ssize_t depth) noexcept nogil:
    cdef Item item = items[parent]
    cdef Py_ssize_t child = 2 * parent + 1
    while child < count:
        if child + 1 < count and comes_before(items[child].record, items[child + 1].record, depth):
            child += 1
        if not comes_before(item.record, items[child].record, depth):
            break
        items[parent] = items[child]
        parent = child
        child = 2 * parent + 1
    items[parent] = item


cdef Py_ssize_t common_size(const Item *items, Py_ssize_t count, Py_ssize_t depth) noexcept nogil:
    """Return how many bytes all keys begin with, given that the first ``depth`` of them are equal."""
    cdef const char *first = key_of(items[0].record)
    cdef const char *key
    cdef Py_ssize_t common = items[0].record.key_size
    cdef Py_ssize_t i, size
    for i in range(1, count):
        key = key_of(items[i].record)
        common = min(common, <Py_ssize_t>items[i].record.key_size)
        # Most keys agree in all of it: only where one does not, look for the place.
        if memcmp(first + depth, key + depth, common - depth) != 0:
            size = depth
            while first[size] == key[size]:
                size += 1
            common = size
            if common == depth:
                break
    return common


cdef inline uint64_t prefix_of(const Record *record, Py_ssize_t depth) noexcept nogil:
    """Return 8 bytes of the key as a number, zeros where it ends before."""
    cdef const unsigned char *key = <const unsigned char *>key_of(record) + depth
    cdef Py_ssize_t size = record.key_size - depth
    cdef uint64_t number = 0
    cdef Py_ssize_t i
    if size >= 8:
        return load64(<const char *>key)
    for i in range(size):
        number = number << 8 | key[i]
    return number << 8 * (8 - size) if size > 0 else 0


cdef void sort_by_byte(const Item *items, Item *target, Py_ssize_t count, int shift) noexcept nogil:
    cdef Py_ssize_t[256] places
    cdef Py_ssize_t i, place = 0, found
    memset(places, 0, sizeof(places))
    for i in range(count):
        places[items[i].prefix >> shift & 0xff] += 1
    for i in range(256):
        found = places[i]
        places[i] = place
        place += found
    for i in range(count):
        found = items[i].prefix >> shift & 0xff
        target[places[found]] = items[i]
        places[found] += 1


cdef void sort_by_prefix(Item *items, Item *scratch, Py_ssize_t count) noexcept nogil:
    cdef Item *source = items
    cdef Item *target = scratch
    cdef uint64_t varying = 0
    cdef Py_ssize_t i
    cdef int shift
    for i in range(1, count):
        varying |= items[i].prefix ^ items[0].prefix
    for shift in range(0, 64, 8):
        if varying >> shift & 0xff:
            sort_by_byte(source, target, count, shift)
            source, target = target, source
    if source != items:
        memcpy(items, source, count * sizeof(Item))


cdef void sort_items(
    Item *items, Item *scratch, Py_ssize_t count, Py_ssize_t depth, int level
) noexcept nogil:
    """Sort keys that are distinct and equal in the first ``depth`` bytes; ``scratch`` is as large as them."""
    cdef Py_ssize_t start = 0, stop, ended
    if count <= FEW:
        insertion_sort(items, count, depth)
        return
    if level == DEEPEST:
        heap_sort(items, count, depth)
        return
    depth = common_size(items, count, depth)
    for stop in range(count):
        items[stop].prefix = prefix_of(items[stop].record, depth)
    sort_by_prefix(items, scratch, count)
    depth += 8
    while start < count:
        stop = start + 1
        while stop < count and items[stop].prefix == items[start].prefix:
            stop += 1
        if stop - start > 1:
            ended = put_ended_first(items + start, stop - start, depth)
            sort_items(items + start + ended, scratch, stop - start - ended, depth, level + 1)
        start = stop


cdef Py_ssize_t put_ended_first(Item *items, Py_ssize_t count, Py_ssize_t depth) noexcept nogil:
    """Put the keys of ``depth`` bytes or less, at most nine, in front of the others, by their length."""
    cdef Py_ssize_t ended = 0, i, j
    cdef Item item
    for i in range(count):
        if <Py_ssize_t>items[i].record.key_size <= depth:
            item = items[i]
            items[i] = items[ended]
            j = ended
            while j > 0 and item.record.key_size < items[j - 1].record.key_size:
                items[j] = items[j - 1]
                j -= 1
            items[j] = item
            ended += 1
    return ended


cdef inline Py_ssize_t value_size_of(const Record *record) noexcept nogil:
    return 0 if record.value_size >= <uint32_t>TAKEN else <Py_ssize_t>record.value_size


cdef inline bytes key_bytes(const Record *record):
    return PyBytes_FromStringAndSize(key_of(record), record.key_size)


cdef inline bytes value_bytes(const Record *record):
    return PyBytes_FromStringAndSize(key_of(record) + record.key_size, record.value_size)


cdef int no_memory(Py_ssize_t size) except -1 nogil:
    with gil:
        raise MemoryError(f"no memory for {size} bytes of writes that wait")
