"""Each fault on each engine: every call that may fail does, says so, and leaves the store as it was."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from statestore import StoreFullError, StoreManager, StoreUnavailableError
from statestore.backends import Backend, Batch, Engine, KeyRange, StoreOptions, find_engine, sharing
from statestore.core.common import PairRun
from statestore.testing import BrokenScenarioError, StoreFaults, fail_every_call
from statestore.testing.faults import CALLS, CHANGES

ROWS = [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
PERSISTENT = ("rocksdb", "lmdb")


@pytest.fixture
def faults() -> Iterator[StoreFaults]:
    with StoreFaults() as made:
        yield made


@pytest.fixture
def engine(request: pytest.FixtureRequest, faults: StoreFaults) -> Iterator[Engine]:
    made = find_engine(request.param)(16 << 20)
    yield made
    made.close()


every_engine = pytest.mark.parametrize("engine", ["memory", *PERSISTENT], indirect=True)
persistent = pytest.mark.parametrize("engine", PERSISTENT, indirect=True)


@pytest.fixture
def store(engine: Engine, tmp_path: Path) -> Iterator[Backend]:
    with closing(engine.open(tmp_path / "s", StoreOptions())) as made:
        made.write(Batch(ROWS))
        made.flush()
        yield made


USES: dict[str, Callable[[Backend], object]] = {
    "write": lambda store: store.write(Batch([(b"d", b"4")], [b"a"])),
    "load": lambda store: store.load([PairRun([(b"d", b"4")], [b"a"])]),
    "delete_range": lambda store: store.delete_range(KeyRange(b"a", b"c")),
    "flush": lambda store: store.flush(),
    "get": lambda store: store.get(b"a"),
    "get_many": lambda store: store.get_many([b"a", b"b"]),
    "scan": lambda store: store.scan().close(),
    "step": lambda store: [*store.scan()],
    "snapshot": lambda store: store.snapshot().close(),
    "compact": lambda store: store.compact(),
}


@every_engine
def test_each_call_fails_once_and_has_done_nothing(store: Backend, faults: StoreFaults) -> None:
    for name, use in USES.items():
        faults.fail(of=[name])
        with pytest.raises(StoreUnavailableError, match=r"input/output error \(a fault of this test\)"):
            use(store)
        assert faults.failed[-1].name == name
        assert [*store.scan()] == ROWS, name
    for use in USES.values():
        use(store)
    assert {"open", "checkpoint", "catch_up", *USES} == {*CALLS}


@persistent
def test_a_checkpoint_that_fails_has_made_none(
    engine: Engine, store: Backend, faults: StoreFaults, tmp_path: Path
) -> None:
    faults.fail(of=["checkpoint"])
    with pytest.raises(StoreUnavailableError):
        store.checkpoint(tmp_path / "copy")
    store.checkpoint(tmp_path / "copy")
    with closing(engine.open(tmp_path / "copy", StoreOptions())) as copy:
        assert [*copy.scan()] == ROWS


@every_engine
def test_a_scan_fails_in_the_middle_and_goes_on(store: Backend, faults: StoreFaults) -> None:
    with store.snapshot() as snapshot:
        for pairs, rows in ((store.scan(), ROWS), (snapshot.scan(reverse=True), ROWS[::-1])):
            faults.fail(2, of=["step"])
            assert next(pairs) == rows[0]
            with pytest.raises(StoreUnavailableError):
                next(pairs)
            assert [*pairs] == rows[1:]


@every_engine
def test_what_is_loaded_in_bulk_is_torn_and_flipped_like_a_batch(store: Backend, faults: StoreFaults) -> None:
    faults.tear()
    with pytest.raises(StoreUnavailableError):
        store.load([PairRun([(b"d", b"4")], [b"a"]), PairRun([(b"e", b"5"), (b"f", b"6")])])
    assert [*store.scan()] == [*ROWS[1:], (b"d", b"4")]
    faults.flip_bit()
    store.load([PairRun([(b"d", b"4")]), PairRun([(b"e", b"5")])])
    assert [*store.scan()] == [*ROWS[1:], (b"d", b"5"), (b"e", b"5")]
    store.load([PairRun([(b"d", b"4")])])
    assert store.get(b"d") == b"4"


@persistent
def test_a_full_disk_takes_no_copy_and_is_not_compacted(
    store: Backend, faults: StoreFaults, tmp_path: Path
) -> None:
    faults.fill_disk()
    with pytest.raises(StoreFullError, match="no space left on device; free space on this disk"):
        store.checkpoint(tmp_path / "copy")
    for name in (*CHANGES, "compact"):
        with pytest.raises(StoreFullError):
            USES[name](store)
    assert [*store.scan()] == ROWS
    faults.free_disk()
    store.compact()


@every_engine
def test_calls_fail_as_long_as_a_condition_says_so(store: Backend, faults: StoreFaults) -> None:
    turns = itertools.count()
    faults.fail_where(
        lambda call: call.name == "write" and call.directory.name == "s" and next(turns) % 2 == 0,
        lambda path: StoreFullError(path, "full", "tidy up"),
    )
    for _ in range(2):
        with pytest.raises(StoreFullError, match="full; tidy up"):
            store.write(Batch([(b"d", b"4")]))
        store.write(Batch([(b"d", b"5")]))
    assert next(turns) == 4
    faults.fail_where(None)
    store.write(Batch([(b"d", b"6")]))
    assert [call.name for call in faults.failed] == ["write", "write"]


@persistent
def test_a_reader_of_a_shared_store_fails_too(engine: Engine, faults: StoreFaults, tmp_path: Path) -> None:
    engine.open(tmp_path / "s", StoreOptions(shared=True)).close()
    shared = sharing(engine)
    faults.fail(of=["open"])
    with pytest.raises(StoreUnavailableError, match="a fault of this test"):
        shared.open_reader(tmp_path / "s", StoreOptions())
    reader = shared.open_reader(tmp_path / "s", StoreOptions())
    inner_live = type(reader.inner).live  # type: ignore[attr-defined]
    assert reader.live is inner_live
    uses: dict[str, Callable[[], object]] = {
        "catch_up": reader.catch_up,
        "get": lambda: reader.get(b"a"),
        "scan": lambda: [*reader.scan_ranges([KeyRange()])],
        "snapshot": lambda: reader.snapshot().close(),
        "open": lambda: reader.promote(StoreOptions(shared=True)).close(),
    }
    for name, use in uses.items():
        faults.fail(of=[name])
        with pytest.raises(StoreUnavailableError, match="a fault of this test"):
            use()
    owned = reader.promote(StoreOptions(shared=True))
    reader.close()
    faults.fail()
    with pytest.raises(StoreUnavailableError, match="a fault of this test"):
        owned.write(Batch(ROWS))
    owned.write(Batch(ROWS))
    assert [*owned.scan()] == ROWS
    owned.close()


def test_an_engine_that_shares_no_stores_still_does_not(faults: StoreFaults) -> None:
    assert not hasattr(find_engine("memory"), "open_reader")


def test_a_scenario_may_be_a_coroutine_function(tmp_path: Path) -> None:
    directories = itertools.count()

    async def careful(*, asserts: bool) -> None:
        with StoreManager(tmp_path / str(next(directories)), backend="memory") as manager:
            store = manager.open("sums")
            await asyncio.sleep(0)
            try:
                store.put(b"a", b"1")
            except StoreUnavailableError:
                assert not asserts

    assert fail_every_call(lambda: careful(asserts=False), of=["write"]) > 0
    with pytest.raises(BrokenScenarioError, match=r"where call 1 fails, write of"):
        fail_every_call(lambda: careful(asserts=True), of=["write"])
