# Window keys: what Kafka's windowed topics have as key, key ‖ start int64 big-endian (sign not flipped).


def window_key(bytes key not None, start_ms):
    """Return ``key ‖ start_ms`` as Kafka's windowed topics have it: int64 big-endian, sign not flipped.

    ``start_ms`` is the window's start in milliseconds since 1970; beyond 64 bits it is an ``EncodeError``.
    """
    cdef int overflow = 0
    cdef int64_t start = PyLong_AsLongLongAndOverflow(start_ms, &overflow)
    if overflow:
        raise common.window_start_unfit(start_ms)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, size + 8)
    memcpy(PyBytes_AS_STRING(result), PyBytes_AS_STRING(key), size)
    store64(PyBytes_AS_STRING(result) + size, <uint64_t>start)
    return result


def split_window_key(bytes data not None):
    """Return ``(key, start_ms)`` of what ``window_key`` made. Raises ``DecodeError`` below 8 bytes."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data) - 8
    if size < 0:
        raise common.window_key_short(data)
    cdef const char *raw = PyBytes_AS_STRING(data)
    return PyBytes_FromStringAndSize(raw, size), <int64_t>load64(raw + size)
