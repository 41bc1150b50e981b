# Groups of stored pairs and what is computed of each, without an object for a row. The twin, and what every value
# must equal, is statestore/query/grouping.py.

cdef enum Function:
    COUNT
    SUM
    MIN
    MAX

cdef dict FUNCTIONS = {"count": COUNT, "sum": SUM, "min": MIN, "max": MAX}
cdef int128 MOST_UNITS = <int128>power_of_ten(18) * 100  # times 10**18 it is
cdef int128 MOST_TOTAL = MOST_UNITS * power_of_ten(18)   # of 38 digits


cdef struct Measure:
    unsigned char function
    unsigned char kind
    Py_ssize_t node           # whose value it is of; -1, of a count only: the rows


cdef struct Tally:             # of one group, for one measure
    int64_t count             # values so far
    int128 total              # of ints; of decimals in units of 10**-best.scale
    bint has_best
    Cell best                 # the least or greatest; of a sum of floats its `real`
    PyObject *key             # what `best` points into
    PyObject *payload
    PyObject *extra           # of values that only Python has: their sum, or the best of them


cdef struct Group:
    uint64_t hash
    PyObject *written         # the key's bytes, by which it is found
    PyObject *values          # the tuple of its values

cdef enum:
    PART_BITS = 10
    PART_GROUPS = 1 << PART_BITS  # groups whose memory is taken, and given back, at once


