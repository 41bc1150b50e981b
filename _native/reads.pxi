# Point reads: from the user's object through the record cache, in one call.

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_CheckExact
from cpython.object cimport PyObject

cdef object UNKNOWN = object()  # in the result of get_many: to be read from the engine


cdef inline object joined(bytes namespace, key):
    cdef bytes result
    cdef Py_ssize_t first = PyBytes_GET_SIZE(namespace)
    cdef Py_ssize_t size
    if not PyBytes_CheckExact(key):
        return common.joined(namespace, key)
    size = PyBytes_GET_SIZE(key)
    result = PyBytes_FromStringAndSize(NULL, first + size)
    if first == 1:  # the usual one, without a call
        PyBytes_AS_STRING(result)[0] = PyBytes_AS_STRING(namespace)[0]
    else:
        memcpy(PyBytes_AS_STRING(result), PyBytes_AS_STRING(namespace), first)
    memcpy(PyBytes_AS_STRING(result) + first, PyBytes_AS_STRING(key), size)
    return result


@cython.auto_pickle(False)
cdef class PointReads:
    """What a store and a snapshot read single keys with: keys without namespace, values without header.

    ``get`` and ``get_many`` are the engine's; ``namespace`` is in front of its keys, and as many bytes as
    ``header`` says in front of its values. With a ``cache``, what was read is kept there, and every write has
    to run inside of ``_change``.
    """

    cdef object engine_get, engine_get_many
    cdef bytes namespace
    cdef Py_ssize_t header
    cdef CacheShare share

    def __cinit__(self, *arguments, **named):
        self.namespace = b""  # also of an object that was never given one

    def __init__(self, get, get_many, bytes namespace not None, Py_ssize_t header, RecordCache cache=None):
        self.engine_get = get
        self.engine_get_many = get_many
        self.namespace = namespace
        self.header = header
        self.share = None if cache is None else CacheShare(cache, namespace)

    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    def get(self, key, default=None):
        """Return the value of ``key``, or ``default``. An empty value is not an absent one."""
        value = self.read(key)
        return default if value is None else value

    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    def get_many(self, keys):
        """Return the values of ``keys`` in their order, ``None`` for absent ones, as of one instant."""
        cdef list wanted = list(keys)
        cdef list values = self.read_many(wanted, self.share)
        # What the cache gave is of the instant at which it was asked, all else of one later.
        return self.read_many(wanted, None) if values is None else values

    def __contains__(self, key):
        return isinstance(key, bytes) and self.read(key) is not None

    @property
    def cache_reads(self):
        """How many reads the cache answered, and how many not; ``None``: there is no cache."""
        return None if self.share is None else (self.share.hits, self.share.misses)

    def _change(self, puts, deletes):
        """Return what a write of these pairs and keys has to run in; ``None``: one of any keys."""
        cdef CacheSilence change = CacheSilence.__new__(CacheSilence)
        change.share, change.puts, change.deletes = self.share, puts, deletes
        return change

    def _forget(self):
        """Keep nothing in the cache any more, and give back what is there."""
        if self.share is not None:
            self.share.close()

    cdef object read(self, key):
        """Return the value of ``key``, ``None`` where there is none."""
        cdef CacheShare share = self.share
        cdef uint64_t ticket = 0
        cdef PyObject *found
        if share is not None and PyBytes_CheckExact(key):
            found = share.cache.find(share, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            if found != NULL:
                return <object>found
            share.count_miss()
            ticket = share.ticket()
        value = self.stripped(self.engine_get(joined(self.namespace, key)))
        if ticket:
            share.keep(<PyObject *>key, <PyObject *>value, ticket)
        return value

    cdef list read_many(self, list keys, CacheShare share):
        """Return the values of ``keys``; ``None`` where not all of them would be of one instant."""
        cdef uint64_t ticket = 0 if share is None else share.ticket()
        cdef list result = [UNKNOWN] * len(keys)
        cdef list missing = []
        cdef list values
        cdef PyObject *found
        cdef Py_ssize_t i, next_missing = 0
        for i in range(len(keys)):
            key = keys[i]
            if share is not None and PyBytes_CheckExact(key):
                found = share.cache.find(share, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                if found != NULL:
                    result[i] = <object>found
                    continue
                share.count_miss()
            missing.append(joined(self.namespace, key))
        if not missing:
            return result
        values = list(self.engine_get_many(missing))
        if len(values) != len(missing):
            raise RuntimeError(f"get_many of an engine gave {len(values)} values for {len(missing)} keys")
        if len(missing) < len(keys) and (ticket == 0 or ticket != share.epoch):
            return None
        for i in range(len(keys)):
            if result[i] is UNKNOWN:
                value = self.stripped(values[next_missing])
                next_missing += 1
                result[i] = value
                if ticket and PyBytes_CheckExact(keys[i]):
                    share.keep(<PyObject *>keys[i], <PyObject *>value, ticket)
        return result

    cdef inline object stripped(self, value):
        """Return a new object of exact ``bytes``, or ``None``."""
        cdef Py_ssize_t size
        if value is None:
            return None
        if not PyBytes_CheckExact(value):
            value = bytes(value)
        if self.header == 0:
            return value
        size = PyBytes_GET_SIZE(value) - self.header
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(value) + self.header, size) if size > 0 else b""


@cython.auto_pickle(False)
cdef class Readable:
    """What may be ``readable``: a store while reads are allowed, else ``None``."""

    cdef public PointReads readable


@cython.auto_pickle(False)
cdef class BytesReads:
    """Point reads of a table of bytes, whose ``_binding`` says which store may be read."""

    cdef public Readable _binding

    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    def get(self, key, *, default=None, allow_stale=False):
        """Return the value of ``key``, or ``default``."""
        value = self.store(allow_stale).read(key)
        return default if value is None else value

    def __contains__(self, key):
        if not isinstance(key, bytes):
            raise common.must_be_bytes("a key", key)
        return key in self.store(False)

    cdef inline PointReads store(self, allow_stale):
        cdef Readable binding = self._binding
        cdef PointReads store
        if binding is None:
            raise AttributeError("_binding")
        store = binding.readable
        if store is None:
            store = binding.reading(allow_stale)
            if store is None:
                raise TypeError("reading() returned None")
        return store
