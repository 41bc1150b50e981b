"""Every call on what a manager has opened, once its ``close()`` has run, in a signal handler, too."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer

from statestore import Delivery, F, Key, StoreClosedError, StoreManager, WindowStart, entity
from statestore.query.facade import Queryable
from statestore.runtime import interrupts


@entity(topic="rows")
@dataclass(frozen=True)
class Row:
    id: Annotated[int, Key]
    text: str = ""


@entity(topic="bars", windows=[1])
@dataclass(frozen=True)
class Bar:
    id: Annotated[int, Key]
    start: Annotated[int, WindowStart]


@entity(topic="events", kind="stream")
@dataclass(frozen=True)
class Event:
    text: str = ""


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "manager.add": (Row(1),),
    "manager.add_all": ([Row(1)],),
    "manager.bind": ("another",),
    "manager.delete": (Row, 1),
    "manager.ensure_topics": (Row,),
    "manager.open": ("another",),
    "manager.open_session": ("visits", 60),
    "manager.open_window": ("candles", 5, 60),
    "manager.store": ("sessions",),
    "manager.stream": (Event,),
    "table.add": (Row(1),),
    "table.add_all": ([],),
    "table.avg": (F.id,),
    "table.delete": (1,),
    "table.get": (1,),
    "table.get_many": ([1],),
    "table.get_record": (1,),
    "table.get_with_timestamp": (1,),
    "table.max": (F.id,),
    "table.min": (F.id,),
    "table.sum": (F.id,),
    "table.wait_for": (Delivery("rows", 0, 0, 0),),
    **{
        f"{one}.{name}": given
        for one in ("bars", "minutes")
        for name, given in (
            ("add", (Bar(1, 0),)),
            ("add_all", ([],)),
            ("avg", (F.id,)),
            ("delete", (1, 0)),
            ("get", (1, 0)),
            ("get_many", ([(1, 0)],)),
            ("get_record", (1, 0)),
            ("get_with_timestamp", (1, 0)),
            ("max", (F.id,)),
            ("min", (F.id,)),
            ("sum", (F.id,)),
            ("wait_for", (Delivery("bars_1min_final", 0, 0, 0),)),
        )
    },
    "minutes.fetch": (1,),
    "minutes.latest": (1,),
    "transaction.add": (Row(1),),
    "transaction.add_all": ([],),
    "transaction.delete": (Row, 1),
    "windows.delete": (b"a", 0),
    "windows.get": (b"a", 0),
    "windows.put": (b"a", 0, b"1"),
    "sessions.delete": (b"a", 0, 0),
    "sessions.get": (b"a", 0, 0),
    "sessions.put": (b"a", 0, 0, b"1"),
    "wait_for": ([],),
    "delete": (b"a",),
    "fetch": (b"a",),
    "for_each": (print,),
    "get": (b"a",),
    "get_many": ([b"a"],),
    "get_record": (b"a",),
    "get_with_timestamp": (b"a",),
    "latest": (b"a",),
    "on_progress": (print,),
    "on_ready": (print,),
    "on_state_change": (print,),
    "pop": (b"a",),
    "put": (b"a", b"1"),
    "setdefault": (b"a", b"1"),
    "update": ({b"a": b"1"},),
}
"""By the object and the method, or by the method."""
INNER = {
    "cache_reads",
    "follow",
    "followed",
    "promoted",
    "index_keys",
    "partition_of",
    "rows_of",
    "scan_index",
    "spelled",
}
READS = {"all", "avg", "count", "exists", "first", "max", "min", "one", "sum"}
LEFT_OUT = {"close", "shut", "batch", "aggregate", "explain"} | (set(vars(Queryable)) - READS)
"""What ends, and what only prepares reads and writes, which raise then."""


def calls(opened: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give each public method of the objects, with arguments; iterators and views are read."""
    for name, one in opened.items():
        for method in dir(type(one)):
            if method.startswith("_") or method.endswith("_async") or method in LEFT_OUT:
                continue
            if isinstance(getattr(type(one), method), property) or method in INNER:
                continue
            given = ARGUMENTS.get(f"{name}.{method}", ARGUMENTS.get(method, ()))
            if (name, method) == ("manager", "snapshot"):
                given = opened["table"], opened["rows"]
            yield (
                f"{name}.{method}",
                lambda one=one, method=method, given=given: read(  # type: ignore[misc]
                    getattr(one, method)(*given)
                ),
            )


