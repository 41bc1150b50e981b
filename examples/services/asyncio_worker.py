"""A worker on asyncio: it looks at a table again and again, until SIGTERM comes."""

from __future__ import annotations

import asyncio
import signal

from orders import KAFKA, STALE, STATE, Order

from statestore import F
from statestore.aio import AsyncStoreManager


async def main() -> None:
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    async with AsyncStoreManager(STATE, kafka=KAFKA, role="auto") as stores:
        orders = await stores.bind(Order, max_staleness=STALE)
        await orders.wait_until_ready()
        while not stop.is_set():
            large = await orders.where(F.amount > 1000).count()
            print(f"{large} large orders", flush=True)
            try:
                await asyncio.wait_for(stop.wait(), timeout=0.2)
            except TimeoutError:
                continue
    print("closed", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
