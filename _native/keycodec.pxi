# Order-preserving keys; docs/key-format.md is the specification.

from cpython.datetime cimport (
    PyDate_Check,
    PyDateTime_Check,
    import_datetime,
    timedelta,
    timedelta_days,
    timedelta_microseconds,
    timedelta_new,
    timedelta_seconds,
)
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8

from datetime import UTC, date, datetime
from uuid import UUID

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

import_datetime()

cdef enum Kind:
    INT
    STR
    BYTES
    UUID_
    DATETIME
    DATE

cdef dict CODES = {"int": INT, "str": STR, "bytes": BYTES, "uuid": UUID_, "datetime": DATETIME, "date": DATE}

cdef uint64_t SIGN64 = <uint64_t>1 << 63
cdef uint32_t SIGN32 = <uint32_t>1 << 31

cdef object EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
cdef int64_t EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
cdef int64_t MAX_ORDINAL = date.max.toordinal()
cdef int64_t MIN_MICROSECONDS = microseconds_of(datetime.min.replace(tzinfo=UTC) - EPOCH)
cdef int64_t MAX_MICROSECONDS = microseconds_of(datetime.max.replace(tzinfo=UTC) - EPOCH)


cdef inline int64_t microseconds_of(timedelta since):
    cdef int64_t seconds = <int64_t>timedelta_days(since) * 86_400 + timedelta_seconds(since)
    return seconds * 1_000_000 + timedelta_microseconds(since)


