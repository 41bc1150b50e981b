# Programs: scans in whose loop expressions (evaluate.pxi) choose rows. The twin is statestore/query/run.py.

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc


@cython.final
cdef class Program:
    """Expressions over the fields that ``decoder`` reads. Any number of threads may share one.

    ``nodes`` are tuples ``(step, left, right, more, kind)``: the name of a step, its operands, which are earlier
    nodes, and what else it has. ``condition`` is the node that rows are chosen by, ``None`` for all rows.
    """

    cdef Decoder decoder
    cdef Node *nodes
    cdef Py_ssize_t count
    cdef Py_ssize_t condition
    cdef list kept  # what constants point into

    def __cinit__(self, Decoder decoder not None, nodes, condition):
        nodes = list(nodes)
        self.decoder, self.kept = decoder, []
        self.condition = -1 if condition is None else condition
        self.nodes = <Node *>PyMem_Calloc(len(nodes) + 1, sizeof(Node))
        if self.nodes == NULL:
            raise MemoryError(f"no memory for {len(nodes)} nodes")
        for step, left, right, more, kind in nodes:
            self.add(&self.nodes[self.count], STEPS[step], left, right, more, VALUE_CODES[kind])
            self.count += 1
        if self.condition >= self.count:
            raise ValueError(f"node {condition} of {self.count}")

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.nodes != NULL:
            for i in range(self.count + 1):  # the last one may be a node that was refused halfway
                PyMem_Free(<void *>self.nodes[i].parts)
                PyMem_Free(<void *>self.nodes[i].values)
            PyMem_Free(self.nodes)

    cdef int add(
        self, Node *node, int step, Py_ssize_t left, Py_ssize_t right, object more, unsigned char kind
    ) except -1:
        cdef Py_ssize_t *parts
        cdef Cell *values
        cdef Py_ssize_t i
        node.step, node.kind, node.left, node.right = step, kind, left, right
        if left >= (self.decoder.count if step == FIELD else self.count) or right >= self.count:
            raise ValueError(f"node {self.count} has operands {left} and {right}")
        if step in (AND, OR):
            more = list(more)
            parts = <Py_ssize_t *>PyMem_Calloc(len(more) + 1, sizeof(Py_ssize_t))
            if parts == NULL:
                raise MemoryError(f"no memory for {len(more)} nodes")
            node.parts = parts
            node.count = len(more)
            for i in range(node.count):
                parts[i] = more[i]
                if not 0 <= parts[i] < self.count:
                    raise ValueError(f"node {self.count} has an operand {parts[i]}")
        elif step != CONSTANT and left < 0:
            raise ValueError(f"node {self.count} has no operand")
        elif step in (IN_INTS, IN_REALS, IN_TEXTS, IN_DECIMALS):
            more = list(more)
            values = <Cell *>PyMem_Calloc(len(more) + 1, sizeof(Cell))
            if values == NULL:
                raise MemoryError(f"no memory for {len(more)} values")
            node.values = values
            node.count = len(more)
            for i in range(node.count):
                self.set(&values[i], more[i])
        elif step == CONSTANT:
            self.set(&node.constant, more)
        elif COMPARE_INTS <= step <= COMPARE_DECIMALS:
            node.accepts = ORDERS[more]
        return 0

    cdef int set(self, Cell *cell, object constant) except -1:
        """``constant``: an int, a float, bytes, or of a decimal ``(number, scale)``."""
        if isinstance(constant, tuple):
            cell.number, cell.scale = constant
        elif isinstance(constant, float):
            cell.real = constant
        elif isinstance(constant, bytes):
            self.kept.append(constant)
            cell.data = PyBytes_AS_STRING(constant)
            cell.size = PyBytes_GET_SIZE(constant)
        else:
            cell.number = constant
        return 0

    cdef int verdict(
        self, PyObject *key, Py_ssize_t key_at, PyObject *payload, Py_ssize_t payload_at, Cell *cells
    ) noexcept:
        """Return 1 for a row that the condition accepts, 0 for one that it does not, -1 for one left to Python.

        After 1 ``cells`` has the fields.
        """
        cdef const Cell *value
        cdef Cell made
        if not read_cells(self.decoder, key, key_at, payload, payload_at, cells):
            return -1
        if self.condition < 0:
            return 1
        value = value_of(self.nodes, self.condition, cells, &made)
        if value == NULL:
            return -1
        return not value.is_null and value.number != 0

    cdef object row(
        self, object key, Py_ssize_t key_at, object payload, Py_ssize_t payload_at, object judge
    ):
        if PyBytes_CheckExact(key) and PyBytes_CheckExact(payload):
            row = self.decoder.make(<bytes>key, key_at, <bytes>payload, payload_at)
            if row is not None:
                return row
        return judge(key[key_at:], payload[payload_at:])

    def rows(self, source, Py_ssize_t namespace, Py_ssize_t header, judge, accepts):
        """Return an iterator of the entities of a backend's scan that the condition accepts.

        ``namespace`` bytes are in front of each key, ``header`` bytes in front of each payload. A row that is for
        others to judge is what ``judge(key, payload)`` returns. ``accepts(entity)`` is the condition in Python.
        """
        return Matches(self, source, namespace, header, judge, accepts)

    def count_rows(self, source, Py_ssize_t namespace, Py_ssize_t header, judge, accepts, Py_ssize_t most):
        """Return how many there are of these, ``most`` at most; below 0: all."""
        cdef Steps steps = Steps(source)
        cdef Cell cells[MOST_FIELDS]
        cdef Py_ssize_t count = 0
        cdef Pair pair
        cdef int verdict
        while count != most and steps.take_next(&pair):
            verdict = self.verdict(pair.key, namespace, pair.value, header, cells)
            if verdict < 0:
                key, payload = owned(pair.key), owned(pair.value)
                verdict = bool(accepts(self.row(key, namespace, payload, header, judge)))
            else:
                drop(pair.key)
                drop(pair.value)
            count += verdict
        return count


@cython.final
cdef class Matches:
    """What ``Program.rows`` returns."""

    cdef Program program
    cdef Steps steps
    cdef Py_ssize_t namespace, header
    cdef object judge, accepts

    def __cinit__(
        self, Program program not None, source, Py_ssize_t namespace, Py_ssize_t header, judge, accepts
    ):
        self.program, self.steps, self.judge, self.accepts = program, Steps(source), judge, accepts
        self.namespace, self.header = namespace, header

    def __iter__(self):
        return self

    def __next__(self):
        cdef Cell cells[MOST_FIELDS]
        cdef Pair pair
        cdef int verdict
        while self.steps.take_next(&pair):
            verdict = self.program.verdict(pair.key, self.namespace, pair.value, self.header, cells)
            if verdict == 0:
                drop(pair.key)
                drop(pair.value)
                continue
            key, payload = owned(pair.key), owned(pair.value)
            row = self.program.row(key, self.namespace, payload, self.header, self.judge)
            if verdict > 0 or self.accepts(row):
                return row
        raise StopIteration

    def close(self):
        """Release the snapshot of the scan now. Idempotent."""
        self.steps.source.close()
