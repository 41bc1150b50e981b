"""Stores of bytes for asyncio: reads, writes, cancellation, loops and forks."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from statestore import AsyncStoreManager, ConfigError, DirectoryLockedError, StoreClosedError, StoreManager
from statestore.aio import AsyncKeyValueStore
from statestore.runtime import slices
from statestore.testing.forking import outcomes_in_child

Run = Callable[[Any], Any]

PAIRS = [(b"%06d" % number, b"%d" % number) for number in range(10_000)]


async def filled(stores: AsyncStoreManager, backend: str = "memory") -> AsyncKeyValueStore:
    store = await stores.open("numbers", backend=backend)
    async with store.batch() as batch:
        for key, value in PAIRS:
            batch.put(key, value)
    return store


@pytest.mark.parametrize("backend", ["memory", "lmdb", "rocksdb"])
def test_reads_and_writes(run: Run, tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await filled(stores, backend)
            assert await stores.open("numbers", backend=backend) is store is stores.store("numbers")
            assert await store.get(b"000007") == b"7"
            assert await store.get(b"absent", b"nothing") == b"nothing"
            assert b"000007" in store
            assert await store.get_many([key for key, _ in PAIRS]) == [value for _, value in PAIRS]
            assert await store.count() == len(PAIRS)
            assert [pair async for pair in store.scan()] == PAIRS
            assert [pair async for pair in store.scan(reverse=True, limit=3)] == PAIRS[:-4:-1]
            async with store.snapshot() as snapshot:
                await store.delete(b"000007")
                await store.put(b"last", b"1")
                assert await snapshot.count() == len(PAIRS)
                assert await snapshot.get(b"000007") == b"7"
            with pytest.raises(StoreClosedError):
                await snapshot.count()
            assert (await store.get(b"000007"), await store.get(b"last")) == (None, b"1")
            await store.flush()
            await store.compact()
        with pytest.raises(StoreClosedError):
            await store.get(b"last")

    run(main())


def test_a_block_that_raises_writes_nothing(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await stores.open("numbers", backend="memory")
            with pytest.raises(KeyError):
                async with store.batch() as batch:
                    batch.put(b"a", b"1")
                    raise KeyError
            assert await store.count() == 0

    run(main())


def test_for_each_takes_plain_and_async_functions(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await filled(stores)
            seen: list[tuple[bytes, bytes]] = []

            async def take(pair: tuple[bytes, bytes]) -> None:
                await asyncio.sleep(0)
                seen.append(pair)

            await store.scan(limit=200).for_each(take)
            await store.scan(start=PAIRS[200][0]).for_each(seen.append)
            assert seen == PAIRS

    run(main())


def test_the_loop_runs_while_rows_are_read_ahead(run: Run, tmp_path: Path) -> None:
    """Also where the body of ``async for`` waits for nothing."""

    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await filled(stores)
            await store.scan(limit=1).for_each(lambda _: None)
            rows = store.scan()
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            seen = -1
            async for _ in rows:
                rows._turn_ends = 0.0  # the time is over
                assert ticks > seen
                seen = ticks
            ticking.cancel()

    run(main())


def test_a_cancelled_scan_releases_its_snapshot(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a read, too. LMDB counts the readers."""
    monkeypatch.setattr(slices, "SLICE", 0.0)

    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await filled(stores, "lmdb")
            environment: Any = store.blocking._backend

            async def read() -> None:
                async with store.scan() as rows:
                    async for _ in rows:
                        begun.set()

            for work in (read, store.count, lambda: store.snapshot().__aenter__()):
                begun = asyncio.Event()
                task = asyncio.ensure_future(work())
                await asyncio.sleep(0)  # it has begun; its end comes to the loop later
                if work is read:
                    await begun.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            gc.collect()
            await store.put(b"more", b"")
            while list(environment._lifetime.readers):
                await asyncio.sleep(0.01)
                gc.collect()
            assert await store.count() == len(PAIRS) + 1

    run(main())


