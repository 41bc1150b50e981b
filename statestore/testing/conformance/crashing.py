"""Conformance: ``kill -9`` at random instants (*Atomicity* of the contract), and damaged files (*Errors*)."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pytest

from statestore.backends.contract import Engine, KeyRange, StoreOptions
from statestore.errors import StoreUnavailableError
from statestore.storage.layout import WINDOWS
from statestore.storage.window_store import WindowStore
from statestore.testing.conformance import victim as program
from statestore.testing.conformance.tally import DONE, keeps
from statestore.testing.conformance.victim import (
    COUNT,
    WINDOW,
    batch,
    close_under_scans,
    content,
    expire_until_killed,
    read_all,
    visible_windows,
    write_until_killed,
)
from statestore.testing.threads import LIVENESS


class Victim:
    """A process that calls ``factory``, and the functions of ``victim.py``, in children; use it in ``with``.

    ``factory`` is pickled: it is a class or a function of a module, or ``functools.partial`` of one.
    """

    def __init__(self, factory: Callable[[], Engine]) -> None:
        try:
            pickled = pickle.dumps(factory)
        except Exception as error:
            raise TypeError(
                "engine_factory is used in another process, so it must be possible to pickle it: a class or "
                f"a function at the top of a module, or functools.partial of one; not {factory!r}"
            ) from error
        files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
        self._factory = pickle.dumps((sys.path, files, pickled))
        self._process: subprocess.Popen[bytes] | None = None
        self.is_idle = True
        """Whether every child has ended, and told so."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return what the process reads from and what it writes to; start it the first time."""
        process = self._process
        if process is None:
            # -P: the folder of the file has modules of the names of others.
            command = [sys.executable, "-P", program.__file__]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdin is not None
            program.send(process.stdin.fileno(), ("factory", self._factory))
            self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        return process.stdin, process.stdout

    def start(self, function: Callable[..., object], *arguments: Any) -> int:
        """Have a child call a function of ``victim.py``; return its process id."""
        requests, _ = self.pipes()
        self.is_idle = False
        program.send(requests.fileno(), (function.__name__, arguments))
        _, child = self.receive()
        process: int = child
        return process

    def receive(self) -> tuple[str, Any]:
        """Return the next thing that a child tells, or how it ended."""
        told = program.receive(self.pipes()[1])
        self.is_idle = told[0] in program.ENDS
        return told

    def run(
        self, function: Callable[..., object], *arguments: Any, kill_after: tuple[int, float] | None = None
    ) -> list[tuple[str, Any]]:
        """Return what a function of ``victim.py`` told in a child; the last is how the child ended.

        That is ``("ended", 0)``, ``("failed", text)`` after an exception, or ``("killed", signal)``.
        ``kill_after=(number, seconds)``: the child gets SIGKILL so many seconds after it told so many things.
        """
        child = self.start(function, *arguments)
        timers = [threading.Timer(LIVENESS, os.kill, (child, signal.SIGKILL))]
        timers[0].start()
        told = [self.receive()]
        while told[-1][0] not in program.ENDS:
            if kill_after is not None and len(told) == kill_after[0]:
                timers.append(threading.Timer(kill_after[1], os.kill, (child, signal.SIGKILL)))
                timers[1].start()
            told.append(self.receive())
        for timer in timers:
            timer.cancel()
        DONE["kills"] += told[-1][0] == "killed"
        return told


class Victims:
    """Lends the process of a factory to one test after the other: its start takes longer than most of them.

    A process in which something still runs after its test, which has failed then, is not lent again.
    """

    def __init__(self) -> None:
        self._free: defaultdict[bytes, list[Victim]] = defaultdict(list)

    @contextmanager
    def lend(self, factory: Callable[[], Engine]) -> Iterator[Victim]:
        """Give a process that calls ``factory``, which nobody else has in the meantime."""
        fresh = Victim(factory)
        free = self._free[pickle.dumps(factory)]
        with ExitStack() as stack:
            victim = stack.enter_context(free.pop() if free else fresh)
            yield victim
            if victim.is_idle:
                stack.pop_all()
                free.append(victim)

    def close(self) -> None:
        for free in self._free.values():
            for victim in free:
                victim.close()


