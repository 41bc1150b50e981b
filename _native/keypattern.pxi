# Canonical keys told from others without decoding them: each byte of a key is looked at once.

cdef enum Part:
    LITERAL  # followed by its length (uint32) and its bytes
    INTEGER
    TEXT
    IDENTITY
    TIME

cdef dict PARTS = {"int": INTEGER, "text": TEXT, "uuid": IDENTITY, "time": TIME}


cdef inline bint is_digit(char one) noexcept nogil:
    return c'0' <= one <= c'9'


cdef Py_ssize_t integer_size(const char *data, Py_ssize_t left) noexcept nogil:
    """Return the bytes of the integer at ``data``, 0 if there is none as JSON writes it shortest."""
    cdef Py_ssize_t size = 0
    if left > 0 and data[0] == c'0':
        return 1
    if left > 0 and data[0] == c'-':
        size = 1
    if size >= left or not c'1' <= data[size] <= c'9':
        return 0
    while size < left and is_digit(data[size]):
        size += 1
    return size


cdef Py_ssize_t text_size(const char *data, Py_ssize_t left) noexcept nogil:
    """Return the bytes of the string at ``data``, 0 if it has an escape or a character beyond U+FFFF."""
    cdef Py_ssize_t size = 1
    cdef unsigned char one
    if left < 2 or data[0] != c'"':
        return 0
    while size < left:
        one = <unsigned char>data[size]
        if one == c'"':
            return size + 1
        if one < 0x20 or one == c'\\' or one >= 0xF0:
            return 0
        size += 1
    return 0


cdef Py_ssize_t identity_size(const char *data, Py_ssize_t left) noexcept nogil:
    """Return the bytes of the string of 36 hexadecimal digits and hyphens at ``data``, 0 if there is none."""
    cdef Py_ssize_t i
    if left < 38 or data[0] != c'"' or data[37] != c'"':
        return 0
    for i in range(1, 37):
        if not (is_digit(data[i]) or c'a' <= data[i] <= c'f' or data[i] == c'-'):
            return 0
    return 38


cdef Py_ssize_t time_size(const char *data, Py_ssize_t left) noexcept nogil:
    """Return the bytes of the string at ``data`` that is a time in UTC as it is written, 0 if it is not."""
    cdef const char *form = '"0000-00-00T00:00:00'
    cdef Py_ssize_t i
    cdef bint is_zero = True
    if left < 22:
        return 0
    for i in range(20):
        if not is_digit(data[i]) if form[i] == c'0' else data[i] != form[i]:
            return 0
    if data[20] == c'Z':
        return 22 if data[21] == c'"' else 0
    if left < 29 or data[20] != c'.' or data[27] != c'Z' or data[28] != c'"':
        return 0
    for i in range(21, 27):
        if not is_digit(data[i]):
            return 0
        is_zero = is_zero and data[i] == c'0'
    return 0 if is_zero else 29


@cython.final
cdef class KeyPattern:
    """The form of canonical JSON keys: its parts are bytes as they are, or the name of a kind of value.

    The kinds are ``int``, ``text`` (a string without escapes), ``uuid`` and ``time``. A key that fits is
    canonical if it decodes; one that does not fit may be.
    """

    cdef bytes program
    cdef const unsigned char *first
    cdef const unsigned char *last  # past its end

    def __cinit__(self, parts):
        cdef list program = []
        for part in parts:
            if isinstance(part, bytes):
                program += [bytes([LITERAL]), len(part).to_bytes(4, "little"), part]
            else:
                program.append(bytes([PARTS[part]]))
        self.program = b"".join(program)
        self.first = <const unsigned char *>PyBytes_AS_STRING(self.program)
        self.last = self.first + PyBytes_GET_SIZE(self.program)

    def fits(self, bytes key not None):
        """Whether ``key`` has the form."""
        return self.takes(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))

    cdef bint takes(self, const char *key, Py_ssize_t left) noexcept nogil:
        cdef const unsigned char *step = self.first
        cdef Py_ssize_t size
        cdef unsigned char kind
        while step < self.last:
            kind = step[0]
            step += 1
            if kind == LITERAL:
                size = step[0] | step[1] << 8 | step[2] << 16 | <Py_ssize_t>step[3] << 24
                step += 4
                if size > left or memcmp(step, key, size) != 0:
                    return False
                step += size
            else:
                if kind == INTEGER:
                    size = integer_size(key, left)
                elif kind == TEXT:
                    size = text_size(key, left)
                elif kind == IDENTITY:
                    size = identity_size(key, left)
                else:
                    size = time_size(key, left)
                if size == 0:
                    return False
            key += size
            left -= size
        return left == 0
