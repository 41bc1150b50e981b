# Records folded into windows, one by one. The twin, and what every step must equal: statestore/core/pure_windows.py.

from cpython.list cimport PyList_GET_ITEM, PyList_SET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from copy import deepcopy

cdef extern from *:
    PyObject *PyDict_GetItemWithError(object of, object key) except? NULL
    int64_t PyLong_AsLongLongAndOverflow(object of, int *overflow) except? -1

cdef enum FoldFunction:
    COUNT_RECORDS
    ADD
    MOST
    LEAST
    FIRST
    LAST
    FIRST_BY_TIME
    LAST_BY_TIME
    REDUCE

cdef dict FOLD_FUNCTIONS = {
    "count": COUNT_RECORDS, "sum": ADD, "max": MOST, "min": LEAST, "first": FIRST, "last": LAST,
    "first by time": FIRST_BY_TIME, "last by time": LAST_BY_TIME, "reduce": REDUCE,
}
cdef int64_t EARLIEST = common.EARLIEST
cdef int64_t LATEST = common.LATEST
cdef tuple UNCHANGING = (int, float, str, bytes, Decimal)
"""Types of which a window's state needs no copy of its own."""


cdef struct FoldPart:
    FoldFunction function
    Py_ssize_t given          # the input; -1: the record itself
    Py_ssize_t place
    PyObject *call            # borrowed from the shape


cdef struct FoldWindow:
    int64_t size, origin, grace, start
    int64_t known_start       # of the window that a record was in last
    PyObject *known           # owned: its states by key; NULL: none is known
    PyObject *state           # owned, of the record that is being taken; NULL: it is late
    bint is_new


@cython.final
cdef class OpenWindows:
    cdef readonly Py_ssize_t partition
    cdef public int64_t event_time, closes_at, forgets_before
    cdef public list buckets
    cdef public object seen, notes

    def __init__(self, partition, sizes, notes=None):
        self.partition, self.notes = partition, notes
        self.event_time, self.closes_at = common.BEFORE_ALL, common.NEVER
        self.forgets_before = common.BEFORE_ALL
        self.buckets = [{} for _ in range(sizes)]
        self.seen = None if notes is None else {}


