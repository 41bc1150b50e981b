# The values of a stored pair as C has them: no object is made for one. What decode.pxi would not read is not read
# here either, and a little more: those rows become objects.

from libc.math cimport isnan

cdef extern from "columns.h":
    bint is_utf8(const unsigned char *at, Py_ssize_t size) noexcept nogil

cdef enum:
    LONG_DECIMAL = -1    # the scale of a decimal that is no `number`
    MOST_DIGITS = 18     # of a decimal, and of its scale, for it to be a `number`


cdef struct Cell:
    bint is_null
    int scale            # of a decimal, which is number / 10**scale; of an int 0
    int64_t number       # of an int, bool, decimal; of a datetime the microseconds, of a date the days since 1970
    double real
    const char *data     # of text, bytes, the text of a decimal; of a UUID 16 bytes
    Py_ssize_t size


cdef bint read_cells(
    Decoder decoder, PyObject *key, Py_ssize_t key_at, PyObject *payload, Py_ssize_t payload_at, Cell *cells
) noexcept:
    """Whether the fields of a pair were read into ``cells``, which point into it."""
    cdef const unsigned char *at
    cdef const unsigned char *end
    if not is_bytes(key) or not is_bytes(payload):
        return False
    if bytes_size(key) < key_at or bytes_size(payload) < payload_at:
        return False
    at = <const unsigned char *>bytes_data(payload)
    end = at + bytes_size(payload)
    if not payload_cells(decoder.members, decoder.count, decoder.written, at + payload_at, end, cells):
        return False
    at = <const unsigned char *>bytes_data(key) + key_at
    end = <const unsigned char *>bytes_data(key) + bytes_size(key) - decoder.tail
    if end < at or (decoder.tail and not window_cells(decoder, <const char *>end, cells)):
        return False
    return key_cells(
        decoder.members, decoder.count, bytes_data(<PyObject *>decoder.keys.codes), decoder.keys.count, at, end, cells
    )


cdef bint window_cells(Decoder decoder, const char *at, Cell *cells) noexcept:
    cdef int64_t times[MOST_TIMES]
    cdef const Member *member
    cdef Py_ssize_t i
    if not times_in(decoder, at, times):
        return False
    for i in range(decoder.count):
        member = &decoder.members[i]
        if member.is_of_window:
            cells[i].is_null, cells[i].scale = False, 0
            cells[i].number = number_of_window(member, times)
            if not is_number_of(member.kind, cells[i].number):
                return False
    return True


cdef bint payload_cells(
    const Member *members,
    Py_ssize_t count,
    Py_ssize_t written,
    const unsigned char *at,
    const unsigned char *end,
    Cell *cells,
) noexcept nogil:
    cdef const Member *member
    cdef Py_ssize_t i
    at = map_begin(at, end, written)
    if at == NULL:
        return False
    for i in range(count):
        member = &members[i]
        if member.is_key:
            continue
        if end - at <= member.written_size or memcmp(at, member.written, member.written_size) != 0:
            return False
        at = value_cell(member, at + member.written_size, end, &cells[i])
        if at == NULL:
            return False
    return at == end


cdef inline const unsigned char *value_cell(
    const Member *member, const unsigned char *at, const unsigned char *end, Cell *cell
) noexcept nogil:
    """Return what follows the value at ``at``, NULL if it is not of the member's kind. There is a byte at least."""
    cdef unsigned char code = at[0]
    cdef unsigned char kind = member.kind
    cell.is_null = code == 0xC0
    if cell.is_null:
        return at + 1 if member.nullable else NULL
    if kind == BOOL:
        cell.number = code == 0xC3
        return at + 1 if code == 0xC2 or code == 0xC3 else NULL
    if kind == FLOAT or kind == FLOAT32:
        if code != 0xCB or end - at < 9:
            return NULL
        cell.real = double_of(load64(<const char *>at + 1))
        if kind == FLOAT32 and fabs(cell.real) < INFINITY:
            if fabs(cell.real) > FLT_MAX or <double><float>cell.real != cell.real:
                return NULL
        return at + 9
    if kind == INT or kind == INT32 or kind == INT16 or kind == DATETIME or kind == DATE:
        cell.scale = 0
        at = read_int(at, end, &cell.number)
        return at if at != NULL and is_number_of(kind, cell.number) else NULL
    at = read_size(at, end, kind == STR or kind == DECIMAL, &cell.size)
    if at == NULL or end - at < cell.size:
        return NULL
    cell.data = <const char *>at
    at += cell.size
    if kind == UUID_:
        return at if cell.size == 16 else NULL
    if kind == DECIMAL:
        if member.most and not is_padded(cell.data, cell.size, member.most, member.scale):
            return NULL
        return at if read_decimal(cell) else NULL
    if member.most and cell.size > member.most:
        return NULL
    return at if kind == BYTES or is_utf8(<const unsigned char *>cell.data, cell.size) else NULL


