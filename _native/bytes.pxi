# Big-endian numbers, and a growing buffer that starts on the caller's stack.

from libc.stdlib cimport free, malloc, realloc

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1


cdef inline void store64(char *out, uint64_t number) noexcept nogil:
    cdef int i
    for i in range(8):
        out[i] = <char>(number >> (56 - 8 * i))


cdef inline void store32(char *out, uint32_t number) noexcept nogil:
    cdef int i
    for i in range(4):
        out[i] = <char>(number >> (24 - 8 * i))


cdef inline uint64_t load64(const char *data) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(8):
        number = number << 8 | <unsigned char>data[i]
    return number


cdef inline uint32_t load32(const char *data) noexcept nogil:
    cdef uint32_t number = 0
    cdef int i
    for i in range(4):
        number = number << 8 | <unsigned char>data[i]
    return number


cdef enum:
    INLINE_SIZE = 256


cdef struct Buffer:
    char inline_data[INLINE_SIZE]
    char *data
    Py_ssize_t size
    Py_ssize_t capacity


cdef inline void buffer_init(Buffer *buffer) noexcept:
    buffer.data = buffer.inline_data
    buffer.size = 0
    buffer.capacity = INLINE_SIZE


cdef inline void buffer_free(Buffer *buffer) noexcept:
    if buffer.data != buffer.inline_data:
        free(buffer.data)


cdef inline char *buffer_extend(Buffer *buffer, Py_ssize_t count) except NULL:
    """Return where to write the next ``count`` bytes, counted as written."""
    if count > buffer.capacity - buffer.size:
        buffer_grow(buffer, count)
    buffer.size += count
    return buffer.data + buffer.size - count


cdef int buffer_grow(Buffer *buffer, Py_ssize_t count) except -1:
    cdef Py_ssize_t capacity = 2 * buffer.capacity + count
    cdef char *data
    if buffer.data == buffer.inline_data:
        data = <char *>malloc(capacity)
        if data != NULL:
            memcpy(data, buffer.data, buffer.size)
    else:
        data = <char *>realloc(buffer.data, capacity)
    if data == NULL:
        raise MemoryError(f"no memory for a key of {buffer.size + count} bytes")
    buffer.data = data
    buffer.capacity = capacity
    return 0
