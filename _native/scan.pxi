# Scans: one call of C for each pair. The twin is statestore/core/pure_scan.py.

from cpython.exc cimport PyErr_Occurred
from cpython.list cimport PyList_GET_SIZE
from cpython.ref cimport PyObject
from libc.string cimport memcmp, memmove

cdef extern from *:
    """
    #define raised() (-1)
    #define items_of(pair) (((PyTupleObject *)(pair))->ob_item)
    """
    int raised() except -1  # what is set already
    PyObject **items_of(PyObject *pair)

cdef extern from "Python.h":
    PyObject *PyIter_Next(object iterator)
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *data, Py_ssize_t size)
    bint is_tuple "PyTuple_CheckExact" (PyObject *thing)
    Py_ssize_t tuple_size "PyTuple_GET_SIZE" (PyObject *thing)
    bint is_bytes "PyBytes_CheckExact" (PyObject *thing)
    char *bytes_data "PyBytes_AS_STRING" (PyObject *thing)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE" (PyObject *thing)
    Py_ssize_t references "Py_REFCNT" (PyObject *thing)
    void take "Py_INCREF" (PyObject *thing)
    void drop "Py_DECREF" (PyObject *thing)
    object owned_pair "(PyObject *)" (PyObject *pair)
    int _PyBytes_Resize(PyObject **thing, Py_ssize_t size) except -1

cdef enum:
    TURN = 64  # pairs between two calls of Python, in which others get their turn


cdef struct Pair:
    PyObject *key
    PyObject *value


cdef class PairSource:
    """A scan whose next pair C takes by a call of C: Python calls the ``__next__`` of a subclass by its name."""

    cdef PyObject *advance(self) except? NULL:
        """Return a new reference to the next pair, NULL at the end."""
        raise NotImplementedError

    cdef bint take_next(self, Pair *pair) except -1:
        """Whether there was a next pair: new references to its parts."""
        cdef PyObject *found = self.advance()
        if found == NULL:
            return False
        return take_apart(found, pair)


cdef class PairQueue(PairSource):
    """The pairs that a scan has read ahead, in ``_pairs``, the next one last.

    A subclass has ``_fill()``, which is called where there are none: it puts some there or raises.
    """

    cdef public list _pairs

    def __cinit__(self, *arguments, **named):
        self._pairs = []

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *pair = self.advance()
        if pair == NULL:
            raise StopIteration
        return owned_pair(pair)

    cdef PyObject *advance(self) except? NULL:
        while PyList_GET_SIZE(self._pairs) == 0:
            try:
                self._fill()
            except StopIteration:
                return NULL
        pair = self._pairs.pop()
        take(<PyObject *>pair)
        return <PyObject *>pair


cdef class CallGuard:
    """What calls into an engine pass, for ``backends/lifetime.py``: ``with guard.call:`` around each.

    It counts in C, so that a signal handler which raises at any instant leaves the count right.
    """

    cdef public list inside
    cdef public object barrier

    def __cinit__(self):
        self.inside = []

    @property
    def call(self):
        """What one call runs in."""
        return self

    def __enter__(self):
        self.inside.append(None)
        while self.barrier is not None:
            self.inside.pop()
            self.barrier()
            self.inside.append(None)

    def __exit__(self, kind, error, traceback):
        self.inside.pop()

    def calls(self):
        """Return how many calls are under way, and how many items ``inside`` had from the beginning."""
        return len(self.inside)


