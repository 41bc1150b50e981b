# The content of a memory store for Python: the map, its snapshots and its scans. The work is in ordered.h.

from threading import RLock

from cpython.object cimport PyObject

cdef extern from "ordered.h":
    ctypedef struct Pace:
        pass
    void pace_begin(Pace *pace)
    void pace_work(Pace *pace, int units)

    ctypedef struct TreeNode:
        Py_ssize_t refs
    ctypedef struct Tree:
        TreeNode *root
        Py_ssize_t count
        Py_ssize_t size
    void tree_release(TreeNode *root)

    ctypedef struct TreeCursor:
        TreeNode *root
    void cursor_begin(TreeCursor *cursor, TreeNode *root, PyObject *start, PyObject *stop, int reverse)
    bint cursor_next(TreeCursor *cursor, PyObject **key, PyObject **value)
    void cursor_end(TreeCursor *cursor)

    ctypedef struct Change:
        PyObject *key
        PyObject *value
        PyObject *old_key
        PyObject *old_value
        Py_ssize_t turn
    ctypedef struct Ordered:
        Tree tree
        bint index_valid
        bint closed
        bint writing
    ctypedef enum Outcome:
        APPLIED, TOO_LARGE, NO_MEMORY, CLOSED
    Py_ssize_t CHANGES_AT_ONCE
    PyObject *ordered_find(const Ordered *map, const TreeNode *root, PyObject *key)
    Outcome ordered_apply_few(
        Ordered *map, Change *changes, Py_ssize_t count, Py_ssize_t most, Py_ssize_t *reached
    )
    Outcome ordered_apply_many(
        Ordered *map, Change *changes, Py_ssize_t count, Py_ssize_t most, Py_ssize_t *reached
    )
    int ordered_delete_range(Ordered *map, PyObject *start, PyObject *stop)
    void changes_sort(Change *changes, Py_ssize_t count) nogil
    void changes_free(Change *changes, Py_ssize_t count)
    void ordered_close(Ordered *map, bint leak)

cdef extern from "Python.h":
    void *PyMem_RawMalloc(size_t size) nogil
    Py_ssize_t PY_SSIZE_T_MAX
    Py_ssize_t PyNumber_AsSsize_t(object number, PyObject *overflow) except? -1

cdef enum:
    READS_AT_ONCE = 1000  # of a get_many, before other threads get their turn


# --- What closing a map has to reach ------------------------------------------------------------------------

cdef struct Link:
    Link *previous
    Link *next
    PyObject *owner


@cython.final
@cython.no_gc
cdef class Readers:
    """The live snapshots and scans of a map, and what ended them: the ring that they are all in."""

    cdef Link ring
    cdef object gone  # makes the error that every call raises from now on; None: live
    cdef Ordered *map  # NULL: freed, which its snapshots survive

    def __cinit__(self):
        self.ring.previous = self.ring.next = &self.ring

    cdef void enter(self, Link *link, object owner) noexcept:
        link.owner = <PyObject *>owner
        link.previous = &self.ring
        link.next = self.ring.next
        link.next.previous = self.ring.next = link

    cdef int check(self) except -1:
        if self.gone is not None:
            raise self.gone()
        return 0

    cdef void end_all(self, bint leak):
        cdef object owner
        while self.ring.next != &self.ring:
            owner = <object>self.ring.next.owner
            if type(owner) is OrderedIterator:
                (<OrderedIterator>owner).end(self.gone, leak)
            else:
                (<OrderedSnapshot>owner).end(self.gone, leak)


cdef inline void leave(Link *link) noexcept:
    """Take a reader out of the ring, if it is in."""
    if link.next != NULL:
        link.next.previous = link.previous
        link.previous.next = link.next
        link.next = NULL


# --- Reading ------------------------------------------------------------------------------------------------

cdef inline object as_list(object items):
    """Return what no loop over it runs Python code for."""
    return items if type(items) is list or type(items) is tuple else list(items)


