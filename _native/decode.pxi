# Entities of stored pairs. What is not exactly as our writer lays it out, statestore/serde/entities.py judges.

from decimal import Decimal
from cpython.bytes cimport PyBytes_CheckExact

from statestore.errors import DecodeError

cdef extern from *:
    """
    #include <structmember.h>

    /* Where an object of cls has what the slot `descriptor` shows; 0 for whatever else `descriptor` is. */
    static Py_ssize_t slot_offset(PyObject *descriptor, PyObject *cls) {
        PyMemberDef *member;
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) return 0;
        member = ((PyMemberDescrObject *)descriptor)->d_member;
        if (member->type != T_OBJECT_EX || member->flags != 0) return 0;
        return PyType_IsSubtype((PyTypeObject *)cls, PyDescr_TYPE(descriptor)) ? member->offset : 0;
    }

    /* Fill the slot of a new object. */
    static inline void fill_slot(PyObject *thing, Py_ssize_t offset, PyObject *value) {
        Py_INCREF(value);
        *(PyObject **)((char *)thing + offset) = value;
    }
    """
    Py_ssize_t slot_offset(object descriptor, object cls)
    void fill_slot(object thing, Py_ssize_t offset, PyObject *value)

cdef extern from "<float.h>":
    const double FLT_MAX

cdef extern from "<math.h>":
    const double INFINITY
    double fabs(double number) noexcept nogil

cdef extern from "Python.h":
    PyObject *PyObject_Vectorcall(object call, PyObject **arguments, size_t count, PyObject *names)
    PyObject *new_int "PyLong_FromLongLong" (long long number) except NULL
    PyObject *new_float "PyFloat_FromDouble" (double number) except NULL
    void drop_if_any "Py_XDECREF" (PyObject *thing)

cdef enum:
    MOST_FIELDS = 64

cdef enum ValueKind:  # besides those of keys
    BOOL = 16
    FLOAT
    DECIMAL
    INT32
    INT16
    FLOAT32

cdef dict VALUE_CODES = {
    **CODES,
    "bool": BOOL,
    "float": FLOAT,
    "decimal": DECIMAL,
    "int32": INT32,
    "int16": INT16,
    "float32": FLOAT32,
}
cdef object DECIMAL_TYPE = Decimal
cdef object DECODE_ERROR = DecodeError


cdef struct Member:
    PyObject *name
    const char *written
    Py_ssize_t written_size
    Py_ssize_t slot
    Py_ssize_t most  # characters of a str, bytes of a bytes, digits of a decimal; 0: any number
    Py_ssize_t scale  # of a decimal of which most is known
    unsigned char kind
    bint nullable
    bint is_key     # of the class's key, or of the window: not in the payload
    bint is_of_window
    Py_ssize_t plus, minus  # places of times in the key, -1 for none: a field of the window is their difference
    int64_t more            # ... and so many milliseconds


cdef enum:
    MOST_TIMES = 2


