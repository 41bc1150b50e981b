# Rows with a time in their keys, in segments of time: keys, changes and rows. statestore/storage/layout.py says what
# the bytes mean. The twin is statestore/core/pure_segments.py.

cdef enum:
    SEGMENT_PREFIX = 5  # the namespace and the number of a segment, in front of a key
    TIME_SIZE = 8
    TIMES_FROM = 2  # the zeros between a key and its times

cdef int64_t FIRST_TIME = common.FIRST_TIME
cdef int64_t END_OF_TIME = common.END_OF_TIME
cdef uint64_t SIGN = <uint64_t>1 << 63


cdef bytes stored_key(int64_t number, bytes key, int64_t time, int64_t start, bint has_start):
    """Return the key of a row in the segment ``number``: of a session, if it has a start beside its time."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(key), zeros = 0
    cdef const char *data = PyBytes_AS_STRING(key)
    cdef const char *end = data + size
    cdef const char *zero = <const char *>memchr(data, 0, size)
    cdef char *out
    while zero != NULL:
        zeros += 1
        zero = <const char *>memchr(zero + 1, 0, end - zero - 1)
    cdef bytes stored = PyBytes_FromStringAndSize(
        NULL, SEGMENT_PREFIX + size + zeros + TIMES_FROM + TIME_SIZE * (1 + has_start)
    )
    out = PyBytes_AS_STRING(stored)
    out[0] = 2
    store32(out + 1, <uint32_t>(number + (<int64_t>1 << 31)))
    out += SEGMENT_PREFIX
    if zeros == 0:
        memcpy(out, data, size)
        out += size
    else:
        for byte in data[:size]:
            out[0] = byte
            out += 1
            if byte == 0:
                out[0] = <char>0xff
                out += 1
    out[0] = out[1] = 0
    store64(out + TIMES_FROM, <uint64_t>time ^ SIGN)
    if has_start:
        store64(out + TIMES_FROM + TIME_SIZE, <uint64_t>start ^ SIGN)
    return stored


cdef class SegmentKeys:
    """The stored keys of rows with a time, in segments of ``segment`` milliseconds.

    Times are milliseconds of the years 1 to 9999.
    """

    cdef readonly int64_t segment

    def __init__(self, int64_t segment):
        if segment < 1:
            raise ValueError(f"a segment of {segment} ms")
        self.segment = segment

    def window(self, bytes key not None, start):
        """Return the stored key of a window. Raises ``ValueError`` for what is no ``int`` of those years."""
        cdef int overflow = 0
        cdef int64_t at = END_OF_TIME
        if type(start) is int:
            at = PyLong_AsLongLongAndOverflow(start, &overflow)
        if overflow or not FIRST_TIME <= at < END_OF_TIME:
            raise ValueError("no milliseconds")
        return stored_key(at // self.segment, key, at, 0, False)

    def session(self, bytes key not None, int64_t start, int64_t end):
        """Return the stored key of a session."""
        return stored_key(end // self.segment, key, end, start, True)

    def of_key(self, int64_t number, bytes key not None, int64_t low, int64_t high):
        """Return where a segment has the rows of ``key`` with times from ``low`` to before ``high``."""
        cdef KeyRange found = KeyRange.__new__(KeyRange)
        found.start = stored_key(number, key, low, 0, False)
        found.stop = stored_key(number, key, high, 0, False)
        return found

    def ranges_of(self, bytes key not None, int64_t low, int64_t high, bint reverse):
        """Return where the rows of ``key`` with times from ``low`` to before ``high`` are, in reading order."""
        cdef list ranges = []
        cdef int64_t number
        if low < high:
            for number in range(low // self.segment, (high - 1) // self.segment + 1):
                ranges.append(self.of_key(number, key, low, high))
            if reverse:
                ranges.reverse()
        return ranges


cdef class SegmentChanges:
    """Changes of rows, in their order, until ``accepted`` says which of them count.

    A subclass has ``_misused()``, which makes the error of a call while it is not ``inside`` a block. A stored key of more
    than ``longest`` bytes raises ``too_long(key, stored)``; what is no ``int`` of milliseconds goes through
    ``exact_time(what, time)``.
    """

    cdef SegmentKeys keys
    cdef Py_ssize_t longest
    cdef object too_long, exact_time
    cdef public bint _inside
    cdef list pairs  # (stored key, value); None: it is deleted
    cdef int64_t *times  # of these
    cdef Py_ssize_t room
    cdef bint has_deletes

    def __cinit__(self, *arguments, **named):
        self.pairs = []

    def __init__(self, SegmentKeys keys not None, Py_ssize_t longest, too_long, exact_time, bint inside=False):
        self.keys = keys
        self.longest = longest
        self.too_long, self.exact_time = too_long, exact_time
        self._inside = inside

    def __dealloc__(self):
        free(self.times)

    def __len__(self):
        return PyList_GET_SIZE(self.pairs)

    cdef int check(self) except -1:
        if not self._inside:
            raise self._misused()
        return 0

    cdef int64_t time_of(self, str what, object given) except? -1:
        cdef int overflow = 0
        cdef int64_t time
        if type(given) is int:
            time = PyLong_AsLongLongAndOverflow(given, &overflow)
            if not overflow and FIRST_TIME <= time < END_OF_TIME:
                return time
        return self.exact_time(what, given)

    cdef int add(self, bytes key, int64_t time, bytes stored, bytes value) except -1:
        cdef Py_ssize_t count = PyList_GET_SIZE(self.pairs), room
        cdef void *times
        if PyBytes_GET_SIZE(stored) > self.longest:
            raise self.too_long(key, stored)
        if count == self.room:
            room = 2 * count + 8
            times = realloc(self.times, room * sizeof(int64_t))
            if times == NULL:
                raise MemoryError(f"no memory for {room} changes")
            self.times, self.room = <int64_t *>times, room
        self.times[count] = time
        if value is None:
            self.has_deletes = True
        self.pairs.append((stored, value))
        return 0

    def accepted(self, int64_t newest, int64_t first, int64_t retention):
        """Return what counts where ``newest`` is the greatest time so far, and ``first`` the first visible one.

        That is, each change after the other: ``(newest, first, late, puts, deletes)``. A row before ``first`` counts
        as late, and a delete of one as nothing.
        """
        cdef list kept = None, puts
        cdef Py_ssize_t count = PyList_GET_SIZE(self.pairs), late = 0, i
        cdef int64_t time
        cdef dict rows
        for i in range(count):
            time = self.times[i]
            pair = <tuple>self.pairs[i]
            if time < first:
                late += pair[1] is not None
                if kept is None:
                    kept = self.pairs[:i]
                continue
            if kept is not None:
                kept.append(pair)
            if time > newest and pair[1] is not None:
                newest = time
                if newest - retention + 1 > first:
                    first = newest - retention + 1
        if kept is None:
            kept = self.pairs
        if not self.has_deletes:
            return newest, first, late, kept, []
        rows = dict(kept)
        puts = [pair for pair in rows.items() if pair[1] is not None]
        return newest, first, late, puts, [stored for stored, value in rows.items() if value is None]


cdef class WindowChanges(SegmentChanges):
    """Changes of windows."""

    def put(self, key, start, value):
        """Set the value of one window when the block ends, unless it comes too late."""
        self.check()
        cdef bytes given = exact_bytes("a value", value), own = exact_bytes("a key", key)
        cdef int64_t at = self.time_of("start", start)
        self.add(own, at, stored_key(at // self.keys.segment, own, at, 0, False), given)

    def delete(self, key, start):
        """Remove one window when the block ends; fine when it is absent."""
        self.check()
        cdef bytes own = exact_bytes("a key", key)
        cdef int64_t at = self.time_of("start", start)
        self.add(own, at, stored_key(at // self.keys.segment, own, at, 0, False), None)


cdef class SessionChanges(SegmentChanges):
    """Changes of sessions."""

    def put(self, key, start, end, value):
        """Set the value of one session when the block ends, unless it comes too late."""
        self.check()
        self.change(exact_bytes("a value", value), exact_bytes("a key", key), start, end)

    def delete(self, key, start, end):
        """Remove one session when the block ends; fine when it is absent."""
        self.check()
        self.change(None, exact_bytes("a key", key), start, end)

    cdef int change(self, bytes value, bytes key, object start, object end) except -1:
        cdef int64_t begins = self.time_of("start", start), ends = self.time_of("end", end)
        if ends < begins:
            raise common.ends_before_start(start, end)
        return self.add(key, ends, stored_key(ends // self.keys.segment, key, ends, begins, True), value)


@cython.final
cdef class SegmentRows:
    """The rows of stored pairs: ``(start, value)``, of ``sessions`` ``(start, end, value)``.

    With ``keyed`` the pairs have no segment in front, and a row has its key before its times. At the end and by
    ``close`` it calls ``release``. ``owner`` is what must live as long as the rows are read.
    """

    cdef Steps steps
    cdef object release, owner
    cdef bint sessions, keyed

    def __cinit__(self, source, bint sessions, bint keyed, release, owner=None):
        self.steps = Steps(source)
        self.sessions, self.keyed = sessions, keyed
        self.release, self.owner = release, owner

    def __iter__(self):
        return self

    def __next__(self):
        cdef Pair pair
        if self.steps.take_next(&pair):
            return self.row(owned(pair.key), owned(pair.value))
        self.end()
        raise StopIteration

    def close(self):
        """Release what is held now. Idempotent."""
        self.steps.source.close()
        self.end()

    cdef int end(self) except -1:
        release, self.release = self.release, None
        if release is not None:
            release()
        return 0

    cdef tuple row(self, object stored, object value):
        cdef Py_ssize_t times = TIME_SIZE * (1 + self.sessions)
        if type(stored) is not bytes or PyBytes_GET_SIZE(stored) < TIMES_FROM + times:
            raise ValueError(f"a stored key without a time: {stored!r}")
        cdef Py_ssize_t size = PyBytes_GET_SIZE(stored) - times
        cdef const char *data = PyBytes_AS_STRING(<bytes>stored)
        cdef object time = <int64_t>(load64(data + size) ^ SIGN)
        if self.sessions:
            start = <int64_t>(load64(data + size + TIME_SIZE) ^ SIGN)
            if self.keyed:
                return plain_key(data, size - TIMES_FROM), start, time, value
            return start, time, value
        if self.keyed:
            return plain_key(data, size - TIMES_FROM), time, value
        return time, value


cdef bytes plain_key(const char *data, Py_ssize_t size):
    """Return a key without the byte after each zero."""
    cdef bytes key = PyBytes_FromStringAndSize(data, size)
    return key.replace(b"\0\xff", b"\0") if size and memchr(data, 0, size) != NULL else key
