# Scans of several ranges, one after the other. The twin is in statestore/core/pure_scan.py.


cdef class ChainedPairs(PairSource):
    """The pairs of all of ``scans``, one scan after the other. At the end and by ``close`` it calls ``release``."""

    cdef object scans, release
    cdef Steps steps  # of the present scan

    def __cinit__(self, scans, release=None):
        self.scans = iter(scans)
        self.release = release

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *pair = self.advance()
        if pair == NULL:
            raise StopIteration
        return owned_pair(pair)

    cdef PyObject *advance(self) except? NULL:
        cdef PyObject *pair
        while self.next_scan():
            pair = self.steps.next()
            if pair != NULL:
                return pair
            self.end_scan()
        return NULL

    cdef bint take_next(self, Pair *pair) except -1:
        while self.next_scan():
            if self.steps.take_next(pair):
                return True
            self.end_scan()
        return False

    cdef bint next_scan(self) except -1:
        """Whether there is a scan to read on."""
        if self.steps is None:
            scan = None if self.scans is None else next(self.scans, None)
            if scan is None:
                self.end()
                return False
            self.steps = Steps(scan)
        return True

    cdef int end_scan(self) except -1:
        steps, self.steps = self.steps, None
        if steps is not None:
            (<Steps>steps).source.close()
        return 0

    cdef int end(self) except -1:
        release, self.release, self.scans = self.release, None, None
        if release is not None:
            release()
        return 0

    def close(self):
        """Release what is held now. Idempotent."""
        self.end_scan()
        self.end()


@cython.final
cdef class CursorPairs:
    """The pairs of ``ranges``, one range after the other, which a ``cursor`` of RocksDB reads.

    In ``reverse`` each is read from its end. The cursor's ``status()`` raises where it stopped for an error.
    """

    cdef object cursor, key, value, step
    cdef list ranges
    cdef Py_ssize_t place  # of the next range
    cdef bint reverse, inside
    cdef bytes bound  # of the present range

    def __cinit__(self, cursor, list ranges not None, bint reverse):
        self.cursor = cursor
        self.key, self.value = cursor.key, cursor.value
        self.step = cursor.prev if reverse else cursor.next
        self.ranges, self.reverse = ranges, reverse

    def __iter__(self):
        return self

    def __next__(self):
        cdef bytes key
        while self.inside or self.begin():
            key = self.key()
            if key is not None and self.is_within(key):
                pair = key, self.value()
                self.step()
                return pair
            self.inside = False
            self.cursor.status()
        raise StopIteration

    cdef bint begin(self) except -1:
        """Whether there is another range, to whose first pair the cursor is taken then."""
        if self.place == PyList_GET_SIZE(self.ranges):
            return False
        keys = self.ranges[self.place]
        cdef bytes start = keys.start, stop = keys.stop
        self.place += 1
        if not self.reverse:
            self.cursor.seek(b"" if start is None else start)
        elif stop is None:
            self.cursor.seek_to_last()
        else:
            self.cursor.seek_for_prev(stop)
            if self.key() == stop:
                self.step()
        self.bound = start if self.reverse else stop
        self.inside = True
        return True

    cdef bint is_within(self, bytes key) noexcept:
        if self.bound is None:
            return True
        return (compared(<PyObject *>key, <PyObject *>self.bound) < 0) != self.reverse