@cython.final
cdef class Decoder:
    """Makes the entities of one class of key and payload, as far as the payload is laid out as we write it.

    ``fields`` are those of the class, each ``(name, msgpack bytes of its name in records, kind, nullable, most,
    scale, descriptor)``, ``kind`` being ``None`` for a key field, and ``most`` 0 where there is no limit. If
    ``plain``, an object is filled without calling the class; if ``acyclic``, too, it can be in no cycle and the
    garbage collector does not track it. ``context`` is that of decimals. Any number of threads may share one.

    Of rows of windows each key ends with ``times`` times, of 8 bytes each, in ``tail`` bytes. ``of_window`` are the
    fields made of them, each ``(place in fields, plus, minus, more, kind)``: the milliseconds of the time number
    ``plus`` less those of number ``minus`` (-1: 0) and ``more``, as an int or as a datetime.
    """

    cdef readonly bint plain
    cdef readonly bint acyclic
    cdef type cls
    cdef KeyCodec keys
    cdef list fields  # keeps alive what the members point to
    cdef object context
    cdef Member members[MOST_FIELDS]
    cdef Py_ssize_t count
    cdef Py_ssize_t written  # fields that are in the payload
    cdef Py_ssize_t times, tail

    def __cinit__(
        self, type cls not None, KeyCodec keys not None, fields, bint plain, bint acyclic, context,
        Py_ssize_t times=0, Py_ssize_t tail=0, of_window=(),
    ):
        cdef Member *member
        cdef Py_ssize_t place, i
        cdef str name
        cdef bytes written
        self.cls, self.keys, self.context = cls, keys, context
        self.plain, self.acyclic = plain, acyclic
        self.fields = list(fields)
        self.count = len(self.fields)
        if self.count > MOST_FIELDS:
            raise ValueError(f"a class of {self.count} fields: {MOST_FIELDS} at most")
        for i in range(self.count):
            name, written, kind, nullable, most, scale, descriptor = self.fields[i]
            member = &self.members[i]
            member.name = <PyObject *>name
            member.written = PyBytes_AS_STRING(written)
            member.written_size = PyBytes_GET_SIZE(written)
            member.slot = slot_offset(descriptor, cls)
            member.is_key = kind is None
            member.kind = 0 if member.is_key else VALUE_CODES[kind]
            member.nullable = nullable
            member.most, member.scale = most, scale
            self.written += not member.is_key
        self.times, self.tail = times, tail
        if not 0 <= 8 * times <= tail or times > MOST_TIMES:
            raise ValueError(f"{times} times in {tail} bytes: at most {MOST_TIMES}, of 8 bytes each")
        for place, plus, minus, more, kind in of_window:
            if not 0 <= place < self.count or not max(plus, minus) < times:
                raise ValueError(f"field {place} of {self.count} has the times {plus} and {minus} of {times}")
            member = &self.members[place]
            member.is_of_window = True
            member.plus, member.minus, member.more = plus, minus, more
            member.kind = VALUE_CODES[kind]
        if self.count - self.written != keys.count + len(of_window):
            raise ValueError(f"{self.count - self.written} key fields for a key of {keys.count + len(of_window)}")

    def decode(self, key, payload):
        """Return the entity, ``None`` if it is for others to judge. Raises what the class raises."""
        if not isinstance(key, bytes) or not isinstance(payload, bytes):
            return None
        return self.make(key, 0, payload, 0)

    def rows(self, source, Py_ssize_t namespace, Py_ssize_t header, judge):
        """Return an iterator of the entities of a backend's scan; for a plain decoder.

        ``namespace`` bytes are in front of each key, ``header`` bytes in front of each payload. A row that is for
        others to judge is what ``judge(key, payload)`` returns.
        """
        return Rows(self, source, namespace, header, judge)

    cdef object make(self, bytes key, Py_ssize_t key_at, bytes payload, Py_ssize_t payload_at):
        """The same for a key and a payload that begin at ``key_at`` and ``payload_at``."""
        cdef PyObject *values[MOST_FIELDS]
        cdef Py_ssize_t i
        for i in range(self.count):
            values[i] = NULL
        try:
            if self.read_payload(payload, payload_at, values) and self.read_key(key, key_at, values):
                return self.build(values)
            return None
        finally:
            for i in range(self.count):
                drop_if_any(values[i])

    cdef int read_payload(self, bytes payload, Py_ssize_t start, PyObject **values) except -1:
        """Return 1 and the values, or 0."""
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(payload)
        cdef const unsigned char *end = at + PyBytes_GET_SIZE(payload)
        cdef Member *member
        cdef Py_ssize_t i
        if end - at < start:
            return 0
        at = map_begin(at + start, end, self.written)
        if at == NULL:
            return 0
        for i in range(self.count):
            member = &self.members[i]
            if member.is_key:
                continue
            if end - at <= member.written_size or memcmp(at, member.written, member.written_size) != 0:
                return 0
            at += member.written_size
            values[i] = read_value(member, &at, end, self.context)
            if values[i] == NULL:
                return 0
        return at == end

    cdef int read_key(self, bytes key, Py_ssize_t at, PyObject **values) except -1:
        cdef Py_ssize_t component = 0, i
        if PyBytes_GET_SIZE(key) - self.tail < at:
            return 0
        if self.tail:
            if not self.read_times(PyBytes_AS_STRING(key) + PyBytes_GET_SIZE(key) - self.tail, values):
                return 0
            key = key[:PyBytes_GET_SIZE(key) - self.tail]
        try:
            for i in range(self.count):
                if self.members[i].is_key and not self.members[i].is_of_window:
                    value = self.keys.read(key, &at, component)
                    component += 1
                    take(<PyObject *>value)
                    values[i] = <PyObject *>value
        except DECODE_ERROR:
            return 0
        return at == PyBytes_GET_SIZE(key)

    cdef int read_times(self, const char *at, PyObject **values) except -1:
        """Return 1 and the fields of the window, or 0."""
        cdef int64_t times[MOST_TIMES]
        cdef Member *member
        cdef Py_ssize_t i
        if not times_in(self, at, times):
            return 0
        for i in range(self.count):
            member = &self.members[i]
            if member.is_of_window:
                values[i] = of_number(member.kind, number_of_window(member, times))
                if values[i] == NULL:
                    return 0
        return 1

    cdef object build(self, PyObject **values):
        cdef Member *member
        cdef Py_ssize_t i
        if not self.plain:
            return owned(PyObject_Vectorcall(self.cls, values, self.count, NULL))
        made = self.cls.__new__(self.cls)
        for i in range(self.count):
            member = &self.members[i]
            if member.slot:
                fill_slot(made, member.slot, values[i])
            else:
                PyObject_GenericSetAttr(made, <object>member.name, <object>values[i])
        if self.acyclic:
            PyObject_GC_UnTrack(<PyObject *>made)
        return made


