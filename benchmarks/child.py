"""One measurement in a process of its own, so that its CPU and memory can be told from those of others.

The process waits for a line before it begins, so that imports do not count. It prints its result as JSON, and
then waits to be ended, with everything still open.
"""

from __future__ import annotations

import gc
import json
import random
import resource
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent))  # run with -P, Python does not look beside the script

from confluent_kafka import Producer
from content import key, records, some_keys, values
from stores import fill
from ticks import Tick
from topics import PATIENCE, Discard, Shape

from statestore import BytesTable, StoreManager
from statestore.backends.contract import directory_size

LAST = b"the last key"
BREAK = 0.0005
"""Seconds between two reads whose latency is measured: as in a service, and not in a loop."""

kept: list[Any] = []
"""Objects that must stay alive until the memory of this process has been read."""


def main() -> None:
    task, arguments = TASKS[sys.argv[1]], json.loads(sys.argv[2])
    say("ready")
    print(json.dumps(task(**arguments)), flush=True)
    sys.stdin.readline()


def say(word: str) -> None:
    """Send a word to the parent, and wait until the parent lets this process continue."""
    print(word, flush=True)
    sys.stdin.readline()


def cpu() -> float:
    """Return the seconds of CPU that this process has taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def sleeper(watch: bool) -> Iterator[list[float]]:
    """Run a thread that sleeps 1 ms again and again. The list gets the seconds by which it woke up late."""
    late: list[float] = []
    over = threading.Event()

    def sleep() -> None:
        while not over.is_set():
            start = time.perf_counter()
            time.sleep(0.001)
            late.append(time.perf_counter() - start - 0.001)

    thread = threading.Thread(target=sleep)
    if watch:
        thread.start()
    try:
        yield late
    finally:
        over.set()
        if watch:
            thread.join()


def restore(kafka: str, topic: str, backend: str, directory: str, watch: bool = False) -> dict[str, Any]:
    """Restore ``topic``: seconds and CPU until READY, until durable; how late a sleeping thread was."""
    stores = StoreManager(directory, kafka=kafka, backend=backend)
    kept.append(stores)
    began, used = time.perf_counter(), cpu()
    with sleeper(watch) as late:
        table = stores.bind(topic)
        table.wait_until_ready(PATIENCE)
        assert table.get(key(0)) is not None
        ready, used_ready = time.perf_counter(), cpu()
    table.flush()
    return {
        "seconds": ready - began,
        "cpu": used_ready - used,
        "durable": time.perf_counter() - began,
        "cpu_durable": cpu() - used,
        "disk": directory_size(Path(directory)),
        "late": late,
    }


def discard(
    kafka: str, topic: str, records: int, partitions: int, tuning: str, watch: bool = False
) -> dict[str, Any]:
    """Read ``topic`` and throw it away."""
    loop = Discard(kafka, topic, Shape(records, partitions=partitions), tuning)
    used = cpu()
    with sleeper(watch) as late:
        seconds = loop.work().seconds()
    return {"seconds": seconds, "cpu": cpu() - used, "late": late}


def fill_memory(keys: int, into: str, directory: str) -> dict[str, Any]:
    """Fill the memory backend, or a ``dict``, with the same pairs. No two keys share a value."""
    content = ((one, bytes(bytearray(value))) for one, value in records(keys, keys))
    if into == "dict":
        kept.append(dict(content))
        return {}
    stores = StoreManager(directory, backend="memory")
    kept.append(stores)
    fill(stores.open("pairs"), content)
    return {}


def repeat(
    path: str, kafka: str, topic: str, rows: int, backend: str, directory: str, seconds: float
) -> dict[str, Any]:
    """Repeat one of the hot ``path``s of reading. Return the CPU and the number of records."""
    stores = StoreManager(directory, kafka=kafka, backend=backend)
    kept.append(stores)
    wanted = some_keys(min(rows, 20_000), rows)
    once: Callable[[], int]
    if path == "to_list":
        ticks = stores.bind(Tick, name="ticks")
        once = lambda: len(ticks.to_list())  # noqa: E731
    else:
        table = stores.bind(topic)
        once = {"get": lambda: get_each(table, wanted), "scan": lambda: sum(1 for _ in table.scan())}[path]
    stores.wait_until_ready(timeout=PATIENCE)
    once()
    say("prepared")
    gc.disable()
    used, over, items = cpu(), after(seconds), 0
    while not over():
        items += once()
    return {"cpu": cpu() - used, "items": items}


def get_each(table: BytesTable, wanted: list[bytes]) -> int:
    for one in wanted:
        table.get(one)
    return len(wanted)


def tables(kafka: str, topics: list[str], backend: str, directory: str) -> dict[str, Any]:
    """Bind many tables in one manager. Return the seconds until all are READY, and the number of threads."""
    stores = StoreManager(directory, kafka=kafka, backend=backend)
    kept.append(stores)
    began, used = time.perf_counter(), cpu()
    for topic in topics:
        stores.bind(topic)
    stores.wait_until_ready(timeout=PATIENCE)
    ready, used_ready = time.perf_counter(), cpu()
    threads = len(list(Path("/proc/self/task").iterdir()))
    return {"seconds": ready - began, "cpu": used_ready - used, "threads": threads}


def worker(kafka: str, topic: str, backend: str, directory: str, role: str) -> dict[str, Any]:
    """Read all rows of a mirror, then read on until this process owns it; tell since when it does."""
    stores = StoreManager(directory, kafka=kafka, backend=backend, role=role)  # type: ignore[arg-type]
    kept.append(stores)
    table = stores.bind(topic)
    table.wait_until_ready(timeout=PATIENCE)
    wanted = [one for one, _ in table.scan()]
    get_each(table, wanted)
    say("ready")
    while stores.health().role != "owner":
        get_each(table, wanted[:100])
    return {"owns_since": time.time()}


def latencies(table: BytesTable, wanted: list[bytes], over: Callable[[], bool]) -> list[float]:
    """Return the seconds of each ``get``, with breaks between them, until ``over()``."""
    taken: list[float] = []
    while not over():
        for one in wanted[:100]:
            start = time.perf_counter()
            table.get(one)
            taken.append(time.perf_counter() - start)
            time.sleep(BREAK)
    return taken


def after(seconds: float) -> Callable[[], bool]:
    """Return a function that tells whether ``seconds`` have passed."""
    until = time.perf_counter() + seconds
    return lambda: time.perf_counter() > until


def read_while_restoring(
    kafka: str, small: str, rows: int, topic: str, backend: str, directory: str
) -> dict[str, Any]:
    """Measure ``get`` of one table while nothing happens, and while another one is restored."""
    stores = StoreManager(directory, kafka=kafka, backend=backend)
    kept.append(stores)
    table = stores.bind(small)
    table.wait_until_ready(PATIENCE)
    wanted = some_keys(100, rows)
    quiet = latencies(table, wanted, after(0.5))
    large = stores.bind(topic)
    return {"quiet": quiet, "busy": latencies(table, wanted, lambda: large.is_ready)}


def follow(
    kafka: str, topic: str, rows: int, backend: str, directory: str, read: bool = False
) -> dict[str, Any]:
    """Follow a topic that another process writes, until its last key has arrived; ``read`` it, too."""
    stores = StoreManager(directory, kafka=kafka, backend=backend)
    kept.append(stores)
    table = stores.bind(topic)
    table.wait_until_ready(PATIENCE)
    wanted = some_keys(100, rows)
    taken: list[float] = []
    say("prepared")
    began, used = time.perf_counter(), cpu()
    while LAST not in table:
        if read:
            taken += latencies(table, wanted, after(0.25))
        else:
            time.sleep(0.05)
    return {"seconds": time.perf_counter() - began, "cpu": cpu() - used, "busy": taken}


def write(kafka: str, topic: str, rows: int, count: int, per_second: int) -> dict[str, Any]:
    """Write ``count`` records at an even pace, and then the last key."""
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, "queue.buffering.max.messages": 0})
    began = time.perf_counter()
    for number, (one, value) in enumerate(records(count, rows)):
        producer.produce(topic, value, one)
        if number % 500 == 0:
            producer.poll(0)
            time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
    producer.flush(PATIENCE)
    producer.produce(topic, values()[0], LAST)
    producer.flush(PATIENCE)
    return {"seconds": time.perf_counter() - began}


def _is_whole(answer: bytes) -> bool:
    """Say whether this is all of an HTTP response."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    assert head.startswith(b"HTTP/1.1 200"), answer
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    return len(body) == int(length)


