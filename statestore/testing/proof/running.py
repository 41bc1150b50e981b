"""A backend proven by the conformance suite, in a process of its own: what ``statestore prove`` does."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from statestore.backends import find_engine
from statestore.backends.contract import Engine
from statestore.backends.sharing import SharingEngine
from statestore.bench.machine import machine, versions
from statestore.errors import ConfigError
from statestore.runtime.plugins import BACKENDS, find
from statestore.testing.conformance.suite import BackendConformance
from statestore.testing.proof import child
from statestore.testing.proof.child import VARIABLE, load

FORMAT = 1
"""Of ``report.json``."""
KILLS = BackendConformance.kills
EXAMPLES = BackendConformance.machine_settings.max_examples

_LIMIT = 300.0
"""Seconds that a test may take, ..."""
_LIMIT_EACH = 5.0
"""... and more for each kill or sequence of calls that is asked for."""
_SPARE = 30.0
"""Seconds after that in which pytest-timeout ends a test that runs Python; then the process is killed."""
_GRACE = 15.0
"""Seconds that the process gets to end by itself after a Ctrl-C."""
_PYTEST = f"""
import json, os, sys
sys.path[:] = json.loads(os.environ["{VARIABLE}"])["path"]
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
"""pytest imports the suite, so that its assertions show values."""

_ATTRIBUTES = ("name", "max_key_size", "persistent", "options_type")
"""What an engine says of itself."""

Outcome = Literal["proven", "failed", "not applicable", "not run"]


class Case(msgspec.Struct, kw_only=True):
    """A test, in one of its variants."""

    name: str
    """With the variant, as ``--only`` takes it."""
    test: str
    group: str
    title: str
    promise: str
    """What it shows, as a sentence."""
    outcome: Outcome = "not run"
    seconds: float = 0.0
    done: dict[str, int] = {}
    """How much of what is counted: ``kills``, ``sequences``, ``damaged``."""
    why: str = ""
    """Why it does not apply."""
    message: str = ""
    """Of a failure."""
    details: str = ""


class Proof(msgspec.Struct, kw_only=True):
    """A run of ``statestore prove``."""

    format: int = FORMAT
    backend: str
    """As it was given."""
    engine: str
    """``module:class``."""
    package: str | None
    """The package of the engine and its version, where it is installed."""
    persistent: bool
    max_key_size: int
    started: str
    """In UTC, ISO 8601."""
    seconds: float = 0.0
    machine: dict[str, Any]
    versions: dict[str, str]
    kills: int
    examples: int
    only: list[str]
    left: int = 0
    """How many tests ``only`` left out."""
    interrupted: bool = False
    not_applicable: dict[str, str]
    """What of the suite is not for this engine, and why."""
    cases: list[Case] = []

    def with_outcome(self, outcome: Outcome) -> list[Case]:
        return [case for case in self.cases if case.outcome == outcome]

    @property
    def verdict(self) -> Literal["proven", "failed", "interrupted"]:
        if self.with_outcome("failed"):
            return "failed"
        return "interrupted" if self.interrupted else "proven"


class Progress(Protocol):
    """Told what happens, in the caller's thread."""

    def collected(self, cases: int) -> None: ...

    def began(self, case: Case) -> None: ...

    def ended(self, case: Case) -> None: ...


class SuiteError(Exception):
    """The suite did not begin; the text says what pytest said."""


@dataclass(frozen=True, slots=True)
class ProofOptions:
    """How much is searched."""

    kills: int = KILLS
    examples: int = EXAMPLES
    only: Sequence[str] = ()