cdef inline bint times_in(Decoder decoder, const char *at, int64_t *times) noexcept:
    """Whether the end of a key, from ``at``, has the times of a window."""
    cdef Py_ssize_t i
    for i in range(decoder.times):
        times[i] = <int64_t>load64(at + 8 * i)
        if not 0 <= times[i] <= MAX_MICROSECONDS // 1_000:
            return False
    return True


cdef inline int64_t number_of_window(const Member *member, const int64_t *times) noexcept nogil:
    """Return a field of the window: milliseconds as an int, microseconds of a datetime."""
    cdef int64_t number = member.more
    if member.plus >= 0:
        number += times[member.plus]
    if member.minus >= 0:
        number -= times[member.minus]
    return number * 1_000 if member.kind == DATETIME else number


def acyclic(made):
    """Return ``made``, a tuple, list or object whose items refer to no object that may refer to it.

    Python's collector leaves it out from now on.
    """
    PyObject_GC_UnTrack(<PyObject *>made)
    return made


cdef inline const unsigned char *map_begin(
    const unsigned char *at, const unsigned char *end, Py_ssize_t count
) noexcept nogil:
    """Return what follows the beginning of a map of ``count`` pairs, NULL if ``at`` is something else."""
    if end - at >= 1 and count <= 15 and at[0] == (0x80 | count):
        return at + 1
    if end - at >= 3 and count > 15 and at[0] == 0xDE and (at[1] << 8 | at[2]) == count:
        return at + 3
    return NULL


cdef inline PyObject *read_value(
    const Member *member, const unsigned char **place, const unsigned char *end, object context
) except? NULL:
    """Return the value at ``place`` and move on; NULL, without an error, if it is not of the member's kind.

    There is a byte at least.
    """
    cdef const unsigned char *at = place[0]
    cdef unsigned char code = at[0]
    cdef unsigned char kind = member.kind
    cdef int64_t number
    cdef Py_ssize_t size
    if code == 0xC0:
        place[0] = at + 1
        return kept(None) if member.nullable else NULL
    if kind == BOOL:
        place[0] = at + 1
        return kept(code == 0xC3) if code == 0xC2 or code == 0xC3 else NULL
    if kind == FLOAT or kind == FLOAT32:
        if code != 0xCB or end - at < 9:
            return NULL
        place[0] = at + 9
        return of_double(kind, double_of(load64(<const char *>at + 1)))
    if kind == INT or kind == INT32 or kind == INT16 or kind == DATETIME or kind == DATE:
        place[0] = read_int(at, end, &number)
        return NULL if place[0] == NULL else of_number(kind, number)
    at = read_size(at, end, kind == STR or kind == DECIMAL, &size)
    if at == NULL or end - at < size:
        return NULL
    place[0] = at + size
    if kind == BYTES:
        return NULL if member.most and size > member.most else new_bytes(<const char *>at, size)
    if kind == UUID_:
        return kept(uuid_of(<const char *>at)) if size == 16 else NULL
    if kind == DECIMAL and member.most and not is_padded(<const char *>at, size, member.most, member.scale):
        return NULL
    if kind == STR and member.most and size > member.most:  # it may yet be few characters
        return NULL
    return of_text(kind, <const char *>at, size, context)


cdef inline bint is_padded(const char *text, Py_ssize_t size, Py_ssize_t digits, Py_ssize_t scale) noexcept nogil:
    """Whether a decimal is written as ``12.50``: with all the digits of its scale, and of ``digits`` at most."""
    cdef Py_ssize_t first = 1 if size and text[0] == c"-" else 0
    cdef Py_ssize_t point = size - scale - 1 if scale else size
    cdef Py_ssize_t i
    if point <= first or (text[first] == c"0" and point > first + 1):
        return False
    for i in range(first, size):
        if not (text[i] == c"." if i == point else c"0" <= text[i] <= c"9"):
            return False
    return scale + (0 if text[first] == c"0" else point - first) <= digits


cdef inline PyObject *of_double(unsigned char kind, double number) except? NULL:
    if kind == FLOAT32 and fabs(number) < INFINITY:
        if fabs(number) > FLT_MAX or <double><float>number != number:
            return NULL
    return new_float(number)


cdef inline PyObject *kept(object value):
    take(<PyObject *>value)
    return <PyObject *>value


