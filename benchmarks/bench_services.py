"""GET by key through FastAPI: over a table, over a reader's, over a dict and what else keeps rows.

One worker of uvicorn for each, which take turns. The client is a process of its own, with some connections.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from content import records
from topics import Topics, fill

from statestore.bench.histogram import Latencies
from statestore.bench.pairs import beside, speed
from statestore.bench.turns import in_turns

HERE = Path(__file__).parent
ROWS = 10_000
REQUESTS = 5_000
CONNECTIONS = 8
RATE = 20_000
"""Records a second that the table follows, fewer where the topics are tiny."""
REFERENCE = "dict"
WANTED = 0.95


class Server:
    """One worker of uvicorn with ``service_app``; ``environment`` says what of."""

    def __init__(self, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "service_app:app", "--port", str(self.port), "--no-access-log"],
            cwd=HERE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent)))} | environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, f"the service ended: {environment}"
            assert time.monotonic() < deadline, f"the service does not answer: {environment}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            self.lags()
        except OSError:
            return False
        return True

    def lags(self) -> list[float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/lags", timeout=30) as answer:
            said: list[float] = json.load(answer)
            return said

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)


OTHERS = ("diskcache", "sqlite3")


@contextmanager
def serving(sources: Sequence[str], home: Path, **shared: str) -> Iterator[dict[str, Server]]:
    """Start a service over each of ``sources``: the reader beside the owner of its directory."""
    home.mkdir()
    with ExitStack() as stack:
        servers = {}
        for source in sources:
            servers[source] = Server(SOURCE=source, HOME_OF_ROWS=str(home), **shared)
            stack.callback(servers[source].close)
        yield servers


def ask(server: Server, rows: int, count: int) -> dict[str, Any]:
    """Return the seconds of all requests, and of each one."""
    server.lags()
    asked = Child("request", port=server.port, rows=rows, count=count, connections=CONNECTIONS).run()
    return asked | {"lags": server.lags()}


def turns(servers: dict[str, Server], rows: int, count: int, pairs: int) -> dict[str, list[dict[str, Any]]]:
    """Ask the services in turns; the first turn of each does not count."""
    found: dict[str, list[dict[str, Any]]] = {source: [] for source in servers}
    for number, source in in_turns(list(servers), pairs + 1):
        asked = ask(servers[source], rows, count)
        if number:
            found[source].append(asked)
    return found


@pytest.mark.parametrize("backend", ["lmdb", "rocksdb"])
def measure_services(bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str) -> None:
    rows, count = min(ROWS, sizes.rows), min(REQUESTS, sizes.records)
    rate = min(RATE, sizes.records)
    topic = topics.empty(4)
    fill(topics.bootstrap, topic, records(rows, rows))
    to = {"kafka": topics.bootstrap, "topic": topic, "rows": rows}
    with serving(
        ("table", "reader", REFERENCE, *(OTHERS if backend == "lmdb" else ())),
        fresh(),
        ROWS=str(rows),
        KAFKA=topics.bootstrap,
        TOPIC=topic,
        BACKEND=backend,
    ) as servers:
        quiet = turns(servers, rows, count, sizes.pairs)
        with Child("write", **to, count=rate * 600, per_second=rate) as writer:
            writer.start()
            following = turns(servers, rows, count, sizes.pairs)
    for how, found in (("", quiet), (f", following {rate:,}/s", following)):
        for source, asked in found.items():
            if source != REFERENCE:
                _add(bench, f"{backend}, GET{how}: {source}", asked, found[REFERENCE], rows, count)


def _add(
    bench: Bench, what: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]], rows: int, count: int
) -> None:
    both = [(one["seconds"], other["seconds"]) for one, other in zip(ours, theirs, strict=True)]
    wanted = WANTED if what.endswith(("table", "reader")) else None
    rate = speed(what, "over a dict", both, items=count, of="requests", wanted=wanted)
    late = []
    for name, of in (("p99 of a request", "samples"), ("p99 of the loop's lag", "lags")):
        mine, other = ([sample for turn in side for sample in turn[of]] or [0.0] for side in (ours, theirs))
        one, two = (Latencies.of_seconds(side).percentiles(99)[0] / 1000 for side in (mine, other))
        late.append(beside(f"{what}: {name}", "over a dict", [(one, two)], unit="ms", kind="value"))
    bench.add(rate, *late, sizes=f"{rows:,} rows, {count:,} requests, {len(ours)} turns")