def read(result: Any) -> None:
    with contextlib.suppress(TypeError):  # what is no iterator, view or context manager was done by the call
        if hasattr(result, "__enter__"):
            result.__enter__()
        next(iter(result))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of librdkafka's mock broker, with a topic of entities, one of bytes, and a stream."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    for topic in ("rows", "raw", "events", "bars_1min_final"):
        producer.produce(topic, key=b"k", value=b"v")
    assert producer.flush(60) == 0
    yield f"{broker.host}:{broker.port}"
    del producer  # the broker lives as long as this


@pytest.mark.parametrize("when", ["closed", "closing, in a handler"])
def test_every_call_after_close_raises_that_it_is_closed(
    when: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    manager = StoreManager(tmp_path, address, "memory")
    store = manager.open("sessions")
    store[b"a"] = b"1"
    table, rows, events = manager.bind(Row), manager.bind("raw"), manager.stream(Event)
    bars = manager.bind(Bar)
    minutes = bars.window(1)
    rows.wait_until_ready(60)
    windows, sessions = manager.open_window("windows", 5, 60), manager.open_session("visits", 60)
    snapshot, scan, batch = store.snapshot(), store.scan(), store.batch()
    batch.__enter__().put(b"b", b"1")
    scope = manager.transaction()
    transaction = scope.__enter__()
    try:
        if when == "closed":
            manager.close()
        else:  # what the interrupted call needs is closed later: here, when all has been tried
            end = manager._end
            monkeypatch.setattr(manager, "_end", lambda: (goes_on.wait(60), end()))
            monkeypatch.setattr(interrupts, "GRACE", 0.02)
            store.update((key, (manager.close(), b"1")[1]) for key in [b"a"])  # type: ignore[func-returns-value]
    except StoreClosedError:
        pass  # of the interrupted call
    opened = {
        "manager": manager,
        "table": table,
        "rows": rows,
        "bars": bars,
        "minutes": minutes,
        "stream": events,
        "store": store,
        "snapshot": snapshot,
        "windows": windows,
        "sessions": sessions,
        "transaction": transaction,
    }
    wrong = []
    more: list[tuple[str, Callable[[], object]]] = [
        ("with manager", manager.__enter__),
        ("with transaction", lambda: scope.__exit__(None, None, None)),
        ("with batch", lambda: batch.__exit__(None, None, None)),
        ("next(scan)", lambda: next(scan)),
        ("store[key]", lambda: store[b"a"]),
        ("key in store", lambda: b"a" in store),
        ("len(store)", lambda: len(store)),
        ("table[key]", lambda: table[1]),
        ("len(rows)", lambda: len(rows)),
        ("list(rows)", lambda: list(rows)),
    ]
    for name, call in [*calls(opened), *more]:
        try:
            call()
        except StoreClosedError:
            continue
        except Exception as error:  # noqa: BLE001 - told below
            wrong.append((name, repr(error)))
        else:
            wrong.append((name, "no error"))
    goes_on.set()
    manager.close()
    assert not wrong, "\n".join(map(": ".join, wrong))


KEPT = """
import sys, time
from pathlib import Path
from statestore import StoreManager

def threads():
    return set(Path("/proc/self/task").iterdir())

before = threads()
manager = StoreManager(sys.argv[1], sys.argv[2], "memory", entities=["raw"], wait=60)
assert threads() - before
manager.close()
deadline = time.monotonic() + 60
while (left := threads() - before) and time.monotonic() < deadline:
    time.sleep(0.01)
assert "closed" in repr(manager)
print(*sorted((one / "comm").read_text().strip() for one in left) or ["none is left"])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells a process's threads")
def test_a_closed_manager_that_is_kept_keeps_no_thread(address: str, tmp_path: Path) -> None:
    """librdkafka's would call Python while the process ends. In a process without clients of other tests."""
    program = [sys.executable, "-c", KEPT, str(tmp_path), address]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "none is left\n", done.stdout + done.stderr
