"""A worker of a service, to be killed: ``worker_process.py DIRECTORY ADDRESS TOPIC BACKEND ROLE FLOOR``.

It reads rows without end, and checks each: whole, of ``FLOOR`` or later, and never older than one that it
has read before, whoever owns the directory. Each line that it prints is a JSON object: what it sees, now and
then, or with ``wrong`` what it should never see, after which it ends. It answers a line on its standard
input: ``sync`` waits for all that is in the topic, ``health`` tells it. It ends well when its standard input
is closed.
"""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any

from statestore import BytesTable, StateStoreError, StoreManager

SETTINGS = {"defaults": {"confirm_interval": 0.2, "flush_interval": 0.2}}
REPEATED = 40
"""How often a row says its number, so that one of two halves shows."""
BETWEEN = 0.1


def row(number: int) -> bytes:
    return b"%06d" % number * REPEATED


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


class Checks:
    """What was read so far, and what must not come after it."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.seen: dict[bytes, int] = {}
        self.reads = 0

    def check(self, key: bytes, value: bytes | None) -> None:
        assert value is not None, f"{key!r} has no row"
        number = int(value[:6])
        assert value == row(number), f"{key!r} has a torn row: {value!r}"
        least = self.seen.get(key, self.floor)
        assert number >= least, f"{key!r} went back from {least} to {number}"
        self.seen[key] = number
        self.reads += 1


def answer(table: BytesTable, manager: StoreManager, line: str) -> None:
    if line == "sync":
        table.sync(60)
        say(done="sync")
    elif line == "health":
        health = manager.health().tables[table.name]
        say(done=line, cause=health.cause, positions=health.positions, records=health.records)


def main(directory: str, address: str, topic: str, backend: str, role: str, floor: str) -> None:
    checks = Checks(int(floor))
    settings: Any = SETTINGS
    with StoreManager(directory, kafka=address, backend=backend, settings=settings, role=role) as manager:  # type: ignore[arg-type]
        table = manager.bind(topic, name="rows")
        table.wait_until_ready(240)
        keys = [key for key, _ in table.scan()]
        told, role_told = 0.0, ""
        while True:
            for key in keys:
                checks.check(key, table.get(key))
            with table.snapshot() as snapshot:
                rows = list(snapshot.scan())
            assert [key for key, _ in rows] == keys, "a scan lacks rows"
            for key, value in rows:
                checks.check(key, value)
            health = manager.health()
            if health.role != role_told or time.monotonic() - told > BETWEEN:
                told, role_told = time.monotonic(), health.role
                say(
                    role=health.role,
                    state=str(table.state),
                    least=min(checks.seen.values()),
                    reads=checks.reads,
                )
            if select.select([sys.stdin], [], [], 0.005)[0]:
                if not (line := sys.stdin.readline()):
                    return
                answer(table, manager, line.strip())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (AssertionError, StateStoreError) as error:
        say(wrong=repr(error))
        sys.exit(3)