def request(port: int, rows: int, count: int, connections: int) -> dict[str, Any]:
    """Ask for ``count`` rows over HTTP, by some connections at once; say how long each answer took."""
    numbers = random.Random(port)
    samples: list[float] = []
    with selectors.DefaultSelector() as waiting:
        begun: dict[socket.socket, float] = {}
        got: dict[socket.socket, bytes] = {}

        def ask(one: socket.socket) -> None:
            begun[one], got[one] = time.perf_counter(), b""
            one.sendall(b"GET /rows/%d HTTP/1.1\r\nHost: it\r\n\r\n" % numbers.randrange(rows))

        start = time.perf_counter()
        for _ in range(connections):
            one = socket.create_connection(("127.0.0.1", port))
            waiting.register(one, selectors.EVENT_READ)
            ask(one)
        while len(samples) < count:
            for ready, _ in waiting.select():
                one = cast("socket.socket", ready.fileobj)
                got[one] += one.recv(1 << 16)
                if not _is_whole(got[one]):
                    continue
                samples.append(time.perf_counter() - begun[one])
                if len(samples) <= count - connections:
                    ask(one)
        seconds = time.perf_counter() - start
        for one in begun:
            one.close()
    return {"seconds": seconds, "samples": samples}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "restore": restore,
    "discard": discard,
    "fill": fill_memory,
    "repeat": repeat,
    "tables": tables,
    "worker": worker,
    "read_while_restoring": read_while_restoring,
    "follow": follow,
    "write": write,
    "request": request,
}

if __name__ == "__main__":
    main()