cdef inline bint is_number_of(unsigned char kind, int64_t number) noexcept nogil:
    if kind == INT32:
        return number == <int32_t>number
    if kind == INT16:
        return number == <int16_t>number
    if kind == DATETIME:
        return MIN_MICROSECONDS <= number <= MAX_MICROSECONDS
    if kind == DATE:
        return 1 - EPOCH_ORDINAL <= number <= MAX_ORDINAL - EPOCH_ORDINAL
    return True


cdef inline bint read_decimal(Cell *cell) noexcept nogil:
    """Whether the text of a decimal is plain, as ``-12.50``. It is a ``number`` if it is short, too."""
    cdef const char *text = cell.data
    cdef Py_ssize_t size = cell.size, digits = 0, point = -1, first, i
    cdef uint64_t number = 0
    first = 1 if size and text[0] == c"-" else 0
    for i in range(first, size):
        if text[i] == c"." and point < 0:
            point = i
        elif c"0" <= text[i] <= c"9":
            number = number * 10 + <uint64_t>(text[i] - c"0")
            digits += digits > 0 or text[i] != c"0"
        else:
            return False
    if size - first - (point >= 0) < 1:
        return False
    i = 0 if point < 0 else size - point - 1
    cell.scale = LONG_DECIMAL if digits > MOST_DIGITS or i > MOST_DIGITS else <int>i
    cell.number = <int64_t>(0 - number) if first else <int64_t>number  # of a long one it has wrapped around
    return True


cdef bint key_cells(
    const Member *members,
    Py_ssize_t count,
    const char *codes,
    Py_ssize_t components,
    const unsigned char *at,
    const unsigned char *end,
    Cell *cells,
) noexcept nogil:
    cdef Py_ssize_t component = 0, i
    for i in range(count):
        if members[i].is_key and not members[i].is_of_window:
            at = component_cell(<unsigned char>codes[component], component == components - 1, at, end, &cells[i])
            if at == NULL:
                return False
            component += 1
    return at == end


cdef inline const unsigned char *component_cell(
    unsigned char kind, bint is_last, const unsigned char *at, const unsigned char *end, Cell *cell
) noexcept nogil:
    """Return what follows the component of a key at ``at``, NULL if it is another or has a zero byte within."""
    cdef const unsigned char *zero
    cell.is_null = False
    cell.scale = 0
    if kind == INT or kind == DATETIME:
        if end - at < 8:
            return NULL
        cell.number = <int64_t>(load64(<const char *>at) ^ SIGN64)
        return at + 8 if is_number_of(kind, cell.number) else NULL
    if kind == DATE:
        if end - at < 4:
            return NULL
        cell.number = <int32_t>(load32(<const char *>at) ^ SIGN32)
        return at + 4 if is_number_of(kind, cell.number) else NULL
    cell.data = <const char *>at
    if kind == UUID_:
        cell.size = 16
        return at + 16 if end - at >= 16 else NULL
    if is_last:
        cell.size = end - at
        at = end
    else:
        zero = <const unsigned char *>memchr(at, 0, end - at)
        if zero == NULL or end - zero < 2 or zero[1] != 0:
            return NULL
        cell.size = zero - at
        at = zero + 2
    return at if kind == BYTES or is_utf8(<const unsigned char *>cell.data, cell.size) else NULL


cdef object cell_object(Decoder decoder, unsigned char kind, const Cell *cell):
    """Return the value of a cell of ``kind`` as decode.pxi would make it."""
    if cell.is_null:
        return None
    if kind == BOOL:
        return cell.number != 0
    if kind == FLOAT or kind == FLOAT32:
        return cell.real
    if kind == BYTES:
        return PyBytes_FromStringAndSize(cell.data, cell.size)
    if kind == UUID_:
        return uuid_of(cell.data)
    if kind == STR or kind == DECIMAL:
        return owned(of_text(kind, cell.data, cell.size, decoder.context))
    return owned(of_number(kind, cell.number))


cdef object fill_cell(unsigned char kind, object value, Cell *cell):
    """Fill ``cell`` with a field's value that Python has, and return what it points into."""
    cell.is_null = value is None
    if value is None:
        return None
    if kind == STR:
        value = value.encode()
    elif kind == UUID_:
        value = value.bytes
    if kind == STR or kind == UUID_ or kind == BYTES:
        cell.data, cell.size = PyBytes_AS_STRING(<bytes?>value), PyBytes_GET_SIZE(value)
    elif kind == FLOAT:
        cell.real = value
    elif kind == DATETIME:
        cell.number = microseconds_of(value - EPOCH)
    elif kind == DATE:
        cell.number = days_of(date_year(value), date_month(value), date_day(value))
    else:
        cell.number = value
    return value
