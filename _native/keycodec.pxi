# Order-preserving keys; docs/key-format.md is the specification.

from cpython.datetime cimport (
    PyDate_Check,
    PyDate_CheckExact,
    PyDateTime_Check,
    PyDateTime_CheckExact,
    date_day,
    date_month,
    date_new,
    date_year,
    datetime_day,
    datetime_hour,
    datetime_microsecond,
    datetime_minute,
    datetime_month,
    datetime_new,
    datetime_second,
    datetime_tzinfo,
    datetime_year,
    import_datetime,
    timedelta,
    timedelta_days,
    timedelta_microseconds,
    timedelta_seconds,
)
from cpython.exc cimport PyErr_Clear, PyErr_ExceptionMatches
from cpython.object cimport PyObject_GenericSetAttr
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM

from datetime import UTC, date, datetime
from uuid import UUID, SafeUUID

cdef extern from *:
    """
    #if PY_VERSION_HEX < 0x030D0000
      #define uuid_bytes(number, out) \\
          _PyLong_AsByteArray((PyLongObject *)(number), (unsigned char *)(out), 16, 0, 0)
    #else
      #define uuid_bytes(number, out) \\
          _PyLong_AsByteArray((PyLongObject *)(number), (unsigned char *)(out), 16, 0, 0, 1)
    #endif
    """
    int uuid_bytes(object number, char *out) except -1

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(PyObject *thing) noexcept
    bint PyLong_CheckExact(object value) noexcept
    bint PyUnicode_CheckExact(object value) noexcept
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject *PyUnicode_DecodeUTF8(const char *data, Py_ssize_t size, const char *errors) noexcept
    object owned "(PyObject *)" (PyObject *reference)  # NULL raises what is set
    object _PyLong_FromByteArray(const unsigned char *data, size_t size, int little_endian, int is_signed)

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

cdef object UTC_ZONE = UTC
cdef type UUID_TYPE = UUID
cdef object UNKNOWN_SAFETY = SafeUUID.unknown
cdef bint UUIDS_ARE_ACYCLIC = common.has_only_slots(UUID, 2)
cdef object EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
cdef int64_t EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
cdef int64_t MAX_ORDINAL = date.max.toordinal()
cdef int64_t MIN_MICROSECONDS = microseconds_of(datetime.min.replace(tzinfo=UTC) - EPOCH)
cdef int64_t MAX_MICROSECONDS = microseconds_of(datetime.max.replace(tzinfo=UTC) - EPOCH)


cdef inline int64_t microseconds_of(timedelta since):
    cdef int64_t seconds = <int64_t>timedelta_days(since) * 86_400 + timedelta_seconds(since)
    return seconds * 1_000_000 + timedelta_microseconds(since)


