# Ranges of keys. The twin is statestore/core/pure_keyrange.py.


from cpython.ref cimport PyObject


cdef inline bytes exact_bytes(str what, object given):
    # A subclass could run Python code when it is hashed, compared or freed: it is copied.
    if type(given) is bytes:
        return <bytes>given
    if isinstance(given, bytes):
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given))
    raise common.must_be_bytes(what, given)


cdef inline PyObject *or_null(bytes bound):
    return NULL if bound is None else <PyObject *>bound


cdef bytes end_of_prefix(bytes prefix):
    """Return the first key after every key with ``prefix``, or None."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(prefix)
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(prefix)
    cdef bytes end
    while size > 0 and data[size - 1] == 0xff:
        size -= 1
    if size == 0:
        return None
    end = PyBytes_FromStringAndSize(NULL, size)  # never one that Python shares, as with given bytes
    memcpy(PyBytes_AS_STRING(end), data, size)
    (<unsigned char *>PyBytes_AS_STRING(end))[size - 1] += 1
    return end


@cython.final
@cython.freelist(8)
@cython.auto_pickle(False)
cdef class KeyRange:
    """The keys from ``start`` (included) to ``stop`` (excluded) that begin with ``prefix``; a value.

    ``None`` is open. With a ``namespace`` it is the range of these keys with the namespace in front of each.
    Prefix and namespace are folded into ``start`` and ``stop``, which say all of the range. A range with
    ``start >= stop`` is empty, not an error. Raises ``TypeError`` for a bound that is not ``bytes``.
    """

    cdef readonly bytes start, stop

    def __cinit__(self, start=None, stop=None, prefix=None, bytes namespace=None):
        cdef bytes end
        if start is not None:
            self.start = exact_bytes("start", start)
        if stop is not None:
            self.stop = exact_bytes("stop", stop)
        if prefix is not None:
            prefix = exact_bytes("prefix", prefix)
            if prefix:
                if self.start is None or self.start < <bytes>prefix:
                    self.start = <bytes>prefix
                end = end_of_prefix(<bytes>prefix)
                if end is not None and (self.stop is None or self.stop > end):
                    self.stop = end
        if namespace is not None:
            self.start = namespace if self.start is None else namespace + self.start
            self.stop = end_of_prefix(namespace) if self.stop is None else namespace + self.stop

    def __eq__(self, other):
        if type(other) is not KeyRange:
            return NotImplemented
        return self.start == (<KeyRange>other).start and self.stop == (<KeyRange>other).stop

    def __hash__(self):
        return hash((self.start, self.stop))

    def __repr__(self):
        return f"KeyRange(start={self.start!r}, stop={self.stop!r})"
