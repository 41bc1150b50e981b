"""The contract of :mod:`statestore.backends.sharing`, as tests for an engine with that ability.

They are given as those of :class:`~statestore.testing.BackendConformance` are::

    class TestShelfShared(SharingConformance):
        @pytest.fixture
        def engine_factory(self):
            return partial(ShelfEngine, memory_budget=16 << 20)

The store is owned by another process, and read in the one of the tests. ``kills`` says how often an owner is
killed under ``readers`` processes that read.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from statestore.backends.contract import Engine, StoreOptions
from statestore.backends.sharing import ReadOnlyBackend, SharingEngine
from statestore.errors import StoreClosedError, StoreMissingError, StoreUnavailableError
from statestore.testing.conformance import victim as program
from statestore.testing.conformance.crashing import SuiteFixtures, Victim, Victims, an_instant
from statestore.testing.conformance.tally import DONE
from statestore.testing.conformance.victim import (
    COUNT,
    batch,
    content,
    own,
    read_until_stopped,
    write_until_killed,
)
from statestore.testing.forking import outcomes_in_child
from statestore.testing.threads import limited

OPTIONS = StoreOptions(changelog=True)


class Owner:
    """A process that owns a store, and does with it what it is told."""

    def __init__(self, victim: Victim, directory: Path, *, changelog: bool = True) -> None:
        self._victim = victim
        self._process = victim.start(own, directory, changelog)
        self._receive()
        self._ended = False

    def _send(self, name: str, arguments: tuple[Any, ...]) -> None:
        requests, _ = self._victim.pipes()
        program.send(requests.fileno(), (name, arguments))

    def _receive(self) -> None:
        kind, told = self._victim.receive()
        assert kind == "did", told

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method of the owner's store, and return when it has; ``load`` is given batches."""
        self._send(method, arguments)
        self._receive()

    def write(self, number: int) -> None:
        """Make the content that of ``content(number)``, from the one before."""
        self.tell("write", batch(number))

    def kill(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        self._ended = True
        assert self._victim.receive() == ("killed", "SIGKILL")
        DONE["kills"] += 1

    def close(self) -> None:
        if not self._ended:
            self.tell("close")
            self._ended = True
            assert self._victim.receive() == ("ended", 0)


class SharingConformance(SuiteFixtures):
    """Every sentence of the contract; subclass it and override ``engine_factory``."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        limited(cls)

    kills = 20
    """How often an owner is killed while others read."""
    readers = 3
    """How many processes read then."""

    @pytest.fixture
    def owner(self, victim: Victim, directory: Path) -> Iterator[Owner]:
        """A process that owns the store, which has the content after one batch."""
        owner = Owner(victim, directory)
        owner.write(1)
        yield owner
        owner.close()

    @pytest.fixture
    def reader(self, engine: Engine, owner: Owner, directory: Path) -> Iterator[ReadOnlyBackend]:  # noqa: ARG002
        reader = opened(engine, directory)
        yield reader
        reader.close()

    def test_a_reader_sees_what_was_written_before_it_caught_up(
        self, reader: ReadOnlyBackend, owner: Owner
    ) -> None:
        assert dict(reader.scan()) == content(1)
        for number in (2, 3, 4, 5):
            owner.write(number)
            if number == 4:
                owner.tell("flush")
            before = number - 1 if not reader.live else number
            assert dict(reader.scan()) == content(before)
            assert reader.get(COUNT) == b"%d" % before
            assert reader.catch_up()
            assert dict(reader.scan()) == content(number)
            assert reader.get_many([COUNT, b"absent"]) == [b"%d" % number, None]
        while reader.catch_up():  # what an owner does by itself may look like a change
            pass
        assert dict(reader.scan(reverse=True, limit=1)) == {COUNT: b"5"}
        assert reader.approximate_count() >= 0
        assert reader.size() > 0

    def test_a_snapshot_and_a_scan_stay_what_they_were(self, reader: ReadOnlyBackend, owner: Owner) -> None:
        reader.catch_up()
        snapshot, scan = reader.snapshot(), reader.scan()
        first = next(scan)
        assert reader.is_in_use
        number = 1
        for method in ("flush", "compact", "flush", "compact"):
            owner.tell("load", batch(number + 1))
            owner.write(number + 2)
            owner.tell(method)
            reader.catch_up()
            number += 2
            assert dict(reader.scan()) == content(number)
            assert dict(snapshot.scan()) == content(1)
            assert snapshot.get(COUNT) == b"1"
            assert snapshot.get_many([COUNT, b"absent"]) == [b"1", None]
        assert [first, *scan] == sorted(content(1).items())
        snapshot.close()
        assert not reader.is_in_use
        with pytest.raises(StoreClosedError):
            snapshot.get(COUNT)

    def test_a_killed_owner_and_the_next_one_take_nothing_back(
        self, engine: Engine, victim: Victim, directory: Path
    ) -> None:
        owner = Owner(victim, directory)
        owner.write(1)
        reader = opened(engine, directory)
        for number in range(2, 5):
            owner.write(number)
            reader.catch_up()
            owner.kill()
            reader.catch_up()
            assert dict(reader.scan()) == content(number)
            owner = Owner(victim, directory)
            reader.catch_up()
            assert dict(reader.scan()) == content(number)
        reader.close()
        owner.close()

    def test_where_no_store_is_there_is_nothing_to_read_and_nothing_is_made(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("absent", "empty"):
            with pytest.raises(StoreMissingError):
                opened(engine, tmp_path / name)
        assert [path.name for path in tmp_path.rglob("*")] == ["empty"]

    def test_a_reader_makes_and_removes_no_file(self, reader: ReadOnlyBackend, directory: Path) -> None:
        before = sorted(directory.rglob("*"))
        reader.catch_up()
        list(reader.scan())
        reader.close()
        assert sorted(directory.rglob("*")) == before

    def test_deleted_files_are_read_on_and_told_of(
        self, reader: ReadOnlyBackend, owner: Owner, directory: Path
    ) -> None:
        reader.catch_up()
        with reader.snapshot() as snapshot:
            directory.rename(directory.with_name("gone"))
            with pytest.raises(StoreMissingError):
                reader.catch_up()
            assert dict(reader.scan()) == dict(snapshot.scan()) == content(1)
            assert reader.get(COUNT) == b"1"
            directory.with_name("gone").rename(directory)
        owner.write(2)
        reader.catch_up()
        assert reader.get(COUNT) == b"2"

    def test_a_closed_reader_raises_and_the_owner_goes_on(
        self, reader: ReadOnlyBackend, owner: Owner
    ) -> None:
        scan, snapshot = reader.scan(), reader.snapshot()
        next(scan)
        reader.close()
        reader.close()
        for call in (
            lambda: reader.get(COUNT),
            lambda: reader.get_many([COUNT]),
            reader.scan,
            reader.snapshot,
            reader.catch_up,
            reader.size,
            lambda: list(scan),
            lambda: snapshot.get(COUNT),
        ):
            with pytest.raises(StoreClosedError):
                call()
        owner.write(2)

    def test_a_forked_child_uses_nothing_of_a_reader(self, reader: ReadOnlyBackend, owner: Owner) -> None:
        scan, snapshot = reader.scan(), reader.snapshot()
        ended = outcomes_in_child(
            {
                "get": lambda: reader.get(COUNT),
                "catch_up": reader.catch_up,
                "promote": lambda: reader.promote(OPTIONS),
                "scan": lambda: next(scan),
                "snapshot": lambda: snapshot.get(COUNT),
                "close": reader.close,
            }
        )
        assert ended == dict.fromkeys(ended, "ForkedProcessError")
        owner.write(2)
        reader.catch_up()
        assert reader.get(COUNT) == b"2"

    def test_the_owner_of_a_store_cannot_be_another_process_too(
        self, reader: ReadOnlyBackend, owner: Owner
    ) -> None:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                reader.promote(OPTIONS)
        owner.write(2)
        reader.catch_up()
        assert reader.get(COUNT) == b"2"

    @pytest.mark.parametrize("end", ["close", "kill"])
    def test_a_reader_becomes_the_owner_and_its_reads_go_on(
        self, engine: Engine, owner: Owner, reader: ReadOnlyBackend, directory: Path, end: str
    ) -> None:
        owner.tell("compact")  # the file that counts may be another now
        owner.write(2)
        reader.catch_up()
        snapshot, scan = reader.snapshot(), reader.scan()
        seen = dict(snapshot.scan())
        first = next(scan)
        getattr(owner, end)()
        backend = reader.promote(OPTIONS)
        assert dict(backend.scan()) == content(2)
        backend.write(batch(3))
        backend.load([program.Run(batch(4))])
        backend.compact()
        assert not reader.catch_up()
        assert reader.get(b"000002-0") == b"2"
        assert dict(snapshot.scan()) == dict([first, *scan]) == seen
        snapshot.close()
        reader.close()
        with pytest.raises(StoreClosedError):
            reader.get(COUNT)
        assert dict(backend.scan()) == content(4)
        backend.close()
        with engine.open(directory, OPTIONS) as store:
            assert dict(store.scan()) == content(4)

    def test_no_reader_sees_half_of_a_batch_or_an_earlier_one_whatever_becomes_of_its_owner(
        self,
        engine_factory: Callable[[], Engine],
        victims: Victims,
        victim: Victim,
        directory: Path,
        tmp_path: Path,
    ) -> None:
        instants = random.Random(7)
        stop = tmp_path / "stop"
        Owner(victim, directory).close()
        with ExitStack() as processes:
            readers = [processes.enter_context(victims.lend(engine_factory)) for _ in range(self.readers)]
            for reader in readers:
                reader.start(read_until_stopped, directory, True, stop)
                assert reader.receive()[0] == "opened"
            written = 0
            for _ in range(self.kills):
                told = victim.run(write_until_killed, directory, True, True, kill_after=an_instant(instants))
                assert told[-1] == ("killed", "SIGKILL"), told[-1][1]
                opened_at = told[0][1]
                assert opened_at >= written, f"batch {written} was written, {opened_at} is the last one there"
                written = max(number for kind, number in told if kind != "killed")
            stop.touch()
            for reader in readers:
                kind, seen = reader.receive()
                assert kind == "saw", seen
                assert seen >= written
                assert reader.receive() == ("ended", 0)


def opened(engine: Engine, directory: Path) -> ReadOnlyBackend:
    assert isinstance(engine, SharingEngine)
    return engine.open_reader(directory, OPTIONS)
