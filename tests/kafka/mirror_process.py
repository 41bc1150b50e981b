"""A service that mirrors a topic, to be killed: ``mirror_process.py DIRECTORY ADDRESS TOPIC BACKEND``.

Prints ``started``, then without end how many records it has applied and whether it is ready (``1234 0``).
Ends well when its standard input is closed. Everything is small, so that it makes its files often.
"""

from __future__ import annotations

import select
import sys
from dataclasses import replace
from typing import Any

from statestore import StoreManager
from statestore.changelog import binder

KAFKA = {"queued.min.messages": 2000, "fetch.message.max.bytes": 20_000}
SETTINGS: dict[str, Any] = {
    "defaults": {"flush_interval": 0.05, "flush_bytes": 100_000, "confirm_interval": 0.2},
    "backends": {"rocksdb": {"max_write_buffer": 65536}},
}
PAUSE = 0.005

restore_limits = binder.restore_limits


def main(directory: str, address: str, topic: str, backend: str) -> None:
    print("started", flush=True)
    binder.restore_limits = lambda memory: replace(restore_limits(memory), records=1_000)
    kafka = {"bootstrap.servers": address, **KAFKA}
    with StoreManager(directory, kafka=kafka, backend=backend, settings=SETTINGS) as manager:
        table = manager.bind(topic, name="mirror")
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            print(table.health().records, int(table.is_ready), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