cdef class GuardedPairs(PairSource):
    """A scan that takes each pair from the engine when it is asked for, in a call announced to ``_guard``.

    A subclass puts an iterator of the engine into ``_source``, how many pairs are still wanted into ``_left``
    (below 0: all), and where the range ends into ``_stop``, which it excludes, or, if reversed, ``_start``.
    It has ``_failed(error)``, which raises what an error of the engine means, and ``release()``, for the end.
    """

    cdef public CallGuard _guard
    cdef public object _source
    cdef public Py_ssize_t _left
    cdef public bytes _start
    cdef public bytes _stop
    cdef public bint _finished

    def __cinit__(self, *arguments, **named):
        self._source = iter(())
        self._left = -1

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *pair = self.advance()
        if pair == NULL:
            raise StopIteration
        return owned_pair(pair)

    cdef PyObject *advance(self) except? NULL:
        if self._finished:
            return NULL
        if self._guard is None:
            raise TypeError("no guard")
        self._guard.inside.append(None)
        try:
            while self._guard.barrier is not None:
                self.wait()
            return self.step()
        finally:
            self._guard.inside.pop()

    cdef int wait(self) except -1:
        self._guard.inside.pop()
        try:
            self._guard.barrier()
        finally:
            self._guard.inside.append(None)
        return 0

    cdef PyObject *step(self) except? NULL:
        cdef PyObject *pair = NULL
        if self._left != 0:
            source = self._source
            pair = PyIter_Next(source)
            if pair == NULL and PyErr_Occurred() != NULL:
                self.fail()
            if pair != NULL and self.is_past_the_end(pair):
                drop(pair)
                pair = NULL
            self._left -= self._left > 0
        if pair == NULL or self._left == 0:
            self._finished = True
            self.release()
        return pair

    cdef bint is_past_the_end(self, PyObject *pair) noexcept:
        """Whether ``pair`` is past the end of the range, or no pair."""
        cdef PyObject *key
        if not is_tuple(pair) or tuple_size(pair) != 2 or not is_bytes(items_of(pair)[0]):
            return True
        key = items_of(pair)[0]
        if self._stop is not None and compared(key, <PyObject *>self._stop) >= 0:
            return True
        return self._start is not None and compared(key, <PyObject *>self._start) < 0

    cdef int fail(self) except -1:
        try:
            raised()
        except Exception as error:
            self._failed(error)
        return 0

    def close(self):
        """Release the snapshot now. Idempotent."""
        self._finished = True
        self.release()


cdef bint take_apart(PyObject *found, Pair *pair) except -1:
    """Take over the reference to what should be a pair."""
    cdef tuple both
    if not is_tuple(found) or tuple_size(found) != 2:
        both = tuple(owned_pair(found))
        if len(both) != 2:
            raise ValueError(f"a pair has two parts, not {len(both)}")
        found = <PyObject *>both
        take(found)
    pair.key, pair.value = items_of(found)[0], items_of(found)[1]
    take(pair.key)
    take(pair.value)
    drop(found)
    return True


cdef inline int compared(PyObject *one, PyObject *other) noexcept:
    cdef Py_ssize_t size = bytes_size(one), more = size - bytes_size(other)
    cdef int order = memcmp(bytes_data(one), bytes_data(other), size - more if more > 0 else size)
    return order if order else (more > 0) - (more < 0)


cdef tuple NATIVE_STEPS = (
    PairQueue.__next__, GuardedPairs.__next__, OrderedIterator.__next__, ChosenPairs.__next__,
    ChainedPairs.__next__,
)


@cython.final
cdef class Steps:
    """The steps of any scan, with turns for others: threads, and the event loop that a scan may be for."""

    cdef object source
    cdef PairSource native  # the same, if C may step it
    cdef unsigned int count

    def __cinit__(self, source):
        self.source = iter(source)
        if isinstance(self.source, PairSource):
            if type(self.source).__next__ in NATIVE_STEPS:
                self.native = self.source

    cdef inline PyObject *next(self) except? NULL:
        """Return a new reference to the next pair, NULL at the end."""
        cdef PyObject *pair
        self.count += 1
        if self.count % TURN == 0:
            common.pause_point()
        if self.native is not None:
            return self.native.advance()
        source = self.source
        pair = PyIter_Next(source)
        if pair == NULL and PyErr_Occurred() != NULL:
            raised()
        return pair


    cdef inline bint take_next(self, Pair *pair) except -1:
        """Whether there was a next pair: new references to its parts."""
        cdef PyObject *found
        if self.native is None:
            found = self.next()
            return found != NULL and take_apart(found, pair)
        self.count += 1
        if self.count % TURN == 0:
            common.pause_point()
        return self.native.take_next(pair)


