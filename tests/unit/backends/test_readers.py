"""What is peculiar to the readers of each engine; ``testing/sharing.py`` has what all of them must do."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from statestore.backends import Batch, StoreOptions, sharing
from statestore.backends.lmdb.engine import LMDBEngine
from statestore.backends.lmdb.options import LMDBOptions
from statestore.backends.lmdb.store import LMDBBackend
from statestore.backends.memory import MemoryEngine
from statestore.errors import ConfigError, StoreUnavailableError
from statestore.testing.conformance.crashing import Victim
from statestore.testing.conformance.sharing import Owner
from statestore.testing.conformance.victim import read_until_stopped
from statestore.testing.forking import outcomes_in_child

OPTIONS = StoreOptions(changelog=True, shared=True)
NOBODY = 65534


def test_an_engine_without_the_ability_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match=r"'memory' cannot share .* use backend='lmdb' or 'rocksdb', or give"
    ):
        sharing(MemoryEngine(1 << 20))


def test_a_reader_of_lmdb_takes_over_the_size_that_its_owner_gave_the_file(tmp_path: Path) -> None:
    options = LMDBOptions(map_size=1 << 20, max_map_size=1 << 26, grow_timeout=0.0)
    with Victim(partial(LMDBEngine, 16 << 20, options)) as victim:
        owner = Owner(victim, tmp_path / "store")
        owner.write(1)
        reader = LMDBEngine(16 << 20, options).open_reader(tmp_path / "store", OPTIONS)
        snapshot = reader.snapshot()
        owner.tell("write", Batch([(b"large", b"x" * (5 << 20))]))
        with pytest.raises(StoreUnavailableError, match="cannot grow under 1 open snapshots"):
            reader.get(b"large")
        assert snapshot.get(b"count") == b"1"
        snapshot.close()
        assert reader.get(b"large") == b"x" * (5 << 20)
        assert [key for key, _ in reader.scan(limit=1)] == [b"000001-0"]
        reader.close()
        owner.close()


def test_what_a_killed_reader_of_lmdb_was_reading_is_given_up(tmp_path: Path) -> None:
    factory = partial(LMDBEngine, 16 << 20)
    with factory().open(tmp_path / "store", OPTIONS) as owner, Victim(factory) as victim:
        assert isinstance(owner, LMDBBackend)

        def processes() -> set[str]:
            return {line.split()[0] for line in owner._environment.readers().splitlines()[1:]}

        process = victim.start(read_until_stopped, tmp_path / "store", True, tmp_path / "stop")
        assert victim.receive()[0] == "opened"
        while str(process) not in processes():  # until its first read
            time.sleep(0.001)
        os.kill(process, signal.SIGKILL)
        assert victim.receive()[0] == "killed"
        assert str(process) in processes()
        owner.flush()
        assert str(process) not in processes()


@pytest.fixture
def readable() -> Iterator[Path]:
    """A store that this user may write, and others may only read, as this one itself may not be root."""
    with TemporaryDirectory() as place:
        directory = Path(place) / "store"
        with LMDBEngine(1 << 20).open(directory, OPTIONS) as store:
            store.write(Batch([(b"k", b"v")]))
        for path in (Path(place), *directory.rglob("*"), directory):
            path.chmod(0o555 if stat.S_ISDIR(path.stat().st_mode) else 0o444)
        yield directory
        for path in (Path(place), directory, *directory.rglob("*")):
            path.chmod(0o755)


def test_who_may_only_read_the_files_of_lmdb_reads_them_while_nobody_writes(readable: Path) -> None:
    def read() -> None:
        if os.getuid() == 0:
            os.setuid(NOBODY)
        with LMDBEngine(1 << 20).open_reader(readable, OPTIONS) as reader:
            assert reader.get(b"k") == b"v"
            with pytest.raises(StoreUnavailableError, match="is open already"):
                LMDBEngine(1 << 20).open(readable, OPTIONS)
            with pytest.raises(StoreUnavailableError, match="may only read"):
                reader.promote(OPTIONS)

    assert outcomes_in_child({"read": read}) == {"read": "returned"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can own what another user reads")
def test_who_cannot_tell_the_owner_what_it_reads_is_refused(readable: Path) -> None:
    def read() -> None:
        os.setuid(NOBODY)
        with pytest.raises(StoreUnavailableError, match=r"may not write its lock\.mdb"):
            LMDBEngine(1 << 20).open_reader(readable, OPTIONS)

    with LMDBEngine(1 << 20).open(readable, OPTIONS):
        assert outcomes_in_child({"read": read}) == {"read": "returned"}
