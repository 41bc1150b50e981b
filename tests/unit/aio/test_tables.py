"""Tables for asyncio, without a broker: callbacks, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import (
    AsyncStoreManager,
    F,
    Key,
    Query,
    QueryError,
    StartupError,
    UnreachableRegistryError,
    entity,
)
from statestore.aio.loop import OwnLoop
from statestore.runtime.slices import MOST_THREADS

Run = Callable[[Any], Any]

NOWHERE = "127.0.0.1:1"


@entity(topic="names")
@dataclass(frozen=True, slots=True)
class Name:
    name: Annotated[str, Key]


@entity(topic="others")
@dataclass(frozen=True, slots=True)
class Other:
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


def test_tables_that_block_and_that_are_awaited_are_not_in_one_query(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path, NOWHERE, "memory", connect="lazy") as stores:
            names: Any = await stores.bind(Name)
            others: Any = await stores.bind(Other)
            on = F[Name].name == F[Other].name
            value = Query.of(Name).join(Other, on=on)
            in_awaited: list[Callable[[], object]] = [
                lambda: names.join(others.blocking, on=on),
                lambda: names.left_join(others.blocking, on=on),
                lambda: names.query(value, others.blocking),
            ]
            for ask in in_awaited:
                with pytest.raises(QueryError, match=r"Other.*blocks, and this query is awaited: give what"):
                    ask()
            in_blocking: list[Callable[[], object]] = [
                lambda: names.blocking.join(others, on=on),
                lambda: names.blocking.query(value, others),
            ]
            for ask in in_blocking:
                with pytest.raises(
                    QueryError, match=r"Other.*is awaited, and this query blocks: give its form"
                ):
                    ask()
            with pytest.raises(QueryError, match=r"query: 7 is not a table"):
                names.query(value, 7)

    run(main())


def test_whether_a_key_is_there_is_not_asked_of_a_registry_on_the_loop(run: Run, tmp_path: Path) -> None:
    @entity(topic="records", value_format="avro", key_format="avro")
    @dataclass(frozen=True)
    class Recorded:
        name: Annotated[str, Key]
        text: str = ""

    async def main() -> None:
        settings = {"schema_registry": {"url": "http://127.0.0.1:1"}}
        async with AsyncStoreManager(
            tmp_path, NOWHERE, "memory", connect="lazy", settings=settings
        ) as stores:
            table = await stores.bind(Recorded)
            table.blocking._binding.readable = table.blocking._binding.reading(allow_stale=True)
            with pytest.raises(UnreachableRegistryError, match=r"use `await table.get\(key\)`, which does"):
                _ = "ada" in table

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
