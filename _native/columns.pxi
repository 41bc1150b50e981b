# Columns of stored pairs, as Arrow lays them out: no object is made for a cell. What is not exactly as our writer
# lays it out, a judge makes a row of. The twin is the way by rows in statestore/query/columns.py.

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport INT32_MAX

cdef extern from "columns.h":
    bint decimal_cell(
        const char *text, Py_ssize_t size, Py_ssize_t digits, Py_ssize_t scale, char *out
    ) noexcept
    const unsigned char *scalar_end(const unsigned char *at, const unsigned char *end) noexcept

cdef extern from "Python.h":
    bint PyObject_IsTrueOf "PyObject_IsTrue" (object thing) except -1
    double PyFloat_AsDouble(object number) except? -1

cdef enum:
    FIRST_ROWS = 1024  # that a batch has room for at its beginning
    WHOLE_BITS = 8     # rows of which a byte of flags is


@cython.final
@cython.no_gc
cdef class ColumnBytes:
    """Memory of a column, which others read by the buffer protocol and keep as long as they need it."""

    cdef char *data
    cdef Py_ssize_t size, capacity

    def __dealloc__(self):
        free(self.data)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.size, 1, flags)

    cdef int extend(self, Py_ssize_t size) except -1:
        """Have ``size`` bytes at least; new ones are 0."""
        cdef char *data
        cdef Py_ssize_t capacity = max(size, 64)
        if size <= self.capacity:
            return 0
        data = <char *>realloc(self.data, capacity)
        if data == NULL:
            raise MemoryError(f"no memory for {size} bytes of a column")
        memset(data + self.capacity, 0, capacity - self.capacity)
        self.data, self.capacity = data, capacity
        return 0


cdef struct Column:
    unsigned char kind
    bint is_text          # of as many bytes as each value has
    Py_ssize_t width      # bytes of a value otherwise; 0: a bit
    Py_ssize_t most       # characters, bytes or digits; 0: any number
    Py_ssize_t scale
    char *data
    Py_ssize_t capacity   # of the bytes of text
    int32_t *ends         # of text: where the value before the first row, and each row's, ends
    unsigned char *valid  # a bit for each row; NULL where no value is null


