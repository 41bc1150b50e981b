"""Stores of windows and sessions, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from statestore import AsyncStoreManager
from statestore.errors import StoreClosedError


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_windows(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path, backend="memory") as stores:
            windows = await stores.open_window("w", "5min", "1h")
            assert stores.store("w") is windows is await stores.open_window("w", 5, 60)
            assert await windows.put(b"a", 0, b"0")
            async with windows.batch() as batch:
                batch.put(b"a", 60_000, b"1")
                batch.put(b"b", 0, b"2")
            with pytest.raises(ZeroDivisionError):
                async with windows.batch() as batch:
                    batch.put(b"a", 120_000, b"3")
                    raise ZeroDivisionError
            assert [row async for row in windows.fetch(b"a")] == [(0, b"0"), (60_000, b"1")]
            assert [row async for row in windows.fetch_all(0, 1)] == [(b"a", 0, b"0"), (b"b", 0, b"2")]
            assert (await windows.get(b"a", 0), await windows.latest(b"a")) == (b"0", (60_000, b"1"))
            async with windows.snapshot() as snapshot:
                await windows.delete(b"a", 60_000)
                assert not await windows.put(b"a", -4_000_000, b"late")
                assert await snapshot.latest(b"a") == (60_000, b"1")
                assert (await snapshot.count(), await windows.count()) == (3, 2)
            assert (await windows.stats()).late == 1
            await windows.flush()
            await windows.compact()
            assert (await windows.size() > 0, await windows.approximate_count() > 0) == (True, True)
            assert repr(windows) == "<AsyncWindowStore 'w'>"
            await windows.close()
            with pytest.raises(StoreClosedError):
                await windows.get(b"a", 0)

    run(main())


def test_sessions(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path, backend="memory") as stores:
            sessions = await stores.open_session("s", "1h")
            assert await sessions.put(b"a", 0, 10, b"0")
            async with sessions.batch() as batch:
                batch.put(b"a", 20, 30, b"1")
            async with sessions.snapshot() as snapshot:
                await sessions.delete(b"a", 0, 10)
                assert [row async for row in snapshot.fetch(b"a")] == [(0, 10, b"0"), (20, 30, b"1")]
            assert [row async for row in sessions.fetch_all()] == [(b"a", 20, 30, b"1")]
            assert (await sessions.get(b"a", 20, 30), await sessions.latest(b"a")) == (b"1", (20, 30, b"1"))

    run(main())
