# cython: binding=False
# Methods and functions as C has them: a call takes a sixth less than through a function object of Cython's.

"""Native core: key codec, window keys, runs of writes and the apply loop.

One extension from several files: each ``.pxi`` is one part. What each must do is written down in Python, in
``statestore/core/pure.py`` (the memory engine's map: in ``backends/memory/ordered.py``); a test holds both to the
same bytes and the same errors.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from statestore.core import common

include "bytes.pxi"
include "keycodec.pxi"
include "windowkey.pxi"
include "keypattern.pxi"
include "run.pxi"
include "partitioners.pxi"
include "keyrange.pxi"
include "scan.pxi"
include "scanranges.pxi"
include "windowrows.pxi"
include "segments.pxi"
include "decode.pxi"
include "cells.pxi"
include "evaluate.pxi"
include "program.pxi"
include "groups.pxi"
include "columns.pxi"
include "fold.pxi"
include "ordered.pxi"
include "kafka.pxi"
include "held.pxi"
include "assigned.pxi"
include "fetcher.pxi"
include "cache.pxi"
include "reads.pxi"
include "windows.pxi"
