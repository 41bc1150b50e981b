"""A worker on asyncio: it looks at a table again and again, until SIGTERM comes."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from orders import KAFKA, STALE, STATE, Order

from statestore import F
from statestore.aio import AsyncStoreManager


async def work() -> None:
    async with AsyncStoreManager(STATE, kafka=KAFKA, role="auto") as stores:
        orders = await stores.bind(Order, max_staleness=STALE)
        await orders.wait_until_ready()
        while True:
            large = await orders.where(F.amount > 1000).count()
            print(f"{large} large orders", flush=True)
            await asyncio.sleep(0.2)


async def main() -> None:
    working = asyncio.create_task(work())
    for one in (signal.SIGTERM, signal.SIGINT):  # wherever it is: waiting for the table, or for the broker
        asyncio.get_running_loop().add_signal_handler(one, working.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await working
    print("closed", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