cdef list values_of(Readers readers, TreeNode *root, object keys):
    cdef list values = []
    cdef PyObject *value
    cdef Pace pace
    cdef Py_ssize_t count = 0
    cdef bytes key
    if root != NULL:
        root.refs += 1  # nobody changes it then
    pace_begin(&pace)
    try:
        for given in keys:
            key = exact_bytes("key", given)
            value = ordered_find(readers.map, root, <PyObject *>key)
            values.append(None if value == NULL else <object>value)
            count += 1
            if count % READS_AT_ONCE == 0:
                pace_work(&pace, 4 * READS_AT_ONCE)
    finally:
        tree_release(root)
    return values


cdef OrderedIterator scan_of(Readers readers, TreeNode **root, object given, bint reverse, object limit):
    cdef OrderedIterator scan = OrderedIterator.__new__(OrderedIterator)
    cdef KeyRange keys = None
    if type(given) is KeyRange:
        keys = <KeyRange>given
    elif given is not None:
        keys = KeyRange(given.start, given.stop)  # the twin's
    if limit is None:
        scan.left = -1
    else:
        scan.left = PyNumber_AsSsize_t(limit, NULL)
        if scan.left < 0:
            raise common.negative_limit(limit)
    readers.check()
    cursor_begin(
        &scan.cursor,
        root[0],  # not before: the limit's __index__ is Python code
        NULL if keys is None else or_null(keys.start),
        NULL if keys is None else or_null(keys.stop),
        reverse,
    )
    scan.readers = readers
    readers.enter(&scan.link, scan)
    return scan


@cython.final
@cython.no_gc
cdef class OrderedIterator(PairSource):
    """A scan of a map or of a snapshot, on the content at the moment when it was made."""

    cdef TreeCursor cursor
    cdef Py_ssize_t left  # pairs it may still give; -1: any number
    cdef bint finished
    cdef object gone  # makes the error that the next step raises
    cdef Readers readers
    cdef Link link

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *key
        cdef PyObject *value
        if self.step(&key, &value):
            return <object>key, <object>value
        raise StopIteration

    cdef inline bint step(self, PyObject **key, PyObject **value) except -1:
        """Whether there is a next pair: references that are borrowed until the content is released."""
        if self.left != 0 and cursor_next(&self.cursor, key, value):
            self.left -= self.left > 0
            return True
        self.finish()
        return False

    cdef PyObject *advance(self) except? NULL:
        cdef PyObject *key
        cdef PyObject *value
        return kept((<object>key, <object>value)) if self.step(&key, &value) else NULL

    cdef bint take_next(self, Pair *pair) except -1:
        if not self.step(&pair.key, &pair.value):
            return False
        take(pair.key)
        take(pair.value)
        return True

    def read(self, Py_ssize_t count):
        """Return the next ``count`` pairs, fewer only at the end."""
        cdef list pairs = []
        cdef PyObject *key
        cdef PyObject *value
        while len(pairs) < count:
            if self.left == 0 or not cursor_next(&self.cursor, &key, &value):
                self.finish()
                break
            self.left -= self.left > 0
            pairs.append((<object>key, <object>value))
        return pairs

    def close(self):
        """Release the content now. Idempotent."""
        if self.gone is None:
            self.finished = True
        leave(&self.link)
        cursor_end(&self.cursor)

    cdef int finish(self) except -1:
        if self.gone is not None:
            raise self.gone()
        if not self.finished:
            self.close()
        return 0

    cdef void end(self, object gone, bint leak):
        leave(&self.link)
        self.gone = gone
        if leak:
            self.cursor.root = NULL
        else:
            cursor_end(&self.cursor)

    def __dealloc__(self):
        leave(&self.link)
        cursor_end(&self.cursor)


