"""What is measured, and how: the options of ``statestore bench``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from statestore.bench.candidates import Kind, backend
from statestore.bench.content import Content
from statestore.bench.references import REFERENCES, installed_references
from statestore.bench.topics import RESTORED, too_many
from statestore.bench.workload import Workload
from statestore.bench.workloads import WORKLOADS, chosen
from statestore.errors import ConfigError
from statestore.runtime.plugins import BACKENDS, installed

MOST_KEYS = 1_000_000_000
ROOM = 2
"""How many times the records a store may have at last, whose keys are longer otherwise."""

_BROKER = r"[^\s,/]+:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
_ADDRESS = re.compile(rf"{_BROKER}(,{_BROKER})*")


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Raises ``ConfigError`` naming the option whose value cannot be."""

    backends: str = ""
    """Names of backends, with commas between; nothing: all that are installed."""
    references: str = "all"
    """What is measured beside them: ``all`` that are installed, ``none``, or names with commas between."""
    workload: str = "ycsb"
    """Names of workloads or groups of them, with commas between."""
    keys: tuple[int, ...] = (100_000,)
    """Records of the store; several numbers show how each candidate grows."""
    key_size: int = 16
    """Bytes of a key, 8 to 500."""
    value_size: str = "100"
    """Bytes of a value, a range such as ``100..2000``, or a file whose lines are the values."""
    threads: tuple[int, ...] = (1,)
    """Each workload is measured with each number of threads."""
    seconds: float = 2.0
    """How long each workload runs in each round, after a warm-up of a fifth of that."""
    rounds: int = 2
    """How often all is measured, from 2; every second time in the opposite order."""
    rate: float | None = None
    """Operations a second at which operations are due; ``None``: each begins when the last one has ended."""
    durable: bool = False
    """Whether each write waits for the disk. Otherwise it does so as the mirror of a topic writes."""
    seed: int = 1
    """Of all that is drawn by chance."""
    kafka: str | None = None
    """The broker of the topics that are read; ``None``: one in this process, which keeps 20 MB of each."""

    def __post_init__(self) -> None:
        _within("--seconds", self.seconds, 0.01, 3_600)
        _within("--rounds", self.rounds, 2, 100)
        for keys in self.keys:
            _within("--keys", keys, 100, MOST_KEYS)
        for threads in self.threads:
            _within("--threads", threads, 1, 256)
        if self.rate is not None:
            _within("--rate", self.rate, 1, 10_000_000)
        content = Content(self.key_size, self.value_size, self.seed)
        if (least := len(str(2 * ROOM * max(self.keys)))) > self.key_size:
            raise ConfigError(
                f"--key-size {self.key_size}: too short for {max(self.keys):,} keys; give {least} or more"
            )
        if self.kafka is not None and not _ADDRESS.fullmatch(self.kafka):
            raise ConfigError(
                f"--kafka {self.kafka!r}: no address of a broker; give one such as localhost:9092"
            )
        chosen(self.workload)
        for keys in self.keys:
            if (why := self.unfit(WORKLOADS["restore"], keys, content)) and "restore" in _names(
                self.workload
            ):
                raise ConfigError(f"--workload restore: {why}")

    def unfit(self, workload: Workload, keys: int, content: Content) -> str | None:
        """Return why ``workload`` cannot be measured with ``keys`` here, and what to do about it."""
        return too_many(keys, content) if workload.topic == RESTORED and self.kafka is None else None

    def workloads(self) -> tuple[Workload, ...]:
        """Return what is run, in that order."""
        return chosen(self.workload)

    def candidates(self) -> tuple[Kind, ...]:
        """Return what is measured: each backend, the reference on the same library after it, then the others.

        Raises ``ConfigError`` for a name that nothing has, and for a reference that is not installed.
        """
        names = _names(self.backends) or installed(BACKENDS)
        backends = [backend(name) for name in dict.fromkeys(names)]
        stores = {one.store for one in self.workloads()}
        references = [REFERENCES[name] for name in self._references() if stores & {*REFERENCES[name].stores}]
        found: list[Kind] = []
        for one in backends:
            found.append(one)
            found += [reference for reference in references if reference.beside == one.name]
        # Of a library whose backend is not measured, only what was asked for by name.
        asked = set(_names(self.references)) - {"all", "none"}
        found += [one for one in references if one not in found and (one.beside is None or one.name in asked)]
        return tuple(found)

    def _references(self) -> list[str]:
        if self.references in {"all", "none"}:
            return installed_references() if self.references == "all" else []
        names = _names(self.references)
        if len(names) > 1 and {"all", "none"} & {*names}:
            raise ConfigError(
                f"--references {self.references}: all and none are given alone; leave them out, or the others"
            )
        for name in names:
            if name not in REFERENCES:
                raise ConfigError(
                    f"--references {name}: no reference has this name; there are {', '.join(REFERENCES)}, "
                    "all and none"
                )
            if name not in installed_references():
                raise ConfigError(
                    f"--references {name}: it is not installed here; install it, or leave it out"
                )
        return names


def _names(text: str) -> list[str]:
    return [name for name in (one.strip() for one in text.split(",")) if name]


def _within(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{option} {value:g}: must be from {least:g} to {most:,.0f}")