@cython.cdivision(True)
cdef inline int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Return the days from 1970-01-01 to a date of the years 1 to 9999.

    Counted from 1 March of year 0, so that the leap day is the last of its year.
    """
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


@cython.cdivision(True)
cdef inline void date_of(int64_t days, int *year, int *month, int *day) noexcept nogil:
    """Undo ``days_of``."""
    cdef int64_t since = days + 719_468
    cdef int64_t era = since // 146_097
    cdef int64_t day_of_era = since - era * 146_097
    cdef int64_t year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    cdef int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int64_t shifted = (5 * day_of_year + 2) // 153
    day[0] = <int>(day_of_year - (153 * shifted + 2) // 5 + 1)
    month[0] = <int>(shifted + 3 if shifted < 10 else shifted - 9)
    year[0] = <int>(era * 400 + year_of_era + (1 if month[0] <= 2 else 0))


@cython.cdivision(True)
cdef inline object datetime_of(int64_t microseconds):
    cdef int year, month, day
    cdef int64_t since = microseconds - MIN_MICROSECONDS  # never negative, so that division rounds down
    cdef int64_t day_length = <int64_t>86_400 * 1_000_000  # as one number it would be Python's
    cdef int64_t rest = since % day_length
    cdef int seconds = <int>(rest // 1_000_000)
    date_of(since // day_length + 1 - EPOCH_ORDINAL, &year, &month, &day)
    return datetime_new(
        year,
        month,
        day,
        seconds // 3_600,
        seconds // 60 % 60,
        seconds % 60,
        <int>(rest % 1_000_000),
        UTC_ZONE,
    )


cdef inline int64_t microseconds_in_utc(object value) noexcept:
    """Return the microseconds since 1970 of an exact ``datetime`` whose zone is ``datetime.UTC``."""
    cdef int64_t days = days_of(datetime_year(value), datetime_month(value), datetime_day(value))
    cdef int64_t minutes = (days * 24 + datetime_hour(value)) * 60 + datetime_minute(value)
    return (minutes * 60 + datetime_second(value)) * 1_000_000 + datetime_microsecond(value)


cdef object uuid_of(const char *data):
    """Make a ``UUID`` as its constructor does, without the time that its checks take."""
    number = _PyLong_FromByteArray(<const unsigned char *>data, 16, 0, 0)
    made = UUID_TYPE.__new__(UUID_TYPE)
    PyObject_GenericSetAttr(made, "int", number)
    PyObject_GenericSetAttr(made, "is_safe", UNKNOWN_SAFETY)
    if UUIDS_ARE_ACYCLIC:
        PyObject_GC_UnTrack(<PyObject *>made)
    return made


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
            if not PyLong_CheckExact(value):
                value = common.plain_component(self.kinds, index, value)
            store64(buffer_extend(buffer, 8), <uint64_t>self.int64(index, value) ^ SIGN64)
        elif kind == STR and isinstance(value, str):
            if not PyUnicode_CheckExact(value):
                value = common.plain_component(self.kinds, index, value)
            try:
                text = PyUnicode_AsUTF8AndSize(value, &size)
            except UnicodeEncodeError:
                raise common.unfit(self.kinds, index, value, common.SURROGATE) from None
            self.write_variable(buffer, index, text, size)
        elif kind == BYTES and isinstance(value, bytes):
            if not PyBytes_CheckExact(value):
                value = common.plain_component(self.kinds, index, value)
            self.write_variable(buffer, index, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        elif kind == UUID_ and isinstance(value, UUID_TYPE):
            if type(value) is not UUID_TYPE:
                value = common.plain_component(self.kinds, index, value)
            number = value.int
            if not isinstance(number, int):
                raise common.wrong_type(self.kinds, index, value)
            uuid_bytes(number, buffer_extend(buffer, 16))
        elif kind == DATETIME and PyDateTime_Check(value):
            if not PyDateTime_CheckExact(value):
                value = common.plain_component(self.kinds, index, value)
            store64(buffer_extend(buffer, 8), <uint64_t>self.microseconds(index, value) ^ SIGN64)
        elif kind == DATE and PyDate_Check(value) and not PyDateTime_Check(value):
            if not PyDate_CheckExact(value):
                value = common.plain_component(self.kinds, index, value)
            store32(
                buffer_extend(buffer, 4),
                <uint32_t>days_of(date_year(value), date_month(value), date_day(value)) ^ SIGN32,
            )
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
        if datetime_tzinfo(value) is UTC_ZONE:
            return microseconds_in_utc(value)
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
        cdef int year, month, day
        if kind == INT:
            self.advance(data, at, index, 8)
            return <int64_t>(load64(here) ^ SIGN64)
        if kind == STR or kind == BYTES:
            return self.read_variable(data, at, index, kind)
        if kind == UUID_:
            self.advance(data, at, index, 16)
            return uuid_of(here)
        if kind == DATETIME:
            self.advance(data, at, index, 8)
            number = <int64_t>(load64(here) ^ SIGN64)
            if not MIN_MICROSECONDS <= number <= MAX_MICROSECONDS:
                raise common.malformed(self.kinds, index, data, common.DATETIME_RANGE)
            return datetime_of(number)
        self.advance(data, at, index, 4)
        number = <int32_t>(load32(here) ^ SIGN32)
        if not 1 <= number + EPOCH_ORDINAL <= MAX_ORDINAL:
            raise common.malformed(self.kinds, index, data, common.DATE_RANGE)
        date_of(number, &year, &month, &day)
        return date_new(year, month, day)

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
        return self.text(data, index, begin, end - begin)

    cdef object text(self, bytes data, Py_ssize_t index, const char *begin, Py_ssize_t size):
        # Not by try and except, which cost a tenth of a short key.
        cdef PyObject *decoded = PyUnicode_DecodeUTF8(begin, size, NULL)
        if decoded == NULL and PyErr_ExceptionMatches(UnicodeDecodeError):
            PyErr_Clear()
            raise common.malformed(self.kinds, index, data, common.NOT_UTF8)
        return owned(decoded)


cdef bytes unescaped(const char *data, const char *end, Py_ssize_t escapes):
    """Return the bytes from ``data`` to ``end`` without the ``ff`` after each of the ``escapes`` zeros."""
    cdef bytes result = PyBytes_FromStringAndSize(NULL, end - data - escapes)
    cdef char *out = PyBytes_AS_STRING(result)
    while data < end:
        out[0] = data[0]
        out += 1
        data += 2 if data[0] == 0 else 1
    return result