@cython.final
@cython.no_gc
cdef class OrderedSnapshot:
    """The content of a map at the moment when ``snapshot`` was called. Thread-safe."""

    cdef TreeNode *root
    cdef object gone
    cdef Readers readers
    cdef Link link

    def __cinit__(self):
        self.gone = common.closed_error  # until OrderedMap.snapshot has filled it in

    def get(self, key):
        """Return the value of ``key``, ``None`` when there is none."""
        cdef bytes wanted = exact_bytes("key", key)
        cdef PyObject *value
        self.check()
        value = ordered_find(self.readers.map, self.root, <PyObject *>wanted)
        return None if value == NULL else <object>value

    def get_many(self, keys):
        """Return the values of ``keys`` in their order."""
        cdef object wanted = as_list(keys)
        self.check()
        return values_of(self.readers, self.root, wanted)

    def scan(self, keys=None, reverse=False, limit=None):
        """Iterate over a range in key order."""
        self.check()
        return scan_of(self.readers, &self.root, keys, reverse, limit)

    def close(self):
        """Release the content. Idempotent."""
        if self.gone is None:
            self.end(common.closed_error, False)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    cdef int check(self) except -1:
        if self.gone is not None:
            raise self.gone()
        return 0

    cdef void end(self, object gone, bint leak):
        cdef TreeNode *root = self.root
        leave(&self.link)
        self.gone = gone
        self.root = NULL
        if not leak:
            tree_release(root)

    def __dealloc__(self):
        leave(&self.link)
        tree_release(self.root)


@cython.no_gc
cdef class OrderedMap:
    """A sorted map of bytes to bytes with snapshots.

    Thread-safe: reads never wait, and changes take turns. All calls raise what ``end`` was given once it was
    called.
    """

    cdef Ordered map
    cdef Readers readers
    cdef object begin_turn, end_turn  # of a change during which other threads run; calls that need no memory

    def __cinit__(self):
        turn = RLock()
        self.begin_turn, self.end_turn = turn.acquire, turn.release
        self.map.index_valid = True
        self.readers = Readers.__new__(Readers)
        self.readers.map = &self.map

    def __dealloc__(self):
        if self.readers is not None:
            self.readers.map = NULL
        ordered_close(&self.map, False)

    def check(self):
        """Raise what every call raises once the map has ended."""
        self.readers.check()

    def get(self, key):
        """Return the value of ``key``, ``None`` when there is none."""
        cdef bytes wanted = exact_bytes("key", key)
        cdef PyObject *value
        self.readers.check()
        value = ordered_find(&self.map, self.map.tree.root, <PyObject *>wanted)
        return None if value == NULL else <object>value

    def get_many(self, keys):
        """Return the values of ``keys`` in their order, all as of one instant."""
        cdef object wanted = as_list(keys)
        self.readers.check()
        return values_of(self.readers, self.map.tree.root, wanted)

    def scan(self, keys=None, reverse=False, limit=None):
        """Iterate over a range in key order, on the content at this moment."""
        return scan_of(self.readers, &self.map.tree.root, keys, reverse, limit)

    def snapshot(self):
        """Return the content at this moment. It is shared, not copied."""
        cdef OrderedSnapshot snapshot = OrderedSnapshot.__new__(OrderedSnapshot)
        self.readers.check()
        snapshot.root = self.map.tree.root
        if snapshot.root != NULL:
            snapshot.root.refs += 1
        snapshot.readers = self.readers
        snapshot.gone = None
        self.readers.enter(&snapshot.link, snapshot)
        return snapshot

    def size(self):
        """Bytes of all keys and values."""
        self.readers.check()
        return self.map.tree.size

    def approximate_count(self):
        """Number of keys, exact."""
        self.readers.check()
        return self.map.tree.count

    def change(self, puts, deletes, most=None):
        """Apply ``deletes``, then ``puts``, as a whole.

        Returns ``None``; or, where the map would grow beyond ``most`` bytes, the size it would have had, and
        nothing has changed then. Long lists are applied while other threads run: they see the content before.
        """
        cdef object pairs = as_list(puts)
        cdef object keys = as_list(deletes)
        cdef CheckedChanges changes = CheckedChanges.__new__(CheckedChanges, len(pairs) + len(keys))
        for key in keys:
            changes.add(exact_bytes("key", key), None)
        for pair in pairs:
            key, value = pair
            changes.add(exact_bytes("key", key), exact_bytes("value", value))
        return self.apply(changes, most)

    def change_sorted(self, runs, most=None):
        """Apply what each of ``runs`` feeds, as ``change`` does. No two of them have a key in common."""
        cdef CheckedChanges changes
        runs = list(runs)
        changes = CheckedChanges.__new__(CheckedChanges, sum([len(run) for run in runs]))
        for run in runs:
            run.feed(changes.put, changes.delete)
        return self.apply(changes, most)

    def delete_range(self, keys):
        """Delete pairs of a range, those with the lowest keys first; say whether that was all of them."""
        cdef bytes start = keys.start
        cdef bytes stop = keys.stop
        cdef int ended
        self.readers.check()  # in a forked child nobody may give the lock back
        self.begin_turn()
        try:
            self.readers.check()
            ended = ordered_delete_range(&self.map, or_null(start), or_null(stop))
        finally:
            self.end_turn()
        if ended < 0:
            raise MemoryError("no memory to copy what a snapshot still has")
        return ended > 0

    cdef object apply(self, CheckedChanges changes, object most):
        cdef Py_ssize_t bound = PY_SSIZE_T_MAX if most is None else PyNumber_AsSsize_t(most, NULL)
        if changes.count > CHANGES_AT_ONCE:
            with nogil:
                changes_sort(changes.items, changes.count)
        elif not self.map.writing:  # no other thread runs before it is done
            return self.apply_now(changes, bound)
        self.readers.check()  # in a forked child nobody may give the lock back
        self.begin_turn()
        try:
            return self.apply_now(changes, bound)
        finally:
            self.end_turn()

    cdef object apply_now(self, CheckedChanges changes, Py_ssize_t bound):
        cdef Py_ssize_t reached = 0
        cdef Outcome outcome
        self.readers.check()
        if changes.count > CHANGES_AT_ONCE:
            outcome = ordered_apply_many(&self.map, changes.items, changes.count, bound, &reached)
        else:
            outcome = ordered_apply_few(&self.map, changes.items, changes.count, bound, &reached)
        if outcome == APPLIED:
            return None
        self.readers.check()
        if outcome == TOO_LARGE:
            return reached
        raise MemoryError(f"no memory for {changes.count} changes")

    def end(self, gone, leak=False):
        """Let every call from now on, and every live snapshot and scan, raise ``gone()``. Idempotent.

        ``leak`` frees nothing, for a forked child.
        """
        if self.readers.gone is None or leak:
            self.readers.gone = gone
            self.readers.end_all(leak)
            ordered_close(&self.map, leak)