@cython.final
cdef class Pairs:
    """A backend's pairs as users see them, less ``namespace`` bytes of key and ``header`` bytes of value.

    ``owner`` is what must live as long as the pairs are read.
    """

    cdef Steps steps
    cdef Py_ssize_t namespace, header
    cdef object owner

    def __cinit__(self, source, Py_ssize_t namespace, Py_ssize_t header, owner=None):
        self.steps = Steps(source)
        self.owner = owner
        self.namespace = namespace
        self.header = header

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *pair = self.steps.next()
        if pair == NULL:
            raise StopIteration
        return stripped(pair, self.namespace, self.header)

    def close(self):
        """Release the snapshot of the scan now. Idempotent."""
        self.steps.source.close()


cdef class CountedRows:
    """The rows of any iterator, counted as they are taken.

    A subclass has ``_ended()``, which is called at each step that finds no row: it raises, or lets the end be.
    """

    cdef object _rows
    cdef readonly Py_ssize_t count
    cdef readonly bint exhausted

    def __init__(self, rows):
        self._rows = iter(rows)

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *row = NULL
        rows = self._rows
        if rows is not None:
            row = PyIter_Next(rows)
            if row != NULL:
                self.count += 1
                return owned_pair(row)
            if PyErr_Occurred() != NULL:
                raised()
            self.exhausted = True
            self._rows = None
        self._ended()
        raise StopIteration

    def _drop(self):
        """Let go of the rows that are left."""
        self._rows = None


def count_pairs(source):
    """Return how many pairs are left in a backend's scan."""
    cdef Py_ssize_t count = 0
    cdef Steps steps = Steps(source)
    cdef PyObject *pair
    while True:
        pair = steps.next()
        if pair == NULL:
            return count
        drop(pair)
        count += 1


def read_pairs(key, value, step, Py_ssize_t count):
    """Return ``count`` times ``(key(), value())``, a ``step()`` after each; fewer where a key is ``None``."""
    cdef list pairs = []
    cdef Py_ssize_t i
    for i in range(count):
        at = key()
        if at is None:
            break
        pairs.append((at, value()))
        step()
    return pairs


def mean_size(list pairs not None):
    """Return about how many bytes one of ``pairs`` has, by a look at some of them."""
    cdef Py_ssize_t size = 0, count = 0, i
    for i in range(0, len(pairs), max(1, len(pairs) // 16)):
        key, value = pairs[i]
        size += len(<bytes?>key) + len(<bytes?>value)
        count += 1
    return size // count


cdef inline object stripped(PyObject *pair, Py_ssize_t namespace, Py_ssize_t header):
    """Take over the reference to ``pair``; a pair that nobody else has is changed in place."""
    cdef PyObject **items = items_of(pair)
    shared = owned_pair(pair)
    if (
        is_tuple(pair)
        and references(pair) == 1
        and tuple_size(pair) == 2
        and is_bytes(items[0])
        and is_bytes(items[1])
    ):
        cut(&items[0], namespace)
        cut(&items[1], header)
        return shared
    key, value = shared
    return key[namespace:], value[header:]


cdef inline int cut(PyObject **slot, Py_ssize_t count) except -1:
    """Take the first ``count`` bytes off what is in ``slot``."""
    cdef PyObject *old = slot[0]
    cdef PyObject *new
    cdef char *data = bytes_data(old)
    cdef Py_ssize_t left = bytes_size(old) - count
    if count == 0:
        return 0
    if left > 1 and references(old) == 1:  # shorter ones exist once for all
        memmove(data, data + count, left)
        return _PyBytes_Resize(slot, left)
    new = new_bytes(data + count if left > 0 else NULL, max(left, 0))
    if new == NULL:
        return raised()
    slot[0] = new
    drop(old)
    return 0
