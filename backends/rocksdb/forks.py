"""Whether RocksDB can work in this process: not in a child of one in which it has run.

RocksDB has one pool of threads for the whole process, which outlives its databases. A forked child inherits
the pool without the threads: the first flush there waits for them for ever.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from statestore.errors import ForkedProcessError

_THREADS = Path("/proc/self/task")
_NAME = "rocksdb:"  # how RocksDB calls its threads

_has_run = False  # here, by this library; others in the process may have used RocksDB, too
_runs_at_fork = False
_is_crippled = False


def opened() -> None:
    """Note that a database was opened in this process."""
    global _has_run
    _has_run = True


def check() -> None:
    """Raise ``ForkedProcessError`` where RocksDB would hang."""
    if _is_crippled:
        raise ForkedProcessError(
            f"RocksDB has run in the process that forked this one ({os.getpid()}), and would wait for ever "
            "for its threads, which a fork does not copy. Start this process with the method 'spawn' "
            "(multiprocessing.get_context('spawn')), fork before RocksDB is used, or use backend='lmdb' or "
            "'memory' in it"
        )


def _threads_run() -> bool:
    if _has_run:
        return True
    with contextlib.suppress(OSError):  # only Linux tells
        for task in _THREADS.iterdir():
            with contextlib.suppress(OSError):
                if (task / "comm").read_text().startswith(_NAME):
                    return True
    return False


def _before() -> None:
    global _runs_at_fork
    _runs_at_fork = _threads_run()


def _in_child() -> None:
    global _has_run, _is_crippled
    _has_run = False
    _is_crippled = _is_crippled or _runs_at_fork


os.register_at_fork(before=_before, after_in_child=_in_child)