@cython.final
cdef class WindowFold:
    cdef public list closed, late
    cdef public object ahead, skipped
    cdef object shape, scope_of, entered, close, record_type, time_name
    cdef tuple keys, inputs, start
    cdef bint copies, acyclic, per_partition, is_busy
    cdef int64_t max_future
    cdef Py_ssize_t input_count, part_count, window_count, width
    cdef FoldPart *parts
    cdef FoldWindow *windows
    cdef PyObject **given     # owned, of the record that is being taken
    cdef PyObject **fresh     # owned: of each window, what its state becomes; NULL: as it is
    cdef OpenWindows last     # whose `known` windows are

    def __cinit__(self, shape, scope_of, entered, close):
        cdef Py_ssize_t i
        self.shape, self.scope_of, self.entered, self.close = shape, scope_of, entered, close
        self.keys, self.inputs, self.start = shape.keys, shape.inputs, shape.start
        self.record_type, self.time_name = shape.record, shape.time
        self.max_future, self.per_partition = shape.max_future, shape.per_partition
        self.acyclic = shape.acyclic
        self.copies = not all(one is None or type(one) in UNCHANGING for one in self.start)
        self.closed, self.late = [], [0] * len(shape.windows)
        self.ahead = self.skipped = 0
        self.input_count, self.part_count = len(self.inputs), len(shape.parts)
        self.window_count, self.width = len(shape.windows), len(self.start)
        self.parts = <FoldPart *>PyMem_Calloc(self.part_count + 1, sizeof(FoldPart))
        self.windows = <FoldWindow *>PyMem_Calloc(self.window_count + 1, sizeof(FoldWindow))
        self.given = <PyObject **>PyMem_Calloc(self.input_count + 1, sizeof(PyObject *))
        self.fresh = <PyObject **>PyMem_Calloc(self.window_count * self.width + 1, sizeof(PyObject *))
        if self.parts == NULL or self.windows == NULL or self.given == NULL or self.fresh == NULL:
            raise MemoryError("no memory for windows")
        for i, (function, given, place, call) in enumerate(shape.parts):
            if not (-1 <= given < self.input_count and 0 <= place < self.width):
                raise ValueError(f"part {i}: input {given} of {self.input_count}, place {place} of {self.width}")
            self.parts[i].function = FOLD_FUNCTIONS[function]
            self.parts[i].given, self.parts[i].place, self.parts[i].call = given, place, <PyObject *>call
            if function.endswith("by time") and place + 1 >= self.width:
                raise ValueError(f"part {i}: no place for the value")
        for i, (size, origin, grace) in enumerate(shape.windows):
            if size <= 0:
                raise ValueError(f"a window of {size} ms")
            self.windows[i].size, self.windows[i].origin, self.windows[i].grace = size, origin, grace

    def __dealloc__(self):
        self.drop()
        self.know_nothing()
        PyMem_Free(self.parts)
        PyMem_Free(self.windows)
        PyMem_Free(self.given)
        PyMem_Free(self.fresh)

    def take(self, record, timestamp, Py_ssize_t partition):
        self.begin_call()
        try:
            self.take_record(record, timestamp, partition)
        finally:
            self.is_busy = False
        return self.fetch()

    def take_all(self, records, Py_ssize_t partition):
        self.begin_call()
        try:
            for record in records:
                self.take_record(record, None, partition)
        finally:
            self.is_busy = False
        return self.fetch()

    def fetch(self):
        if not self.closed:
            return []
        closed, self.closed = self.closed, []
        return closed

    def check_free(self):
        if self.is_busy:
            raise common.busy_fold()

    cdef int begin_call(self) except -1:
        if self.is_busy:
            raise common.busy_fold()
        self.is_busy = True
        return 0

    cdef int take_record(self, record, timestamp, Py_ssize_t partition) except -1:
        if type(record) is self.record_type:
            timestamp = record.timestamp
            partition = record.partition or 0
            record = record.value
        if timestamp is None:
            return self.take_one(record, False, 0, partition)
        return self.take_one(record, True, event_milliseconds(timestamp), partition)

    cdef int take_one(self, value, bint has_timestamp, int64_t timestamp, Py_ssize_t partition) except -1:
        cdef OpenWindows scope
        cdef int64_t time = timestamp
        cdef bint has_time = has_timestamp
        if value is None:
            self.skipped += 1
            return 0
        if len(self.keys) == 1:
            key = getattr(value, self.keys[0])
        else:
            key = tuple([getattr(value, name) for name in self.keys])
        if key is None or (len(self.keys) > 1 and None in key):
            self.skipped += 1
            return 0
        if self.time_name is not None:
            own = getattr(value, self.time_name)
            if own is not None:
                has_time, time = True, event_milliseconds(own)
                if has_timestamp and time - timestamp > self.max_future:
                    self.ahead += 1
                    return 0
        if not has_time:
            raise self.shape.without_time(value)
        if not EARLIEST <= time <= LATEST:
            raise common.event_time_unfit(time)
        try:
            self.take_inputs(value)
            scope = self.scope_for(partition, key, time)
            if scope is None:
                self.late = [count + 1 for count in self.late]
                return 0
            self.find_states(scope, key, time)
            self.compute(value, time)
            if not self.per_partition:
                scope = self.entered_scope(partition, key, time, scope)
            # It closes no window that it is in. If its bars cannot be made, it is in none.
            if time >= scope.closes_at:
                self.closed += self.close(scope, time)
            elif time > scope.event_time:
                scope.event_time = time
            self.store(scope, key)
        finally:
            self.drop()
        if scope.seen is not None:
            self.note(scope, key, time)
        return 0

    cdef int take_inputs(self, value) except -1:
        cdef Py_ssize_t i
        for i in range(self.input_count):
            of = self.inputs[i]
            found = getattr(value, of) if type(of) is str else of(value)
            Py_INCREF(found)
            self.given[i] = <PyObject *>found
        return 0

    cdef OpenWindows scope_for(self, Py_ssize_t partition, key, int64_t time):
        cdef OpenWindows scope
        if self.per_partition and self.last is not None and self.last.partition == partition:
            return self.last
        scope = self.scope_of(partition, key, time)
        if scope is not None and scope is not self.last:
            self.know_nothing()
            self.last = scope
        return scope

    cdef OpenWindows entered_scope(self, Py_ssize_t partition, key, int64_t time, OpenWindows scope):
        cdef OpenWindows found = self.entered(partition, key, time, scope)
        if found is not scope:  # the key was forgotten, and is new
            self.know_nothing()
            self.last = found
        return found

    cdef int find_states(self, OpenWindows scope, key, int64_t time) except -1:
        """Find or make the state of each window that the record is in."""
        cdef Py_ssize_t i
        cdef PyObject *found
        cdef FoldWindow *window
        for i in range(self.window_count):
            window = &self.windows[i]
            window.start = time - (time - window.origin) % window.size
            if window.start + window.size + window.grace <= scope.event_time:
                continue
            if window.known == NULL or window.known_start != window.start:
                self.know(window, PyDict_GetItemWithError(scope.buckets[i], window.start))
            found = NULL if window.known == NULL else PyDict_GetItemWithError(<object>window.known, key)
            window.is_new = found == NULL
            state = self.begin() if window.is_new else <object>found
            Py_INCREF(state)
            window.state = <PyObject *>state
        return 0

    cdef void know(self, FoldWindow *window, PyObject *states) noexcept:
        Py_XDECREF(window.known)
        window.known, window.known_start = states, window.start
        if states != NULL:
            Py_INCREF(<object>states)

    cdef void know_nothing(self) noexcept:
        cdef Py_ssize_t i
        for i in range(self.window_count):
            Py_XDECREF(self.windows[i].known)
            self.windows[i].known = NULL

    cdef object begin(self):
        state = list(deepcopy(self.start)) if self.copies else list(self.start)
        return acyclic(state) if self.acyclic else state

    cdef int compute(self, value, int64_t time) except -1:
        """Find what the states become, and change none: an exception leaves all as it was."""
        cdef Py_ssize_t i, j
        cdef FoldPart *part
        cdef PyObject **fresh
        cdef list state
        for i in range(self.window_count):
            if self.windows[i].state == NULL:
                continue
            state = <list>self.windows[i].state
            fresh = self.fresh + i * self.width
            for j in range(self.part_count):
                part = &self.parts[j]
                so_far = state[part.place]
                if part.function == REDUCE:
                    keep_part(fresh, part.place, (<object>part.call)(so_far, value))
                    continue
                given = value if part.given < 0 else <object>self.given[part.given]
                if given is None:
                    continue
                if part.function == COUNT_RECORDS:
                    keep_part(fresh, part.place, so_far + 1)
                elif part.function == ADD:
                    keep_part(fresh, part.place, summed_part(so_far, given, part.call))
                elif part.function == MOST or part.function == LEAST:
                    best = better_part(so_far, given, part.function, part.call)
                    if best is not so_far:
                        keep_part(fresh, part.place, best)
                elif part.function == FIRST:
                    if so_far is None:
                        keep_part(fresh, part.place, given)
                elif part.function == LAST:
                    keep_part(fresh, part.place, given)
                elif so_far is None or (
                    time < <int64_t>so_far if part.function == FIRST_BY_TIME else time >= <int64_t>so_far
                ):
                    keep_part(fresh, part.place, time)
                    keep_part(fresh, part.place + 1, given)
        return 0

    cdef int store(self, OpenWindows scope, key) except -1:
        cdef Py_ssize_t i, place
        cdef PyObject **fresh
        cdef PyObject *old
        cdef FoldWindow *window
        for i in range(self.window_count):
            window = &self.windows[i]
            if window.state == NULL:
                self.late[i] += 1
                continue
            fresh = self.fresh + i * self.width
            for place in range(self.width):
                if fresh[place] != NULL:
                    old = PyList_GET_ITEM(<object>window.state, place)
                    PyList_SET_ITEM(<object>window.state, place, <object>fresh[place])
                    fresh[place] = NULL
                    Py_XDECREF(old)
            if window.is_new:
                if window.known == NULL:
                    states = scope.buckets[i].setdefault(window.start, {})
                    scope.closes_at = min(scope.closes_at, window.start + window.size + window.grace)
                    self.know(window, <PyObject *>states)
                (<dict>window.known)[key] = <object>window.state
        return 0

    cdef int note(self, OpenWindows scope, key, int64_t time) except -1:
        span = scope.seen.get(key)
        if span is None:
            if time >= scope.forgets_before:
                scope.seen[key] = [time, time]
        else:
            span[0], span[1] = min(<int64_t>span[0], time), max(<int64_t>span[1], time)
        return 0

    cdef void drop(self) noexcept:
        """Let go of what belongs to one record."""
        cdef Py_ssize_t i
        for i in range(self.input_count):
            Py_XDECREF(self.given[i])
            self.given[i] = NULL
        for i in range(self.window_count):
            Py_XDECREF(self.windows[i].state)
            self.windows[i].state = NULL
        for i in range(self.window_count * self.width):
            Py_XDECREF(self.fresh[i])
            self.fresh[i] = NULL