@cython.final
cdef class ColumnReader:
    """Reads a backend's scan into columns, a batch at a time. One thread uses it at a time.

    ``columns`` are those wanted, each ``(index among the decoder's fields, kind, nullable, most, scale)``.
    ``namespace`` bytes are in front of each key, ``header`` bytes in front of each payload. Of a row that is for
    others to judge, ``judge(key, payload)`` returns the values for the columns: an int for a date (days) or
    a time (microseconds), 16 bytes for a decimal or UUID. With a ``program`` only rows that it accepts count;
    of a row that it leaves to others ``judge`` returns ``None`` if it is not accepted.
    """

    cdef Decoder decoder
    cdef Program program
    cdef Steps steps
    cdef Py_ssize_t namespace, header
    cdef object judge
    cdef Py_ssize_t column_of[MOST_FIELDS]  # -1: the field is not wanted
    cdef Column columns[MOST_FIELDS]
    cdef list held  # of each column what its pointers point into
    cdef Py_ssize_t count, rows, capacity

    def __cinit__(
        self,
        Decoder decoder not None,
        columns,
        source,
        Py_ssize_t namespace,
        Py_ssize_t header,
        judge,
        Program program=None,
    ):
        cdef Column *column
        cdef Py_ssize_t index
        self.decoder, self.program, self.steps, self.judge = decoder, program, Steps(source), judge
        self.namespace, self.header = namespace, header
        columns = list(columns)
        if len(columns) > MOST_FIELDS:
            raise ValueError(f"{len(columns)} columns: {MOST_FIELDS} at most")
        for index in range(MOST_FIELDS):
            self.column_of[index] = -1
        for field, kind, nullable, most, scale in columns:
            index = field
            if not 0 <= index < decoder.count or self.column_of[index] >= 0:
                raise ValueError(f"field {field} of {decoder.count}, each once at most")
            self.column_of[index] = self.count
            column = &self.columns[self.count]
            column.kind = VALUE_CODES[kind]
            column.is_text = column.kind == STR or column.kind == BYTES
            column.width = width_of(column.kind)
            column.most, column.scale = most, scale
            column.valid = <unsigned char *>1 if nullable else NULL  # see begin
            self.count += 1

    def fill(self, Py_ssize_t most_rows, Py_ssize_t most_bytes):
        """Return the next batch, ``(rows, [(flags of validity or None, data, ends of text or None), ...])``.

        It has ``most_rows`` rows, or as many as make up ``most_bytes`` of stored pairs, or those that are left;
        ``None`` where there are none.
        """
        cdef Py_ssize_t size = 0
        cdef Cell cells[MOST_FIELDS]
        cdef Pair pair
        cdef int verdict = 1
        self.begin(min(FIRST_ROWS, most_rows))
        while self.rows < most_rows and size < most_bytes and self.steps.take_next(&pair):
            key, value = owned(pair.key), owned(pair.value)
            if self.program is not None:
                verdict = self.program.verdict(pair.key, self.namespace, pair.value, self.header, cells)
                if verdict == 0:
                    continue
            if self.rows == self.capacity:
                self.make_room(min(8 * self.capacity, most_rows))
            if not (
                verdict > 0
                and PyBytes_CheckExact(key)
                and PyBytes_CheckExact(value)
                and self.read_payload(<bytes>value)
                and self.read_key(<bytes>key)
            ):
                values = self.judge(key[self.namespace :], value[self.header :])
                if values is None:
                    continue
                self.put_values(values)
            self.rows += 1
            size += len(key) + len(value)
        return self.take() if self.rows else None

    def close(self):
        """Release the snapshot of the scan now. Idempotent."""
        self.steps.source.close()

    # What the columns are in

    cdef int begin(self, Py_ssize_t rows) except -1:
        cdef Py_ssize_t i
        cdef Column *column
        self.held = [(ColumnBytes(), ColumnBytes(), ColumnBytes()) for _ in range(self.count)]
        self.rows = self.capacity = 0
        for i in range(self.count):
            self.columns[i].capacity = 0
        self.make_room(rows)
        return 0

    cdef int make_room(self, Py_ssize_t rows) except -1:
        cdef Py_ssize_t i, flags = (rows + WHOLE_BITS - 1) // WHOLE_BITS
        cdef Column *column
        cdef ColumnBytes valid, data, ends
        for i in range(self.count):
            column = &self.columns[i]
            valid, data, ends = self.held[i]
            if column.valid != NULL:
                valid.extend(flags)
                column.valid = <unsigned char *>valid.data
            if column.is_text:
                ends.extend((rows + 1) * sizeof(int32_t))
                column.ends = <int32_t *>ends.data
            else:
                data.extend(rows * column.width if column.width else flags)
                column.data = data.data
        self.capacity = rows
        return 0

    cdef object take(self):
        """Return the batch, and forget it."""
        cdef Py_ssize_t i, flags = (self.rows + WHOLE_BITS - 1) // WHOLE_BITS
        cdef Column *column
        cdef ColumnBytes valid, data, ends
        made = []
        for i in range(self.count):
            column = &self.columns[i]
            valid, data, ends = self.held[i]
            valid.size = flags
            if column.is_text:
                data.extend(1)  # so that there is memory
                data.size = column.ends[self.rows]
                ends.size = (self.rows + 1) * sizeof(int32_t)
            else:
                data.size = self.rows * column.width if column.width else flags
            made.append((valid if column.valid != NULL else None, data, ends if column.is_text else None))
        self.held = None
        return self.rows, made

    # A row of the pair

    cdef bint read_payload(self, bytes payload) except -1:
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(payload)
        cdef const unsigned char *end = at + PyBytes_GET_SIZE(payload)
        cdef Member *member
        cdef Py_ssize_t i
        if end - at < self.header:
            return False
        at = map_begin(at + self.header, end, self.decoder.written)
        if at == NULL:
            return False
        for i in range(self.decoder.count):
            member = &self.decoder.members[i]
            if member.is_key:
                continue
            if end - at <= member.written_size or memcmp(at, member.written, member.written_size) != 0:
                return False
            at += member.written_size
            if self.column_of[i] < 0:
                at = scalar_end(at, end)
            else:
                at = self.read_cell(self.column_of[i], at, end)
            if at == NULL:
                return False
        return at == end

    cdef const unsigned char *read_cell(
        self, Py_ssize_t index, const unsigned char *at, const unsigned char *end
    ) except? NULL:
        """Put the value at ``at`` into a column and return what follows; NULL if it is for others to judge."""
        cdef Column *column = &self.columns[index]
        cdef unsigned char code = at[0]
        cdef int64_t number
        cdef Py_ssize_t size
        if code == 0xC0:
            return at + 1 if self.put_null(column) else NULL
        self.mark(column)
        if column.kind == BOOL:
            if code != 0xC2 and code != 0xC3:
                return NULL
            set_flag(<unsigned char *>column.data, self.rows, code == 0xC3)
            return at + 1
        if column.kind == FLOAT or column.kind == FLOAT32:
            if code != 0xCB or end - at < 9:
                return NULL
            return at + 9 if self.put_float(column, double_of(load64(<const char *>at + 1))) else NULL
        if not column.is_text and column.width < 16:
            at = read_int(at, end, &number)
            return at if at != NULL and self.put_number(column, number) else NULL
        at = read_size(at, end, column.kind == STR or column.kind == DECIMAL, &size)
        if at == NULL or end - at < size:
            return NULL
        if column.is_text:
            return at + size if self.put_text(index, <const char *>at, size) else NULL
        if column.kind == DECIMAL:
            if not decimal_cell(<const char *>at, size, column.most, column.scale, column.data + 16 * self.rows):
                return NULL
        elif size == 16:
            memcpy(column.data + 16 * self.rows, at, 16)
        else:
            return NULL
        return at + size

    cdef bint read_key(self, bytes key) except -1:
        cdef const char *at = PyBytes_AS_STRING(key)
        cdef const char *end = at + PyBytes_GET_SIZE(key)
        cdef const unsigned char *kinds = <const unsigned char *>PyBytes_AS_STRING(self.decoder.keys.codes)
        cdef Py_ssize_t component = 0, i
        end -= self.decoder.tail
        if end - at < self.namespace or (self.decoder.tail and not self.read_times(end)):
            return False
        at += self.namespace
        for i in range(self.decoder.count):
            if self.decoder.members[i].is_key and not self.decoder.members[i].is_of_window:
                at = self.read_component(
                    self.column_of[i], kinds[component], component == self.decoder.keys.count - 1, at, end
                )
                if at == NULL:
                    return False
                component += 1
        return at == end

    cdef bint read_times(self, const char *at) except -1:
        cdef int64_t times[MOST_TIMES]
        cdef const Member *member
        cdef Column *column
        cdef Py_ssize_t i
        if not times_in(self.decoder, at, times):
            return False
        for i in range(self.decoder.count):
            member = &self.decoder.members[i]
            if not member.is_of_window or self.column_of[i] < 0:
                continue
            column = &self.columns[self.column_of[i]]
            self.mark(column)
            if not self.put_number(column, number_of_window(member, times)):
                return False
        return True

    cdef const char *read_component(
        self, Py_ssize_t index, unsigned char kind, bint is_last, const char *at, const char *end
    ) except? NULL:
        """The same as ``read_cell`` for a component of a key; ``index`` below 0: it is not wanted."""
        cdef Column *column = &self.columns[index] if index >= 0 else NULL
        cdef int64_t number
        cdef const char *stop
        cdef Py_ssize_t escapes
        if column != NULL:
            self.mark(column)
        if kind == STR or kind == BYTES:
            stop = component_end(at, end, is_last, &escapes)
            if stop == NULL:
                return NULL
            if column == NULL:
                pass
            elif escapes == 0:
                if not self.put_text(index, at, stop - at):
                    return NULL
            else:
                plain = unescaped(at, stop, escapes)
                if not self.put_text(index, PyBytes_AS_STRING(plain), PyBytes_GET_SIZE(plain)):
                    return NULL
            return stop if is_last else stop + 2
        if kind == UUID_:
            if end - at < 16:
                return NULL
            if column != NULL:
                memcpy(column.data + 16 * self.rows, at, 16)
            return at + 16
        if kind == DATE:
            if end - at < 4:
                return NULL
            number = <int32_t>(load32(at) ^ SIGN32)
            at += 4
        else:
            if end - at < 8:
                return NULL
            number = <int64_t>(load64(at) ^ SIGN64)
            at += 8
        return at if column == NULL or self.put_number(column, number) else NULL

    # A row that was judged

    cdef int put_values(self, values) except -1:
        cdef Column *column
        cdef Py_ssize_t i = 0, size
        cdef const char *text
        cdef bint fits
        for value in values:
            if i == self.count:
                raise ValueError(f"values for {self.count} columns and more")
            column = &self.columns[i]
            if value is None:
                fits = self.put_null(column)
            else:
                self.mark(column)
                fits = True
                if column.kind == BOOL:
                    set_flag(<unsigned char *>column.data, self.rows, PyObject_IsTrueOf(value))
                elif column.kind == FLOAT or column.kind == FLOAT32:
                    fits = self.put_float(column, PyFloat_AsDouble(value))
                elif column.kind == STR:
                    text = PyUnicode_AsUTF8AndSize(value, &size)
                    self.append(i, text, size)
                elif column.kind == BYTES:
                    self.append(i, PyBytes_AS_STRING(<bytes?>value), len(<bytes?>value))
                elif column.width == 16:
                    fits = len(<bytes?>value) == 16
                    if fits:
                        memcpy(column.data + 16 * self.rows, PyBytes_AS_STRING(<bytes>value), 16)
                else:
                    fits = self.put_number(column, value)
            if not fits:
                raise ValueError(f"column {i} does not take {value!r}")
            i += 1
        if i < self.count:
            raise ValueError(f"{i} values for {self.count} columns")
        return 0

    # A cell of the row

    cdef inline void mark(self, Column *column) noexcept:
        if column.valid != NULL:
            set_flag(column.valid, self.rows, True)

    cdef inline bint put_null(self, Column *column) noexcept:
        """Return whether the column takes nulls."""
        if column.valid == NULL:
            return False
        set_flag(column.valid, self.rows, False)
        if column.is_text:
            column.ends[self.rows + 1] = column.ends[self.rows]
        elif column.width:
            memset(column.data + column.width * self.rows, 0, column.width)
        return True

    cdef inline bint put_float(self, Column *column, double number) noexcept:
        cdef float single
        if column.kind == FLOAT:
            memcpy(column.data + 8 * self.rows, &number, 8)
            return True
        if fabs(number) < INFINITY and (fabs(number) > FLT_MAX or <double><float>number != number):
            return False
        single = <float>number
        memcpy(column.data + 4 * self.rows, &single, 4)
        return True

    cdef inline bint put_number(self, Column *column, int64_t number) noexcept:
        """Return whether the number is in the range of the column's kind."""
        cdef int32_t half
        cdef int16_t quarter
        if column.width == 8:
            if column.kind == DATETIME and not MIN_MICROSECONDS <= number <= MAX_MICROSECONDS:
                return False
            memcpy(column.data + 8 * self.rows, &number, 8)
            return True
        if column.width == 2:
            quarter = <int16_t>number
            memcpy(column.data + 2 * self.rows, &quarter, 2)
            return quarter == number
        if column.kind == DATE and not 1 - EPOCH_ORDINAL <= number <= MAX_ORDINAL - EPOCH_ORDINAL:
            return False
        half = <int32_t>number
        memcpy(column.data + 4 * self.rows, &half, 4)
        return half == number

    cdef inline bint put_text(self, Py_ssize_t index, const char *text, Py_ssize_t size) except -1:
        """Return whether the column takes these bytes."""
        cdef Column *column = &self.columns[index]
        if column.most and size > column.most:  # it may yet be few characters
            return False
        if column.kind == STR and not is_utf8(<const unsigned char *>text, size):
            return False
        self.append(index, text, size)
        return True

    cdef inline int append(self, Py_ssize_t index, const char *text, Py_ssize_t size) except -1:
        cdef Column *column = &self.columns[index]
        cdef Py_ssize_t start = column.ends[self.rows]
        if size > column.capacity - start:
            self.make_room_for_text(index, start + size)
        if size:
            memcpy(column.data + start, text, size)
        column.ends[self.rows + 1] = <int32_t>(start + size)
        return 0

    cdef int make_room_for_text(self, Py_ssize_t index, Py_ssize_t size) except -1:
        cdef ColumnBytes data = self.held[index][1]
        if size > INT32_MAX:
            raise OverflowError(f"{size} bytes of text in one batch: {INT32_MAX} at most")
        data.extend(min(2 * size + 1024, INT32_MAX))
        self.columns[index].data, self.columns[index].capacity = data.data, data.capacity
        return 0


cdef inline Py_ssize_t width_of(unsigned char kind) noexcept:
    if kind == BOOL or kind == STR or kind == BYTES:
        return 0
    if kind == UUID_ or kind == DECIMAL:
        return 16
    if kind == DATE or kind == INT32 or kind == FLOAT32:
        return 4
    return 2 if kind == INT16 else 8


cdef inline void set_flag(unsigned char *flags, Py_ssize_t row, bint value) noexcept:
    cdef unsigned char flag = <unsigned char>(1 << (row & 7))
    if value:
        flags[row >> 3] |= flag
    else:
        flags[row >> 3] &= ~flag


cdef inline const char *component_end(
    const char *at, const char *end, bint is_last, Py_ssize_t *escapes
) noexcept:
    """Return where the text of a component ends, NULL if it is not as the key codec writes it."""
    escapes[0] = 0
    if is_last:
        return end
    while True:
        at = <const char *>memchr(at, 0, end - at)
        if at == NULL or at + 1 == end:
            return NULL
        if at[1] == 0:
            return at
        if <unsigned char>at[1] != 0xFF:
            return NULL
        escapes[0] += 1
        at += 2
