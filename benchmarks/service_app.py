"""The service that ``bench_services`` measures: one GET by key, over the thing that ``SOURCE`` names.

It is the same FastAPI application for each, so that what differs is where the row comes from.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from content import key, values
from fastapi import FastAPI, Response

from statestore.aio import AsyncStoreManager

SOURCE = os.environ["SOURCE"]
ROWS = int(os.environ["ROWS"])
HOME = Path(os.environ["HOME_OF_ROWS"])
TICK = 0.002
"""Seconds that a task sleeps; how late it wakes up is the lag of the loop."""

Get = Callable[[bytes], Awaitable[bytes | None]]
lags: list[float] = []


def rows() -> dict[bytes, bytes]:
    pool = values()
    return {key(number): pool[number % len(pool)] for number in range(ROWS)}


async def table(stack: AsyncExitStack) -> Get:
    """The owner's table, or a reader's of the same directory."""
    kafka, topic = os.environ["KAFKA"], os.environ["TOPIC"]
    role: Any = "reader" if SOURCE == "reader" else "auto"
    made = AsyncStoreManager(HOME, kafka=kafka, backend=os.environ["BACKEND"], role=role)
    stores = await stack.enter_async_context(made)
    bound = await stores.bind(topic)
    await bound.wait_until_ready(120)
    return bound.get


async def of_dict(_: AsyncExitStack) -> Get:
    kept = rows()

    async def get(one: bytes) -> bytes | None:
        return kept.get(one)

    return get


async def of_diskcache(stack: AsyncExitStack) -> Get:
    import diskcache

    cache = stack.enter_context(diskcache.Cache(str(HOME / "diskcache")))
    with cache.transact():
        for one, value in rows().items():
            cache[one] = value

    async def get(one: bytes) -> bytes | None:
        found: bytes | None = cache.get(one)
        return found

    return get


async def of_sqlite(stack: AsyncExitStack) -> Get:
    base = sqlite3.connect(HOME / "rows.sqlite")
    stack.callback(base.close)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    base.executemany("INSERT INTO rows VALUES (?, ?)", rows().items())
    base.commit()

    async def get(one: bytes) -> bytes | None:
        found = base.execute("SELECT value FROM rows WHERE key = ?", (one,)).fetchone()
        return None if found is None else found[0]

    return get


SOURCES = {"table": table, "reader": table, "dict": of_dict, "diskcache": of_diskcache, "sqlite3": of_sqlite}


async def watch_the_loop() -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(TICK)
        lags.append(time.perf_counter() - began - TICK)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        app.state.get = await SOURCES[SOURCE](stack)
        watching = asyncio.create_task(watch_the_loop())
        yield
        watching.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/rows/{number}")
async def row(number: int) -> Response:
    found = await app.state.get(key(number))
    return Response(found, 200 if found is not None else 404, media_type="application/octet-stream")


@app.get("/lags")
async def lags_since() -> list[float]:
    """Return what the loop was late since the last question, in seconds."""
    said = lags.copy()
    lags.clear()
    return said
