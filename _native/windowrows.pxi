# Scans of a window's table: rows whose retention has not ended, in the order of key and time. The twin is in
# statestore/core/pure_scan.py.


cdef class ChosenPairs(PairSource):
    """Pairs of another scan: a subclass has ``take_next``, which chooses them."""

    cdef Steps steps

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *pair = self.advance()
        if pair == NULL:
            raise StopIteration
        return owned_pair(pair)

    cdef PyObject *advance(self) except? NULL:
        cdef Pair pair
        if not self.take_next(&pair):
            return NULL
        both = (owned(pair.key), owned(pair.value))
        take(<PyObject *>both)
        return <PyObject *>both


cdef class UnendedPairs(ChosenPairs):
    """The pairs of a scan without the rows whose time is before ``first``, at most ``limit`` (``None``: all).

    The key of a row begins with the byte ``row``, and its time is the 8 bytes that begin ``back`` bytes before its
    end. A pair whose key begins with the byte ``entry`` has a row's key at the end of its value, and ends with it.
    All other pairs stay, and so do keys that are too short for a time.
    """

    cdef bytes first
    cdef Py_ssize_t back, left
    cdef char row, entry

    def __cinit__(self, source, Py_ssize_t back, bytes first not None, bytes row not None, bytes entry not None, limit):
        if back < 8 or len(first) != 8 or len(row) != 1 or len(entry) != 1:
            raise ValueError(f"a time of 8 bytes cannot be {back} bytes before an end, or {len(first)} bytes long")
        self.steps = Steps(source)
        self.back, self.first = back, first
        self.row, self.entry = PyBytes_AS_STRING(row)[0], PyBytes_AS_STRING(entry)[0]
        self.left = -1 if limit is None else limit

    def close(self):
        """Release the snapshot of the scan now. Idempotent."""
        self.left = 0
        self.steps.source.close()

    cdef bint take_next(self, Pair *pair) except -1:
        while self.left != 0 and self.steps.take_next(pair):
            if not self.has_ended(pair):
                if self.left > 0:
                    self.left -= 1
                return True
            drop(pair.key)
            drop(pair.value)
        if self.left == 0:
            self.steps.source.close()
        return False

    cdef bint has_ended(self, Pair *pair) noexcept:
        cdef PyObject *timed = pair.key
        if not is_bytes(pair.key) or not is_bytes(pair.value) or bytes_size(pair.key) == 0:
            return False
        if bytes_data(pair.key)[0] == self.entry:
            timed = pair.value
        elif bytes_data(pair.key)[0] != self.row:
            return False
        if bytes_size(timed) <= self.back:
            return False
        return memcmp(bytes_data(timed) + bytes_size(timed) - self.back, PyBytes_AS_STRING(self.first), 8) < 0


@cython.final
cdef class PlainPairs(ChosenPairs):
    """The pairs of a scan, up to the first with a zero byte in its key; then those of ``others(that, scan)``.

    The first ``front`` and the last ``back`` bytes of a key do not count.
    """

    cdef object scan, others
    cdef Py_ssize_t front, back

    def __cinit__(self, scan, Py_ssize_t front, Py_ssize_t back, others not None):
        self.steps = Steps(scan)
        self.scan, self.others = scan, others
        self.front, self.back = front, back

    def close(self):
        """Release the snapshot of the scan now. Idempotent."""
        self.scan.close()

    cdef bint take_next(self, Pair *pair) except -1:
        if not self.steps.take_next(pair):
            return False
        if self.others is None or not self.has_zero(pair.key):
            return True
        first = (owned(pair.key), owned(pair.value))
        others, self.others = self.others, None
        self.steps = Steps(others(first, self.steps.source))
        return self.steps.take_next(pair)

    cdef bint has_zero(self, PyObject *key) noexcept:
        cdef Py_ssize_t size
        if not is_bytes(key):
            return True
        size = bytes_size(key) - self.front - self.back
        return size > 0 and memchr(bytes_data(key) + self.front, 0, size) != NULL
