"""The descriptors of files that stores take, of which a process may have only so many.

The system has two limits for each process. The soft one counts, and is often 1,024. The process may raise it
as far as the hard one, which is often half a million. An engine that needs more than the soft limit allows
raises it, so that a manager with many stores opens. Where the hard limit is too low, a store is refused
before RocksDB or LMDB runs out of descriptors in the middle of a write, and before sockets do.
"""

from __future__ import annotations

import logging
import resource
from pathlib import Path

from statestore.errors import StoreUnavailableError
from statestore.runtime.weak import LivingKeys

_log = logging.getLogger("statestore.store")

_RESERVE = 128
"""Descriptors for the rest of the program: sockets, its own files."""
_LEAST = 20
"""The fewest files of data that a store may keep open. RocksDB takes no smaller number."""
_SPARE = 16
"""Descriptors that have to be free after a store was opened."""
_PART = 8
"""Where descriptors are short, a store gets this part of those that are left."""

REMEDY = (
    "let the process have more open files: raise the limit (`ulimit -n`, its hard part `ulimit -Hn`; "
    "LimitNOFILE= in systemd, --ulimit nofile= in Docker), or open fewer stores in one process"
)


class Descriptors:
    """Divides the descriptors of the process among the stores of one engine."""

    def __init__(self, engine: str, fixed: int) -> None:
        """``fixed`` is what each store takes whatever is in it."""
        self._engine = engine
        self._fixed = fixed
        self._given: LivingKeys[object, int] = LivingKeys()

    def take(self, directory: Path, wanted: int) -> int:
        """Return how many files of data a store in ``directory`` may keep open, at most ``wanted``.

        ``wanted`` may be -1, any number, and is returned then. Raises
        :class:`~statestore.errors.StoreUnavailableError` where the process cannot have what a store needs.
        """
        used = _in_use()
        given = sum(self._given)
        needed = max(given, used) + self._fixed + max(wanted, 0) + _RESERVE
        limit = _allow(needed)
        if limit is None:
            return wanted
        if used + self._fixed + _SPARE > limit:
            raise StoreUnavailableError(
                directory,
                f"opening: the process has {used:,} files open and may have {limit:,}; "
                f"a store of {self._engine} needs {self._fixed + _SPARE}",
                REMEDY,
            )
        if wanted < 0 or needed <= limit:
            return wanted
        return min(wanted, max(_LEAST, (limit - _RESERVE - given - self._fixed) // _PART))

    def given(self, store: object, files: int) -> None:
        """Note that ``store`` may keep open so many files of data, until it is gone."""
        self._given.put(store, self._fixed + max(files, 0))


def _in_use() -> int:
    """Return how many descriptors the process has; 0 where the system does not tell."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return 0


def _allow(count: int) -> int | None:
    """Let the process have ``count`` descriptors if it may. Return how many it has, ``None`` for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if wanted <= soft:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS has a limit of its own besides
        return soft
    _log.info("this process may have %d files open now, which its stores need; before: %d", wanted, soft)
    return wanted