def test_a_scan_is_of_one_task(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await filled(stores)
            rows = store.scan()
            first, second = await asyncio.gather(anext(rows), anext(rows), return_exceptions=True)
            assert first == PAIRS[0]
            assert isinstance(second, RuntimeError)
            assert "another task" in str(second)
            await rows.aclose()
            with pytest.raises(StoreClosedError):
                await anext(rows)
            assert not rows.exhausted
            every = store.scan()
            assert [row async for row in every] == PAIRS
            assert every.exhausted
            await every.aclose()
            assert [row async for row in every] == []

    run(main())


def test_a_store_that_is_closed_ends_scans_with_an_error(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await filled(stores)
            rows = store.scan()
            await anext(rows)
            await store.close()
            with pytest.raises(StoreClosedError):
                async for _ in rows:
                    pass

    run(main())


def test_it_opens_once_and_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        unopened = AsyncStoreManager(tmp_path)
        with pytest.raises(RuntimeError, match="not open"):
            await unopened.open("numbers")
        stores = await unopened
        with pytest.raises(RuntimeError, match="opened already"):
            await stores
        with pytest.raises(DirectoryLockedError):
            await AsyncStoreManager(tmp_path)
        with pytest.raises(ConfigError):
            await stores.open("")
        refused = AsyncStoreManager(tmp_path)
        with pytest.raises(DirectoryLockedError):
            await refused
        await refused.close()  # as a framework does in any case
        await unopened.close()
        await stores.close()
        with pytest.raises(StoreClosedError):
            await stores.open("numbers")

    run(main())
    with pytest.raises(RuntimeError, match="event loop"):
        AsyncStoreManager(tmp_path).__await__().send(None)


def test_an_opening_that_is_cancelled_leaves_nothing_open(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began, opened = asyncio.Event(), weakref.WeakSet[StoreManager]()
        make = StoreManager._set_up

        def set_up(self: StoreManager, *arguments: Any) -> None:
            loop.call_soon_threadsafe(began.set)
            opened.add(self)
            make(self, *arguments)

        monkeypatch.setattr(StoreManager, "_set_up", set_up)
        opening = asyncio.ensure_future(AsyncStoreManager(tmp_path)._open())
        await began.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        monkeypatch.undo()
        while True:
            try:
                async with AsyncStoreManager(tmp_path):
                    break
            except DirectoryLockedError:
                await asyncio.sleep(0.01)

    run(main())


def test_another_loop_and_a_closed_one_are_refused(run: Run, tmp_path: Path) -> None:
    async def use(store: AsyncKeyValueStore) -> None:
        for call in (store.get(b"a"), store.count(), anext(store.scan()), store.put(b"a", b"")):
            with pytest.raises(RuntimeError) as raised:
                await call
            told.add(str(raised.value))

    async def main() -> tuple[AsyncStoreManager, AsyncKeyValueStore]:
        stores = await AsyncStoreManager(tmp_path)
        store = await stores.open("numbers", backend="memory")
        await asyncio.to_thread(lambda: asyncio.run(use(store)))
        return stores, store

    told: set[str] = set()
    stores, store = run(main())
    (another,) = told
    assert "run_coroutine_threadsafe" in another
    told.clear()
    run(use(store))
    (closed,) = told
    assert "is closed" in closed
    assert store.blocking.get(b"a") is None
    stores.blocking.close()


def test_a_forked_child_is_told(run: Run, tmp_path: Path) -> None:
    async def main() -> dict[str, str]:
        async with AsyncStoreManager(tmp_path) as stores:
            store = await filled(stores)
            coroutines = {"get": store.get(b"a"), "count": store.count(), "close": stores.close()}
            calls = {name: lambda one=one: one.send(None) for name, one in coroutines.items()}
            ended = outcomes_in_child(calls)
            for one in coroutines.values():
                one.close()
            return ended

    assert set(run(main()).values()) == {"ForkedProcessError"}


def test_anyio_cancels_and_goes_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scopes cancel again and again, until what they cancel has ended."""
    monkeypatch.setattr(slices, "SLICE", 0.0)

    async def main() -> None:
        async with AsyncStoreManager(tmp_path) as stores, anyio.create_task_group() as group:
            store = await filled(stores)
            for _ in range(10):
                group.start_soon(store.count)
            with anyio.CancelScope() as scope:
                async for _ in store.scan():
                    scope.cancel()
            assert scope.cancel_called
            assert await store.count() == len(PAIRS)

    run(main())
