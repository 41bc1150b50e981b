"""What there is to tell of this machine: its name and addresses are not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from statestore.core import FAST_PATHS, IMPLEMENTATION, uses

_PACKAGES = (
    "statestore",
    "rocksdict",
    "lmdb",
    "confluent-kafka",
    "msgspec",
    "diskcache",
    "plyvel",
    "zict",
    "sortedcontainers",
    "msgpack",
    "hdrhistogram",
)
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def machine(directory: Path) -> dict[str, Any]:
    """Describe the machine, and the file system of ``directory``; ``None`` for what it does not tell."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "governor": _first_line(_GOVERNOR),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file_system": _file_system(directory),
        "load": load(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of what is measured, as far as it is installed."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    off = [path for path in FAST_PATHS if not uses(path)]
    found["implementation"] = f"{IMPLEMENTATION}{' without ' + ', '.join(off) if off else ''}"
    return found


def described(machine: Mapping[str, Any], versions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the machine and the versions as they are shown: what each line is about, and what it says."""
    memory = machine.get("memory")
    return [
        ("processor", f"{machine.get('processor') or '?'}, {machine.get('usable_cores') or '?'} cores"),
        ("governor", machine.get("governor") or "not told"),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else "not told"),
        ("system", f"{machine.get('system') or '?'}, {machine.get('file_system') or '?'}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def load() -> float | None:
    """Return the load average of the last minute: how many threads wanted a processor."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def private_memory(process: int) -> int | None:
    """Return the private memory of a process in bytes, ``RssAnon``; ``None`` where it is not told."""
    try:
        with Path(f"/proc/{process}/status").open() as lines:
            for line in lines:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _processor() -> str | None:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _file_system(directory: Path) -> str | None:
    """Return the type of the file system, of the mount that ``directory`` is below."""
    if sys.platform != "linux":
        return None
    path = directory.resolve()
    found: tuple[int, str | None] = (-1, None)
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if path.is_relative_to(mount) and len(mount) > found[0]:
            found = len(mount), kind
    return found[1]


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