cdef inline PyObject *of_number(unsigned char kind, int64_t number) except? NULL:
    cdef int year, month, day
    if kind == INT:
        return new_int(number)
    if kind == INT32:
        return new_int(number) if number == <int32_t>number else NULL
    if kind == INT16:
        return new_int(number) if number == <int16_t>number else NULL
    if kind == DATETIME:
        return kept(datetime_of(number)) if MIN_MICROSECONDS <= number <= MAX_MICROSECONDS else NULL
    if not 1 - EPOCH_ORDINAL <= number <= MAX_ORDINAL - EPOCH_ORDINAL:
        return NULL
    date_of(number, &year, &month, &day)
    return kept(date_new(year, month, day))


cdef inline PyObject *of_text(unsigned char kind, const char *data, Py_ssize_t size, object context) except? NULL:
    cdef PyObject *text = PyUnicode_DecodeUTF8(data, size, NULL)
    if text == NULL:
        if PyErr_ExceptionMatches(UnicodeDecodeError):
            PyErr_Clear()
        return NULL
    return decimal_of(owned(text), context) if kind == DECIMAL else text


cdef PyObject *decimal_of(object text, object context) except? NULL:
    try:
        number = DECIMAL_TYPE(text, context)
        return kept(number if number else number.copy_abs())  # no negative zero
    except ArithmeticError:  # of which decimal's are
        return NULL


cdef inline const unsigned char *read_int(
    const unsigned char *at, const unsigned char *end, int64_t *number
) noexcept nogil:
    """Return what follows an int of 64 bits, NULL if ``at`` is something else. There is a byte at least."""
    cdef unsigned char code = at[0]
    cdef const char *data = <const char *>at + 1
    cdef Py_ssize_t left = end - at - 1
    if code <= 0x7F or code >= 0xE0:
        number[0] = <signed char>code
        return at + 1
    if code == 0xCC and left >= 1:
        number[0] = at[1]
        return at + 2
    if code == 0xCD and left >= 2:
        number[0] = at[1] << 8 | at[2]
        return at + 3
    if code == 0xCE and left >= 4:
        number[0] = load32(data)
        return at + 5
    if code == 0xCF and left >= 8:
        number[0] = <int64_t>load64(data)
        return at + 9 if number[0] >= 0 else NULL
    if code == 0xD0 and left >= 1:
        number[0] = <signed char>at[1]
        return at + 2
    if code == 0xD1 and left >= 2:
        number[0] = <short>(at[1] << 8 | at[2])
        return at + 3
    if code == 0xD2 and left >= 4:
        number[0] = <int32_t>load32(data)
        return at + 5
    if code == 0xD3 and left >= 8:
        number[0] = <int64_t>load64(data)
        return at + 9
    return NULL


cdef inline const unsigned char *read_size(
    const unsigned char *at, const unsigned char *end, bint text, Py_ssize_t *size
) noexcept nogil:
    """Return where the bytes of a str (else of a bin) begin, NULL if ``at`` is something else."""
    cdef unsigned char code = at[0]
    cdef unsigned char shortest = 0xD9 if text else 0xC4  # with a length of one byte; two and four follow
    cdef Py_ssize_t left = end - at - 1
    if text and code & 0xE0 == 0xA0:
        size[0] = code & 0x1F
        return at + 1
    if code == shortest and left >= 1:
        size[0] = at[1]
        return at + 2
    if code == shortest + 1 and left >= 2:
        size[0] = at[1] << 8 | at[2]
        return at + 3
    if code == shortest + 2 and left >= 4:
        size[0] = load32(<const char *>at + 1)
        return at + 5
    return NULL


cdef inline double double_of(uint64_t bits) noexcept nogil:
    cdef double number
    memcpy(&number, &bits, 8)
    return number


@cython.final
cdef class Rows:
    """What ``Decoder.rows`` returns."""

    cdef Steps steps
    cdef Py_ssize_t namespace, header
    cdef Decoder decoder
    cdef object judge

    def __cinit__(self, Decoder decoder not None, source, Py_ssize_t namespace, Py_ssize_t header, judge):
        self.decoder, self.steps, self.judge = decoder, Steps(source), judge
        self.namespace, self.header = namespace, header

    def __iter__(self):
        return self

    def __next__(self):
        cdef Pair pair
        if not self.steps.take_next(&pair):
            raise StopIteration
        key, value = owned(pair.key), owned(pair.value)
        if PyBytes_CheckExact(key) and PyBytes_CheckExact(value):
            row = self.decoder.make(<bytes>key, self.namespace, <bytes>value, self.header)
            if row is not None:
                return row
        return self.judge(key[self.namespace :], value[self.header :])

    def close(self):
        """Release the snapshot of the scan now. Idempotent."""
        self.steps.source.close()