cdef inline object datetime_of(int64_t microseconds):
    # The days may be negative: the remainder must not be, and it fits an int only if cut into seconds.
    cdef int64_t days = microseconds // 86_400_000_000
    cdef int64_t rest = microseconds - days * 86_400_000_000
    return EPOCH + timedelta_new(<int>days, <int>(rest // 1_000_000), <int>(rest % 1_000_000))


@cython.final
cdef class KeyCodec:
    """Turns tuples of one list of types into bytes whose order is the order of the tuples, and back.

    ``kinds`` names the type of each component: ``int str bytes uuid datetime date``; anything else, and an
    empty list, is a ``ValueError``. Immutable, so any number of threads may share one.
    """

    cdef readonly tuple kinds
    cdef bytes codes
    cdef Py_ssize_t count

    def __cinit__(self, kinds):
        if not kinds or any([kind not in common.KINDS for kind in kinds]):
            raise common.wrong_kinds(kinds)
        self.kinds = tuple(kinds)
        self.codes = bytes([CODES[kind] for kind in kinds])
        self.count = len(self.kinds)

    def __repr__(self):
        return f"KeyCodec({self.kinds!r})"

    def encode(self, values):
        """Return the key of ``values``. Raises ``EncodeError`` naming the component that does not fit."""
        if not isinstance(values, tuple):
            raise common.not_a_tuple(values)
        if len(<tuple>values) != self.count:
            raise common.wrong_count(self.kinds, values)
        return self._encode(<tuple>values)

    def encode_prefix(self, values):
        """Return the bytes that exactly the keys which begin with the components ``values`` begin with.

        With a value for every component this is ``encode(values)``: the one key, not a prefix of others.
        """
        if not isinstance(values, tuple):
            raise common.not_a_tuple(values)
        if len(<tuple>values) > self.count:
            raise common.wrong_count(self.kinds, values)
        return self._encode(<tuple>values)

    def decode(self, data):
        """Return the tuple whose key ``data`` is; datetimes come in UTC.

        Raises ``DecodeError`` for bytes that ``encode`` never makes.
        """
        if not isinstance(data, bytes):
            raise common.not_bytes(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t index
        cdef tuple values = PyTuple_New(self.count)
        for index in range(self.count):
            value = self.read(data, &at, index)
            Py_INCREF(value)
            PyTuple_SET_ITEM(values, index, value)
        if at != size:
            raise common.left_over(self.kinds, data, size - at)
        return values

    cdef bytes _encode(self, tuple values):
        cdef Buffer buffer
        cdef Py_ssize_t index
        buffer_init(&buffer)
        try:
            for index in range(len(values)):
                self.write(&buffer, index, values[index])
            return PyBytes_FromStringAndSize(buffer.data, buffer.size)
        finally:
            buffer_free(&buffer)

    cdef int write(self, Buffer *buffer, Py_ssize_t index, object value) except -1:
        cdef unsigned char kind = PyBytes_AS_STRING(self.codes)[index]
        cdef const char *text
        cdef Py_ssize_t size
        if kind == INT and isinstance(value, int) and not isinstance(value, bool):
            store64(buffer_extend(buffer, 8), <uint64_t>self.int64(index, value) ^ SIGN64)
        elif kind == STR and isinstance(value, str):
            try:
                text = PyUnicode_AsUTF8AndSize(value, &size)
            except UnicodeEncodeError:
                raise common.unfit(self.kinds, index, value, common.SURROGATE) from None
            self.write_variable(buffer, index, text, size)
        elif kind == BYTES and isinstance(value, bytes):
            self.write_variable(buffer, index, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        elif kind == UUID_ and isinstance(value, UUID):
            raw = <bytes?>value.bytes
            memcpy(buffer_extend(buffer, 16), PyBytes_AS_STRING(raw), 16)
        elif kind == DATETIME and PyDateTime_Check(value):
            store64(buffer_extend(buffer, 8), <uint64_t>self.microseconds(index, value) ^ SIGN64)
        elif kind == DATE and PyDate_Check(value) and not PyDateTime_Check(value):
            store32(buffer_extend(buffer, 4), <uint32_t>(<int64_t>value.toordinal() - EPOCH_ORDINAL) ^ SIGN32)
        else:
            raise common.wrong_type(self.kinds, index, value)
        return 0

    cdef int64_t int64(self, Py_ssize_t index, object value) except? -1:
        cdef int overflow = 0
        cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            raise common.unfit(self.kinds, index, value, common.INT_RANGE)
        return number

    cdef int64_t microseconds(self, Py_ssize_t index, object value) except? -1:
        if value.utcoffset() is None:
            raise common.unfit(self.kinds, index, value, common.NAIVE)
        cdef int64_t number = microseconds_of(value - EPOCH)
        if not MIN_MICROSECONDS <= number <= MAX_MICROSECONDS:
            raise common.unfit(self.kinds, index, value, common.DATETIME_RANGE)
        return number

    cdef int write_variable(self, Buffer *buffer, Py_ssize_t index, const char *data, Py_ssize_t size) except -1:
        cdef char *out
        cdef const char *zero
        cdef const char *end = data + size
        if index == self.count - 1:
            memcpy(buffer_extend(buffer, size), data, size)
            return 0
        while True:
            zero = <const char *>memchr(data, 0, end - data)
            if zero == NULL:
                break
            size = zero - data + 1
            out = buffer_extend(buffer, size + 1)
            memcpy(out, data, size)
            out[size] = <char>0xFF
            data = zero + 1
        size = end - data
        out = buffer_extend(buffer, size + 2)
        memcpy(out, data, size)
        out[size] = out[size + 1] = 0
        return 0

    cdef object read(self, bytes data, Py_ssize_t *at, Py_ssize_t index):
        cdef unsigned char kind = PyBytes_AS_STRING(self.codes)[index]
        cdef const char *here = PyBytes_AS_STRING(data) + at[0]
        cdef int64_t number
        if kind == INT:
            self.advance(data, at, index, 8)
            return <int64_t>(load64(here) ^ SIGN64)
        if kind == STR or kind == BYTES:
            return self.read_variable(data, at, index, kind)
        if kind == UUID_:
            self.advance(data, at, index, 16)
            return UUID(bytes=here[:16])
        if kind == DATETIME:
            self.advance(data, at, index, 8)
            number = <int64_t>(load64(here) ^ SIGN64)
            if not MIN_MICROSECONDS <= number <= MAX_MICROSECONDS:
                raise common.malformed(self.kinds, index, data, common.DATETIME_RANGE)
            return datetime_of(number)
        self.advance(data, at, index, 4)
        number = <int32_t>(load32(here) ^ SIGN32) + EPOCH_ORDINAL
        if not 1 <= number <= MAX_ORDINAL:
            raise common.malformed(self.kinds, index, data, common.DATE_RANGE)
        return date.fromordinal(number)

    cdef int advance(self, bytes data, Py_ssize_t *at, Py_ssize_t index, Py_ssize_t width) except -1:
        cdef Py_ssize_t left = PyBytes_GET_SIZE(data) - at[0]
        if left < width:
            raise common.malformed(self.kinds, index, data, common.too_short(width, left))
        at[0] += width
        return 0

    cdef object read_variable(self, bytes data, Py_ssize_t *at, Py_ssize_t index, unsigned char kind):
        cdef const char *begin = PyBytes_AS_STRING(data) + at[0]
        cdef const char *end = PyBytes_AS_STRING(data) + PyBytes_GET_SIZE(data)
        cdef const char *here = begin
        cdef Py_ssize_t escapes = 0
        if index == self.count - 1:
            at[0] = PyBytes_GET_SIZE(data)
        else:
            while True:
                here = <const char *>memchr(here, 0, end - here)
                if here == NULL or here + 1 == end:
                    raise common.malformed(self.kinds, index, data, common.UNTERMINATED)
                if here[1] == 0:
                    break
                if <unsigned char>here[1] != 0xFF:
                    raise common.malformed(self.kinds, index, data, common.BAD_ESCAPE)
                escapes += 1
                here += 2
            end = here
            at[0] = end + 2 - PyBytes_AS_STRING(data)
        if escapes:
            raw = unescaped(begin, end, escapes)
            begin = PyBytes_AS_STRING(raw)
            end = begin + PyBytes_GET_SIZE(raw)
        if kind == BYTES:
            return PyBytes_FromStringAndSize(begin, end - begin)
        try:
            return PyUnicode_DecodeUTF8(<char *>begin, end - begin, NULL)
        except UnicodeDecodeError:
            raise common.malformed(self.kinds, index, data, common.NOT_UTF8) from None


cdef bytes unescaped(const char *data, const char *end, Py_ssize_t escapes):
    """Return the bytes from ``data`` to ``end`` without the ``ff`` behind each of the ``escapes`` zeros."""
    cdef bytes result = PyBytes_FromStringAndSize(NULL, end - data - escapes)
    cdef char *out = PyBytes_AS_STRING(result)
    while data < end:
        out[0] = data[0]
        out += 1
        data += 2 if data[0] == 0 else 1
    return result
