"""Tables for asyncio, without a broker: callbacks, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import AsyncStoreManager, Key, StartupError, entity
from statestore.aio.loop import OwnLoop
from statestore.runtime.slices import MOST_THREADS

Run = Callable[[Any], Any]

NOWHERE = "127.0.0.1:1"


@entity(topic="names")
@dataclass(frozen=True, slots=True)
class Name:
    name: Annotated[str, Key]


def test_a_callback_that_awaits_what_is_cancelled_keeps_none_from_being_called(run: Run) -> None:
    async def main() -> None:
        own = OwnLoop()
        told: list[Any] = []
        seen: asyncio.Queue[int] = asyncio.Queue()
        own.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

        async def call(number: int) -> None:
            if number == 0:
                gone = own.loop.create_future()
                gone.cancel()
                await gone
            seen.put_nowait(number)

        called = own.caller(call)
        for number in range(3):
            called(number)
        assert [await seen.get(), await seen.get()] == [1, 2]
        assert isinstance(told[0], asyncio.CancelledError)

    run(main())


def test_callbacks_go_on_after_their_task_was_cancelled(run: Run) -> None:
    async def main() -> None:
        own = OwnLoop()
        seen: asyncio.Queue[int] = asyncio.Queue()

        async def call(number: int) -> None:
            seen.put_nowait(number)
            await asyncio.sleep(3600 if number == 0 else 0)

        called = own.caller(call)
        called(0)
        assert await seen.get() == 0
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        await asyncio.wait([task])
        called(1)
        assert await seen.get() == 1

    run(main())


def test_one_key_is_not_taken_for_several(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path, NOWHERE, "memory", connect="lazy") as stores:
            for bound in (await stores.bind(Name), await stores.bind("topic")):
                with pytest.raises(TypeError, match=r"get_many\(\['ada'\]\)"):
                    await bound.get_many("ada", allow_stale=True)  # type: ignore[arg-type, unused-ignore]

    run(main())


def test_where_a_start_fails_the_directory_is_free(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        stores = AsyncStoreManager(tmp_path, NOWHERE, "memory", [Name], 0.01, connect="lazy")
        with pytest.raises(StartupError):
            await stores
        assert stores.blocking._ending.done

    run(main())


def test_the_health_waits_for_no_query(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path, NOWHERE, "memory", connect="lazy") as stores:
            table = await stores.bind(Name)
            may_end = threading.Event()
            reads = [asyncio.create_task(stores._own.in_slices(may_end.wait)) for _ in range(MOST_THREADS)]
            await asyncio.sleep(0)  # all of them have begun
            assert (await stores.health()).tables[table.name].topic == (await table.health()).topic
            assert not any(read.done() for read in reads)
            may_end.set()
            await asyncio.gather(*reads)

    run(main())