@cython.final
@cython.no_gc
cdef class CheckedChanges:
    """The changes of one call, checked."""

    cdef Change *items
    cdef Py_ssize_t count, room
    cdef Pace pace

    def __cinit__(self, Py_ssize_t room):
        self.items = <Change *>PyMem_RawMalloc((room + 1) * sizeof(Change))
        if self.items == NULL:
            raise MemoryError(f"no memory for {room} changes")
        self.room = room
        pace_begin(&self.pace)

    def __dealloc__(self):
        if self.items != NULL:
            changes_free(self.items, self.count)

    def put(self, key, value):
        self.add(exact_bytes("key", key), exact_bytes("value", value))

    def delete(self, key):
        self.add(exact_bytes("key", key), None)

    cdef int add(self, bytes key, bytes value) except -1:
        cdef Change *change = self.items + self.count
        if self.count == self.room:
            raise RuntimeError("the changes became more while they were read")
        change.key = <PyObject *>key
        Py_INCREF(key)
        change.value = NULL
        if value is not None:
            change.value = <PyObject *>value
            Py_INCREF(value)
        change.old_key = change.old_value = NULL
        change.turn = self.count
        self.count += 1
        if self.count > CHANGES_AT_ONCE:
            pace_work(&self.pace, 2)
        return 0