@cython.final
cdef class Groups:
    """What is kept of each group of one scan. For one thread at a time.

    ``keys`` are nodes of ``program`` that rows are grouped by, ``measures`` tuples ``(function, node)``: ``count``
    (the node ``None`` counts rows), ``sum``, ``min`` or ``max``. A sum begins with ``zeros``, one for each measure.
    ``add`` adds decimals.
    """

    cdef Program program
    cdef Py_ssize_t key_count, count, given, parts, room, measure_count, slots
    cdef Py_ssize_t *keys
    cdef Measure *measures
    cdef Group **groups          # in parts, of which there are `parts`, with room for `room`
    cdef Tally **tallies         # likewise: of each group, one for each measure
    cdef Py_ssize_t *index    # of groups by hash, + 1; 0: none
    cdef list zeros
    cdef object add

    def __cinit__(self, Program program not None, keys, measures, zeros, add):
        keys, measures = list(keys), list(measures)
        self.program, self.zeros, self.add = program, list(zeros), add
        self.key_count, self.measure_count = len(keys), len(measures)
        self.slots = 64
        self.keys = <Py_ssize_t *>PyMem_Calloc(self.key_count + 1, sizeof(Py_ssize_t))
        self.measures = <Measure *>PyMem_Calloc(self.measure_count + 1, sizeof(Measure))
        self.index = <Py_ssize_t *>PyMem_Calloc(self.slots, sizeof(Py_ssize_t))
        if self.measure_count > MOST_FIELDS:
            raise ValueError(f"{self.measure_count} measures: {MOST_FIELDS} at most")
        if self.keys == NULL or self.measures == NULL or self.index == NULL:
            raise MemoryError("no memory for groups")
        for i, key in enumerate(keys):
            self.keys[i] = self.node_of(key)
        for i, (function, node) in enumerate(measures):
            self.measures[i].function = FUNCTIONS[function]
            self.measures[i].node = -1 if node is None else self.node_of(node)
            self.measures[i].kind = INT if node is None else program.nodes[self.measures[i].node].kind
            if node is None and function != "count":
                raise ValueError(f"{function} of nothing")

    cdef Py_ssize_t node_of(self, object given) except -1:
        cdef Py_ssize_t node = given
        if not 0 <= node < self.program.count:
            raise ValueError(f"node {node} of {self.program.count}")
        return node

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.given, self.count):
            self.let_go(i)
        for i in range(self.parts):
            PyMem_Free(self.groups[i])
            PyMem_Free(self.tallies[i])
        PyMem_Free(self.keys)
        PyMem_Free(self.measures)
        PyMem_Free(self.groups)
        PyMem_Free(self.tallies)
        PyMem_Free(self.index)

    def read(self, source, Py_ssize_t namespace, Py_ssize_t header, judge, accepts, values_of):
        """Take in the rows of a backend's scan that the program's condition accepts.

        ``namespace``, ``header``, ``judge`` and ``accepts`` are those of ``Program.rows``. ``values_of(entity)``
        finds in Python the list of the values of all keys, then of all measures.
        """
        cdef Steps steps = Steps(source)
        cdef Cell cells[MOST_FIELDS]
        cdef Pair pair
        cdef int verdict
        if self.given:
            raise ValueError("the groups were given already")
        while steps.take_next(&pair):
            verdict = self.program.verdict(pair.key, namespace, pair.value, header, cells)
            key, payload = owned(pair.key), owned(pair.value)
            if verdict > 0 and self.take_cells(cells, key, payload):
                continue
            if verdict != 0:
                row = self.program.row(key, namespace, payload, header, judge)
                if verdict > 0 or accepts(row):
                    self.take_values(values_of(row))

    def start(self):
        """Return the value of each measure of no rows."""
        cdef Tally nothing
        cdef Py_ssize_t i
        memset(&nothing, 0, sizeof(Tally))
        return [self.result(i, &nothing) for i in range(self.measure_count)]

    def __len__(self):
        return self.count

    def results(self):
        """Give ``(values of the keys, [value of each measure])`` of each group, in the order of their first rows.

        Each is given once, and what was kept of its group is let go.
        """
        cdef Py_ssize_t i, j
        for i in range(self.given, self.count):
            if i % TURN == 0:
                common.pause_point()
            tallies = []
            for j in range(self.measure_count):
                tallies.append(self.result(j, self.tally(i) + j))
            values = <object>self.group(i).values
            self.let_go(i)
            self.given = i + 1
            yield values, tallies

    cdef void let_go(self, Py_ssize_t group) noexcept:
        """Drop what is kept of a group: nobody finds it any more."""
        cdef Py_ssize_t i, part = group >> PART_BITS
        cdef Group *one = self.group(group)
        cdef Tally *tally
        drop_if_any(one.written)
        drop_if_any(one.values)
        one.written = one.values = NULL
        for i in range(self.measure_count):
            tally = self.tally(group) + i
            drop_if_any(tally.key)
            drop_if_any(tally.payload)
            drop_if_any(tally.extra)
            tally.key = tally.payload = tally.extra = NULL
        if (group + 1) % PART_GROUPS == 0:
            PyMem_Free(self.groups[part])
            PyMem_Free(self.tallies[part])
            self.groups[part] = NULL
            self.tallies[part] = NULL

    cdef inline Group *group(self, Py_ssize_t group) noexcept:
        return &self.groups[group >> PART_BITS][group & (PART_GROUPS - 1)]

    cdef inline Tally *tally(self, Py_ssize_t group) noexcept:
        """Return the first one of a group."""
        return &self.tallies[group >> PART_BITS][(group & (PART_GROUPS - 1)) * self.measure_count]

    # --- Rows -----------------------------------------------------------------------------------------------

    cdef bint take_cells(self, const Cell *cells, object key, object payload) except -1:
        """Whether the row was taken in; if not, nothing was, and Python has to find its values."""
        cdef Buffer written
        cdef Cell made[MOST_FIELDS]
        cdef const Cell *values[MOST_FIELDS]
        cdef const Cell *value
        cdef Cell one
        cdef Tally *tallies
        cdef Py_ssize_t i, group
        for i in range(self.measure_count):
            if self.measures[i].node >= 0:
                values[i] = value_of(self.program.nodes, self.measures[i].node, cells, &made[i])
                if values[i] == NULL:
                    return False
        buffer_init(&written)
        try:
            for i in range(self.key_count):
                value = value_of(self.program.nodes, self.keys[i], cells, &one)
                if value == NULL:
                    return False
                self.write(&written, self.program.nodes[self.keys[i]].kind, value)
            group = self.find(written.data, written.size)
            if group < 0:
                group = self.append(written.data, written.size, self.key_values(cells))
        finally:
            buffer_free(&written)
        tallies = self.tally(group)
        for i in range(self.measure_count):
            if self.measures[i].node < 0:
                tallies[i].count += 1
            elif not values[i].is_null:
                self.take(&self.measures[i], &tallies[i], values[i], key, payload)
        return True

    cdef tuple key_values(self, const Cell *cells):
        cdef Cell made
        cdef const Cell *value
        cdef Py_ssize_t i
        found = []
        for i in range(self.key_count):
            value = value_of(self.program.nodes, self.keys[i], cells, &made)
            found.append(cell_object(self.program.decoder, self.program.nodes[self.keys[i]].kind, value))
        return tuple(found)

    cdef int take_values(self, list values) except -1:
        """Take in a row whose values Python found."""
        cdef Buffer written
        cdef Cell cell
        cdef Tally *tallies
        cdef Py_ssize_t i, group
        if len(values) != self.key_count + self.measure_count:
            raise ValueError(f"{len(values)} values, not {self.key_count + self.measure_count}")
        buffer_init(&written)
        try:
            for i in range(self.key_count):
                held = fill_cell(self.program.nodes[self.keys[i]].kind, values[i], &cell)
                self.write(&written, self.program.nodes[self.keys[i]].kind, &cell)
            group = self.find(written.data, written.size)
            if group < 0:
                group = self.append(written.data, written.size, tuple(values[: self.key_count]))
        finally:
            buffer_free(&written)
        tallies = self.tally(group)
        for i in range(self.measure_count):
            value = values[self.key_count + i]
            if self.measures[i].node < 0:
                tallies[i].count += 1
            elif value is not None:
                self.take_value(&self.measures[i], &tallies[i], value)
        return 0

    # --- Groups ---------------------------------------------------------------------------------------------

    cdef int write(self, Buffer *written, unsigned char kind, const Cell *value) except -1:
        """Append what tells values of ``kind`` apart, as Python's == does; every NaN is the same."""
        cdef double real
        cdef char *to
        if value.is_null:
            buffer_extend(written, 1)[0] = 0
            return 0
        if kind == STR or kind == BYTES or kind == UUID_:
            to = buffer_extend(written, 9 + value.size)
            to[0] = 1
            memcpy(to + 1, &value.size, 8)
            memcpy(to + 9, value.data, value.size)
            return 0
        to = buffer_extend(written, 9)
        to[0] = 1
        if kind == FLOAT:
            real = value.real
            if real != real:
                to[0] = 2
                real = 0
            real += 0.0  # no negative zero
            memcpy(to + 1, &real, 8)
        else:
            memcpy(to + 1, &value.number, 8)
        return 0

    cdef Py_ssize_t find(self, const char *data, Py_ssize_t size) noexcept:
        """Return which group has the key that is written as ``data``, -1 if none has."""
        cdef uint64_t hash = group_hash(data, size)
        cdef Py_ssize_t slot = <Py_ssize_t>(hash & <uint64_t>(self.slots - 1)), group
        cdef PyObject *written
        while self.index[slot] != 0:
            group = self.index[slot] - 1
            written = self.group(group).written
            if self.group(group).hash == hash and bytes_size(written) == size:
                if memcmp(bytes_data(written), data, size) == 0:
                    return group
            slot = (slot + 1) & (self.slots - 1)
        return -1

    cdef Py_ssize_t append(self, const char *data, Py_ssize_t size, tuple values) except -1:
        """Add a group, and return which it is."""
        cdef Group *group
        cdef PyObject *written
        if self.count == self.parts << PART_BITS:
            self.add_part()
        if 2 * self.count >= self.slots:
            self.grow_index()
        written = new_bytes(data, size)
        if written == NULL:
            raised()
        group = self.group(self.count)
        group.hash, group.written, group.values = group_hash(data, size), written, kept(values)
        self.enter(self.count)
        self.count += 1
        return self.count - 1

    cdef void enter(self, Py_ssize_t group) noexcept:
        cdef Py_ssize_t slot = <Py_ssize_t>(self.group(group).hash & <uint64_t>(self.slots - 1))
        while self.index[slot] != 0:
            slot = (slot + 1) & (self.slots - 1)
        self.index[slot] = group + 1

    cdef int add_part(self) except -1:
        """Make room for more groups; those that there are stay where they are."""
        cdef Py_ssize_t room = max(16, 2 * self.room)
        cdef void *grown
        if self.parts == self.room:
            grown = PyMem_Realloc(self.groups, room * sizeof(void *))
            if grown == NULL:
                raise MemoryError(f"no memory for {room} parts")
            self.groups = <Group **>grown
            grown = PyMem_Realloc(self.tallies, room * sizeof(void *))
            if grown == NULL:
                raise MemoryError(f"no memory for {room} parts")
            self.tallies, self.room = <Tally **>grown, room
        self.groups[self.parts] = <Group *>PyMem_Calloc(PART_GROUPS, sizeof(Group))
        self.tallies[self.parts] = <Tally *>PyMem_Calloc(PART_GROUPS * self.measure_count + 1, sizeof(Tally))
        self.parts += 1  # what was made is freed with the rest
        if self.groups[self.parts - 1] == NULL or self.tallies[self.parts - 1] == NULL:
            raise MemoryError(f"no memory for {PART_GROUPS} groups")
        return 0

    cdef int grow_index(self) except -1:
        cdef Py_ssize_t slots = 2 * self.slots, i
        cdef Py_ssize_t *index = <Py_ssize_t *>PyMem_Calloc(slots, sizeof(Py_ssize_t))
        if index == NULL:
            raise MemoryError(f"no memory for {slots} slots of groups")
        PyMem_Free(self.index)
        self.index, self.slots = index, slots
        for i in range(self.count):  # where that is cut short, nobody looks for a group any more
            if i % TURN == 0:
                common.pause_point()
            self.enter(i)
        return 0

    # --- Measures -------------------------------------------------------------------------------------------

    cdef int take(
        self, const Measure *measure, Tally *tally, const Cell *value, object key, object payload
    ) except -1:
        """Take in a value that is not null and points into ``key`` and ``payload``."""
        tally.count += 1
        if measure.function == SUM:
            if measure.kind == FLOAT:
                tally.best.real += value.real
            elif measure.kind == INT:
                tally.total += value.number
            elif tally.extra != NULL or not add_decimal(tally, value):
                self.add_object(measure, tally, cell_object(self.program.decoder, DECIMAL, value))
        elif measure.function != COUNT:
            if measure.kind == DECIMAL and value.scale == LONG_DECIMAL:
                self.better_object(measure, tally, cell_object(self.program.decoder, DECIMAL, value))
            elif not tally.has_best or is_better(measure, value, &tally.best):
                tally.has_best = True
                tally.best = value[0]
                if measure.kind in (STR, BYTES, UUID_, DECIMAL):
                    drop_if_any(tally.key)
                    drop_if_any(tally.payload)
                    tally.key, tally.payload = kept(key), kept(payload)
        return 0

    cdef int take_value(self, const Measure *measure, Tally *tally, object value) except -1:
        """Take in a value that Python found, and that is not ``None``."""
        tally.count += 1
        if measure.function == SUM:
            if measure.kind == FLOAT:
                tally.best.real += <double>value
            else:
                self.add_object(measure, tally, value)
        elif measure.function != COUNT:
            if measure.kind == FLOAT:
                self.better_real(measure, tally, value)
            else:
                self.better_object(measure, tally, value)
        return 0

    cdef int better_real(self, const Measure *measure, Tally *tally, double real) noexcept:
        if not tally.has_best or is_better_real(measure.function, real, tally.best.real):
            tally.has_best = True
            tally.best.real = real
        return 0

    cdef int add_object(self, const Measure *measure, Tally *tally, object value) except -1:
        if measure.kind == INT:
            total = value if tally.extra == NULL else <object>tally.extra + value
        else:  # from now on every sum is rounded as Python does
            total = self.add(decimal_total(tally) if tally.extra == NULL else <object>tally.extra, value)
        drop_if_any(tally.extra)
        tally.extra = kept(total)
        return 0

    cdef int better_object(self, const Measure *measure, Tally *tally, object value) except -1:
        if tally.extra == NULL or is_better_object(measure, value, <object>tally.extra):
            drop_if_any(tally.extra)
            tally.extra = kept(value)
        return 0

    cdef object result(self, Py_ssize_t place, const Tally *tally):
        cdef const Measure *measure = &self.measures[place]
        if measure.function == COUNT:
            return tally.count
        if measure.function == SUM:
            if tally.count == 0:
                return self.zeros[place]
            if measure.kind == FLOAT:
                return tally.best.real
            if measure.kind == INT:
                return int_of(tally.total) + (0 if tally.extra == NULL else <object>tally.extra)
            return decimal_total(tally) if tally.extra == NULL else <object>tally.extra
        if not tally.has_best:
            return None if tally.extra == NULL else <object>tally.extra
        best = cell_object(self.program.decoder, measure.kind, &tally.best)
        if tally.extra != NULL and is_better_object(measure, <object>tally.extra, best):
            return <object>tally.extra
        return best