def prove(backend: str, path: str, engine: type[Engine], options: ProofOptions, progress: Progress) -> Proof:
    """Run the suite on ``engine``, which ``path`` names as ``module:attribute``.

    A ``KeyboardInterrupt`` ends it, and what was proven up to then is returned. All files are temporary.
    Raises ``SuiteError``.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="statestore-prove-") as work:
        proof = Proof(
            backend=backend,
            engine=path,
            package=_package(engine),
            persistent=engine.persistent,
            max_key_size=engine.max_key_size,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=machine(Path(work)),
            versions=versions(),
            kills=options.kills,
            examples=options.examples,
            only=list(options.only),
            not_applicable=_not_applicable(engine),
        )
        run = _Run(proof, Path(work), progress)
        while not proof.interrupted and run.once():
            pass
    proof.seconds = time.monotonic() - began
    return proof


def resolve(backend: str) -> tuple[str, type[Engine]]:
    """Return where an engine is, as ``module:attribute``, and the engine.

    ``backend`` is a registered name, or that place itself. Raises ``ConfigError``.
    """
    if ":" in backend:
        try:
            path, found = backend, load(backend)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{backend}: cannot be imported as MODULE:CLASS: {error}") from error
    else:
        found = find_engine(backend)
        registered = find(BACKENDS, backend)
        assert registered is not None
        path = registered.value
    if not (inspect.isclass(found) and issubclass(found, Engine)):
        raise ConfigError(f"{backend}: is {found!r}, and not a class that extends statestore.backends.Engine")
    lacking = sorted(getattr(found, "__abstractmethods__", ()))
    lacking += [name for name in _ATTRIBUTES if not hasattr(found, name)]
    if lacking:
        raise ConfigError(f"{backend}: {found.__name__} has no {', '.join(lacking)}: define what is missing")
    return path, found


def _package(engine: type[Engine]) -> str | None:
    top = engine.__module__.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(top)
    return f"{names[0]} {importlib.metadata.version(names[0])}" if names else None


def _not_applicable(engine: type[Engine]) -> dict[str, str]:
    if issubclass(engine, SharingEngine):
        return {}
    return {"Processes that read beside the owner": "the engine has no open_reader (an optional ability)"}


class _Run:
    """The processes that run the suite. Each goes on after the test in which the one before it ended."""

    def __init__(self, proof: Proof, work: Path, progress: Progress) -> None:
        self._proof = proof
        self._work = work
        self._progress = progress
        self._limit = _LIMIT + _LIMIT_EACH * max(proof.kills, proof.examples)
        self._collected = False
        self._case: Case | None = None  # under way, ...
        self._last: Case | None = None  # ... and the one that ended last in the same process
        self._output = work / "output.txt"

    def once(self) -> bool:
        """Run what has not run yet; return whether there is something left."""
        reading, writing = os.pipe()
        arguments = {
            "engine": self._proof.engine,
            "kills": self._proof.kills,
            "examples": self._proof.examples,
            "only": self._proof.only,
            "limit": self._limit,
            "done": [case.name for case in self._proof.cases if case.outcome != "not run"],
            "path": sys.path,
            "pipe": writing,
        }
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        environment |= {VARIABLE: json.dumps(arguments), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        with self._output.open("wb") as output:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _PYTEST, *_options(self._work)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[writing],
                    env=environment,
                    cwd=self._work,
                    process_group=0,  # a Ctrl-C is told once, by this process
                )
            finally:
                os.close(writing)
        try:
            return self._follow(process, reading)
        finally:
            os.close(reading)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _follow(self, process: subprocess.Popen[bytes], reading: int) -> bool:
        stuck = False
        try:
            for line in _lines(process, reading, self._limit + _SPARE):
                if line is None:
                    stuck = True
                    break
                self._take(json.loads(line))
        except KeyboardInterrupt:
            self._proof.interrupted = True
            process.send_signal(signal.SIGINT)  # fixtures close stores and end processes
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(_GRACE)
            return False
        status = None if stuck else process.wait()
        if not self._collected:
            raise SuiteError(self._tail())
        if self._case is not None:
            self._lost(self._case, "during", status)
        elif self._proof.with_outcome("not run"):
            if self._last is None:
                raise SuiteError(self._tail())
            self._lost(self._last, "after", status)
        self._case = self._last = None
        return bool(self._proof.with_outcome("not run"))

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "collected":
            if not self._collected:
                self._collected = True
                self._proof.cases = [Case(**one) for one in event["tests"]]
                self._proof.left = event["left"]
                self._progress.collected(len(self._proof.cases))
        elif kind == "began":
            self._case = next(case for case in self._proof.cases if case.name == event["name"])
            self._progress.began(self._case)
        elif self._case is not None:
            case = self._last = self._case
            self._case = None
            case.seconds, case.done, case.why = event["seconds"], event["done"], event["why"]
            case.message, case.details = event["message"], event["details"]
            case.outcome = "failed" if event["failed"] else "not applicable" if case.why else "proven"
            self._progress.ended(case)

    def _lost(self, case: Case, when: str, status: int | None) -> None:
        """Note that the process ended ``when`` a test was run, or had to be ended."""
        if status is None:
            case.message = f"nothing happened for {self._limit:.0f} s {when} the test; its process was killed"
        elif status < 0:
            case.message = f"the process was ended by {signal.Signals(-status).name} {when} the test"
        else:
            case.message = f"the process ended with status {status} {when} the test"
        case.outcome, case.details = "failed", self._tail()
        self._progress.ended(case)

    def _tail(self) -> str:
        with self._output.open(errors="replace") as lines:
            return "".join(deque(lines, maxlen=60))


def _options(work: Path) -> list[str]:
    """Return pytest's command line: the suite alone, with nothing of the user's own configuration."""
    configuration = work / "pytest.ini"
    configuration.write_text("[pytest]\ntmp_path_retention_policy = failed\n")
    # A file that is left open fails, as does an exception that nobody catches; what is deprecated does not.
    warnings = (
        "ResourceWarning",
        "pytest.PytestUnraisableExceptionWarning",
        "pytest.PytestUnhandledThreadExceptionWarning",
    )
    return [
        str(Path(__file__).with_name("suite.py")),
        *("-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", child.__name__),
        *("-c", str(configuration), "--rootdir", str(work), "--basetemp", str(work / "stores")),
        *(text for warning in warnings for text in ("-W", f"error::{warning}")),
    ]


def _lines(process: subprocess.Popen[bytes], reading: int, patience: float) -> Iterator[bytes | None]:
    """Yield what the process tells until it has ended, ``None`` where it tells nothing for ``patience`` s.

    Its end is not that of the pipe: a child that it forked may live, and holds the other end.
    """
    rest, heard = b"", time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while True:
            has_ended = process.poll() is not None  # looked at first: what it told before is read below
            if selector.select(0 if has_ended else 0.2):
                piece = os.read(reading, 1 << 16)
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
                heard = time.monotonic()
                if not piece:
                    return
            elif has_ended:
                return
            elif time.monotonic() - heard > patience:
                yield None
                return