cdef inline void keep_part(PyObject **fresh, Py_ssize_t place, value):
    Py_INCREF(value)
    fresh[place] = <PyObject *>value


cdef inline object summed_part(so_far, given, PyObject *call):
    if type(so_far) is int or type(so_far) is float:
        return so_far + given
    return (<object>call)(so_far, given)


cdef inline object better_part(so_far, given, FoldFunction function, PyObject *call):
    """Return the greater or the lesser one. Types with a NaN of their own are for ``call``."""
    cdef double one, other
    if type(given) is float and type(so_far) is float:
        one, other = given, so_far
        if one == one and other == other:
            return given if (one > other if function == MOST else one < other) else so_far
    elif type(given) is int and type(so_far) is int:
        return given if (given > so_far if function == MOST else given < so_far) else so_far
    return (<object>call)(so_far, given)


cdef inline int64_t event_milliseconds(time) except? -1:
    """Return the milliseconds since 1970 of a time with a zone, rounded down; an ``int`` is that already."""
    cdef int too_large = 0
    cdef int64_t milliseconds
    if type(time) is int:
        milliseconds = PyLong_AsLongLongAndOverflow(time, &too_large)
        if not too_large:
            return milliseconds
    elif type(time) is datetime and datetime_tzinfo(time) is UTC:
        return microseconds_in_utc(time) // 1000
    return common.event_milliseconds(time)