_VICTIMS = pytest.StashKey[Victims]()


class SuiteFixtures:
    """What the suites have in common: an engine, a directory, and processes of their own."""

    @pytest.fixture
    def engine_factory(self) -> Callable[[], Engine]:
        """Return a callable that makes a new engine. Override this."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture engine_factory")

    @pytest.fixture
    def engine(self, engine_factory: Callable[[], Engine]) -> Iterator[Engine]:
        engine = engine_factory()
        yield engine
        engine.close()

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """Where the store has its files."""
        return tmp_path / "store"

    @pytest.fixture
    def victims(self, request: pytest.FixtureRequest) -> Victims:
        """The processes of the tests of a class."""
        # No fixture of that scope: pytest 9 warns of those that are methods, 8 knows no others in classes.
        of_class: pytest.Class = request.node.getparent(pytest.Class)
        if _VICTIMS not in of_class.stash:
            of_class.stash[_VICTIMS] = victims = Victims()
            of_class.addfinalizer(victims.close)
        return of_class.stash[_VICTIMS]

    @pytest.fixture
    def victim(self, victims: Victims, engine_factory: Callable[[], Engine]) -> Iterator[Victim]:
        """A process in which ``engine_factory`` is called."""
        with victims.lend(engine_factory) as victim:
            yield victim


NOISE = random.Random(7).randbytes(1 << 16)


def garbage(file: Path) -> None:
    size = file.stat().st_size
    file.write_bytes((NOISE * (size // len(NOISE) + 1))[: max(size, 64)])


def foreign(file: Path) -> None:
    file.write_text("This is a text, and no part of a store.\n" * 200)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def half(file: Path) -> None:
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 2)


def missing(file: Path) -> None:
    file.unlink()


class CrashTests(SuiteFixtures):
    kills = 50
    """How many times a process that writes is killed, half of them with a changelog."""

    @pytest.mark.parametrize("changelog", [False, True])
    def test_a_killed_store_comes_back_as_of_one_of_its_writes(
        self, engine: Engine, victim: Victim, directory: Path, changelog: bool
    ) -> None:
        """A store whose process is killed (kill -9) comes back as of one of its writes: whole batches."""
        instants = random.Random(7)
        least = 0
        for _ in range(max(1, self.kills // 2) if keeps(engine) else 1):
            told = victim.run(write_until_killed, directory, changelog, kill_after=an_instant(instants))
            assert told[-1] == ("killed", "SIGKILL"), told[-1][1]
            with engine.open(directory, StoreOptions(changelog=changelog)) as store:
                found = dict(store.scan())
            if not keeps(engine):
                assert found == {}
                continue
            count = int(found.get(COUNT, 0))
            assert found == content(count), f"half of a batch: not the content after batch {count}"
            # Without a changelog each write that returned survives.
            survives = ("durable",) if changelog else ("written", "durable")
            least = max([least, *(number for kind, number in told if kind in survives)])
            most = max(number for kind, number in told if kind != "killed") + 1
            assert least <= count <= most, f"batch {least} had returned, {count} is the last that is there"
            least = count

    def test_a_killed_store_of_windows_has_what_is_visible(
        self, engine: Engine, victim: Victim, directory: Path
    ) -> None:
        """A store of windows whose process is killed has what is visible, and no more."""
        instants = random.Random(11)
        least = 0
        for number in range(max(1, self.kills // 2) if keeps(engine) else 1):
            changelog = bool(number % 2)
            told = victim.run(expire_until_killed, directory, changelog, kill_after=an_instant(instants))
            assert told[-1] == ("killed", "SIGKILL"), told[-1][1]
            with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
                store = WindowStore("windows", backend, 100, WINDOW)
                found = list(store.fetch_all())
                count = max((int(value) for _, _, value in found), default=0)
                assert found == visible_windows(count), f"not what is visible after batch {count}"
                left = {key[1:5] for key, _ in backend.scan(KeyRange(prefix=WINDOWS))}
                assert len(left) <= 5, f"of the segments that ended some is left: {sorted(left)}"
                backend.flush()
            if keeps(engine):
                survives = ("durable",) if changelog else ("written", "durable")
                least = max([least, *(one for kind, one in told if kind in survives)])
                most = max(one for kind, one in told if kind != "killed") + 1
                assert least <= count <= most, f"batch {least} had returned, {count} is the last one"
                least = count

    def test_a_close_survives_scans_that_end_in_other_threads(self, victim: Victim, tmp_path: Path) -> None:
        """A close survives scans that end in other threads."""
        told = victim.run(close_under_scans, tmp_path)
        assert told[-1] == ("ended", 0), f"after {len(told) - 1} rounds: {told[-1]}"

    @pytest.fixture
    def closed_directory(self, engine: Engine, directory: Path) -> Path:
        """The directory of a closed store with some content."""
        with engine.open(directory, StoreOptions()) as store:
            for number in range(1, 8):
                store.write(batch(number))
            store.flush()
            store.compact()
            for number in range(8, 11):
                store.write(batch(number))
        return directory

    def test_a_damaged_file_gives_an_error_or_what_was_once_there(
        self, engine: Engine, victim: Victim, closed_directory: Path, tmp_path: Path
    ) -> None:
        """A damaged file gives an error with a remedy, or what was once there.

        Never a mixture, another error, or the end of the process.
        """
        once = [content(number) for number in range(11)]
        files = files_below(closed_directory) if keeps(engine) else []
        for damage in (garbage, foreign, empty, half, missing):
            for number, file in enumerate(files):
                copy = tmp_path / f"{damage.__name__}{number}"
                shutil.copytree(closed_directory, copy)
                damage(copy / file.relative_to(closed_directory))
                DONE["damaged"] += 1
                what, found = told_by(victim, copy)
                when = f"with the file {file.name} damaged ({damage.__name__})"
                if what == "content":
                    assert found in once, f"{when} the store has a content that it never had"
                else:
                    assert_unavailable(what, found, copy, when)

    def test_files_that_are_no_store_are_an_error(
        self, engine: Engine, victim: Victim, closed_directory: Path
    ) -> None:
        for damage in (garbage, foreign) if keeps(engine) else ():
            for file in files_below(closed_directory):
                damage(file)
                DONE["damaged"] += 1
            what, found = told_by(victim, closed_directory)
            when = f"with every file damaged ({damage.__name__})"
            assert_unavailable(what, found, closed_directory, when)

    def test_what_is_no_directory_is_an_error(self, engine: Engine, tmp_path: Path) -> None:
        if not keeps(engine):
            return
        file, orphan = tmp_path / "file", tmp_path / "absent" / "store"
        file.write_text("a text")
        for place in (file, orphan):
            with pytest.raises(StoreUnavailableError) as caught:
                engine.open(place, StoreOptions())
            assert caught.value.path == place
            assert caught.value.remedy
        assert file.read_text() == "a text"
        assert not orphan.parent.exists()


def an_instant(instants: random.Random) -> tuple[int, float]:
    """Return when to kill: on a busy machine, too, the child has most often written something by then."""
    return instants.randint(1, 12), instants.choice((0.0, 0.004, 0.02, 0.08)) * instants.random()


def files_below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def told_by(victim: Victim, directory: Path) -> tuple[str, Any]:
    *told, end = victim.run(read_all, directory, False)
    return told[-1] if end == ("ended", 0) else end


def assert_unavailable(what: str, found: Any, directory: Path, when: str) -> None:
    assert what == "unavailable", (
        f"{when} opening and reading gave {what}: {found}, not StoreUnavailableError"
    )
    _, path, remedy = found
    assert Path(path).is_relative_to(directory), f"{when} the error names {path}"
    assert remedy, f"{when} the error names no remedy"