cdef inline bint is_better(const Measure *measure, const Cell *value, const Cell *best) noexcept nogil:
    cdef int wanted = LESS if measure.function == MIN else GREATER
    if measure.kind == FLOAT:
        return is_better_real(measure.function, value.real, best.real)
    if measure.kind == STR or measure.kind == BYTES or measure.kind == UUID_:
        return order_of_texts(value, best) == wanted
    if measure.kind == DECIMAL:
        return order_of_decimals(value, best) == wanted
    return order_of_ints(value.number, best.number) == wanted


cdef inline bint is_better_real(unsigned char function, double value, double best) noexcept nogil:
    """NaN is greater than every number."""
    if function == MIN:
        return value < best or best != best
    return value > best or value != value


cdef inline bint is_better_object(const Measure *measure, object value, object best) except -1:
    if measure.kind == DECIMAL and (value.is_nan() or best.is_nan()):  # greater than every number
        return best.is_nan() if measure.function == MIN else value.is_nan()
    return value < best if measure.function == MIN else value > best


cdef inline bint add_decimal(Tally *tally, const Cell *value) noexcept:
    """Whether ``value`` was added, exactly and with 38 digits at most."""
    cdef int scale = max(tally.best.scale, value.scale)
    cdef int128 total = tally.total, one = value.number
    cdef int128 power
    if value.scale == LONG_DECIMAL:
        return False
    power = power_of_ten(scale - tally.best.scale)
    if power > 1 and not -MOST_UNITS < total < MOST_UNITS:  # it may be too many digits
        return False
    total = total * power + one * power_of_ten(scale - value.scale)
    if not -MOST_TOTAL < total < MOST_TOTAL:
        return False
    tally.total, tally.best.scale = total, scale
    return True


cdef object int_of(int128 number):
    return (<object><int64_t>(number >> 64) << 64) + <uint64_t>number


cdef object decimal_total(const Tally *tally):
    return DECIMAL_TYPE(f"{int_of(tally.total)}E-{tally.best.scale}")


cdef inline uint64_t group_hash(const char *data, Py_ssize_t size) noexcept nogil:
    cdef uint64_t mix = <uint64_t>0x9E3779B97F4A7C15
    cdef uint64_t hash = <uint64_t>size * mix
    cdef uint64_t eight
    while size > 0:
        eight = 0
        memcpy(&eight, data, 8 if size > 8 else size)
        hash = (hash ^ eight) * mix
        hash ^= hash >> 29
        data += 8
        size -= 8
    return hash
