"""A signal handler that raises, or that closes the manager, at any instant of a call on a table or stream."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest

from statestore import (
    Delivery,
    DeliveryError,
    Key,
    State,
    StoreClosedError,
    StoreManager,
    Stream,
    Table,
    entity,
)
from statestore.runtime import interrupts
from statestore.testing.interrupts import (
    Interrupt,
    TimeLimit,
    count_instants,
    installed,
    interrupted,
    raise_interrupt,
    raise_time_limit,
)
from statestore.testing.kafka import Broker

pytestmark = [
    pytest.mark.kafka,
    # What Python itself leaves open where it is interrupted: a directory that it reads, a package's metadata.
    pytest.mark.filterwarnings("ignore:unclosed scandir iterator:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file.*dist-info:ResourceWarning"),
]

SOAK = os.environ.get("STATESTORE_SOAK") == "1"
QUICK = 10.0  # seconds, of which a close takes a small part; waiting for its own thread it takes sixty

Managers = Callable[..., StoreManager]
Eventually = Callable[[Callable[[], object]], None]


@dataclass(frozen=True)
class Row:
    id: Annotated[int, Key]
    text: str = ""


@dataclass(frozen=True)
class Event:
    text: str = ""


class Opened(NamedTuple):
    manager: StoreManager
    rows: Table[Any]
    events: Stream[Any]
    row: Any
    """The class of the rows."""

    @classmethod
    def of(cls, manager: StoreManager, classes: list[Any]) -> Opened:
        rows, events = manager.bind(classes[0]), manager.stream(classes[1])
        rows.wait_until_ready(60)
        return cls(manager, rows, events, classes[0])


@pytest.fixture
def classes(broker: Broker, topic: Callable[[str], str], managers: Managers) -> list[Any]:
    """A table and a stream, with twenty records each."""
    made: list[Any] = []
    for base, kind in ((Row, "table"), (Event, "stream")):
        name = topic(kind)
        broker.create_topic(name, 2, None if kind == "table" else {"cleanup.policy": "delete"})
        shape = make_dataclass(base.__name__, [], bases=(base,), frozen=True)
        made.append(entity(shape, topic=name, kind=kind))  # type: ignore[call-overload]
    manager = managers(broker, directory="before")
    manager.add_all([made[0](number) for number in range(20)])
    manager.add_all([made[1](str(number)) for number in range(20)])
    manager.close()
    return made


@pytest.fixture
def opened(broker: Broker, classes: list[Any], managers: Managers) -> Opened:
    return Opened.of(managers(broker, backend="rocksdb"), classes)


def transaction(all_: Opened) -> None:
    with all_.manager.transaction() as writing:
        writing.add(all_.row(500))
        writing.add_all([all_.row(501), all_.row(502)])
        writing.delete(all_.row, 502)


def snapshot(all_: Opened) -> None:
    with all_.rows.snapshot() as view:
        assert view.positions
        assert view.get(1) is not None
        assert len(view.to_list()) >= 20


def flush(all_: Opened) -> None:
    all_.manager.flush(60)
    all_.rows.flush()


def pause(all_: Opened) -> None:
    all_.rows.pause()
    all_.rows.resume()
    all_.rows.wait_until_ready(60)


def stop(all_: Opened) -> None:
    all_.rows.stop()
    all_.rows.start()
    all_.rows.wait_until_ready(60)


def restart(all_: Opened) -> None:
    all_.rows.restart()
    all_.rows.wait_until_ready(60)


def listen(all_: Opened) -> None:
    all_.rows.on_ready(lambda: None)
    all_.rows.on_state_change(lambda _: None)
    all_.rows.on_progress(lambda _: None)


CALLS: dict[str, Callable[[Opened], object]] = {
    "add": lambda all_: all_.manager.add(all_.row(1)),
    "add and wait": lambda all_: all_.rows.add(all_.row(1), wait=True, timeout=60),
    "add_all": lambda all_: all_.rows.add_all([all_.row(n) for n in range(5)], wait=True, timeout=60),
    "add_all of an iterator": lambda all_: all_.manager.add_all(all_.row(n) for n in range(5)),
    "delete": lambda all_: all_.rows.delete(30, wait=True, timeout=60),
    "transaction": transaction,
    "wait_for": lambda all_: all_.rows.wait_for(Delivery(all_.rows.topic, 0, 0, 0), 60),
    "flush": flush,
    "ensure_topics": lambda all_: all_.manager.ensure_topics(all_.row),
    "bind": lambda all_: all_.manager.bind(all_.row),
    "stream": lambda all_: all_.manager.stream(all_.events.entity),
    "wait_until_ready": lambda all_: all_.rows.wait_until_ready(60),
    "wait for all": lambda all_: all_.manager.wait_until_ready(timeout=60),
    "sync": lambda all_: all_.rows.sync(60),
    "sync all": lambda all_: all_.manager.sync(timeout=60),
    "get": lambda all_: (all_.rows.get(1), all_.rows.get_many([1, 2])),
    "scan": lambda all_: (list(all_.rows.scan(limit=10)), all_.rows.count()),
    "for_each": lambda all_: all_.rows.for_each(lambda _: None),
    "snapshot": snapshot,
    "for_each of a stream": lambda all_: all_.events.for_each(lambda _: None),
    "to_list of a stream": lambda all_: all_.events.to_list(limit=3),
    "health": lambda all_: (all_.manager.health(), all_.events.health()),
    "listen": listen,
    "pause": pause,
    "stop": stop,
    "restart": restart,
}


def check(all_: Opened, text: str, eventually: Eventually) -> None:
    """Whether a call works as if nothing had been interrupted, and all counts are right."""
    manager, rows = all_.manager, all_.rows
    rows.start()
    if rows.state is State.PAUSED:
        rows.resume()
    rows.wait_until_ready(60)
    rows.wait_for(rows.add(all_.row(9, text), timeout=60), 60)
    assert rows.get(9) == all_.row(9, text)
    eventually(lambda: manager.health().producer.in_flight == 0)
    sent = manager.health().producer
    assert (sent.failed, sent.delivered) == (0, sent.sent)
    ended = manager.health().transactions
    assert ended.begun == ended.committed + ended.aborted
    eventually(lambda: not rows._binding._awaited)  # nobody waits


def closed_quickly(manager: StoreManager) -> None:
    began = time.monotonic()
    manager.close()
    assert time.monotonic() - began < QUICK


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "GRACE", 0.02)


@pytest.mark.parametrize(
    ("handler", "error"),
    [(raise_interrupt, Interrupt), (raise_time_limit, TimeLimit)],
    ids=["interrupt", "limit"],
)
def test_a_handler_that_raises_leaves_everything_right(
    handler: Callable[..., object], error: type[BaseException], opened: Opened, eventually: Eventually
) -> None:
    chance = random.Random(0)
    with installed(handler):
        for name, call in CALLS.items():
            count = count_instants(lambda: call(opened))  # noqa: B023 - called at once
            tried = range(count) if SOAK else sorted(chance.choices(range(count), k=8))
            for instant in tried:
                with contextlib.suppress(error):
                    interrupted(lambda: call(opened), handler, instant)  # noqa: B023
                check(opened, f"{name} {instant}", eventually)
    # Others can read and write: no lock is left taken.
    other = threading.Thread(target=lambda: [call(opened) for call in CALLS.values()], daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive()
    closed_quickly(opened.manager)


@pytest.mark.usefixtures("short_grace")
def test_a_handler_may_close_in_the_middle_of_a_call(
    broker: Broker, classes: list[Any], managers: Managers
) -> None:
    chance = random.Random(0)
    number = 0
    for name, call in CALLS.items():
        count = 60
        for _ in range(20 if SOAK else 1):
            number += 1
            opened = Opened.of(managers(broker, directory=f"state{number}"), classes)
            closed: list[bool] = []

            def close() -> None:
                closed_quickly(opened.manager)  # noqa: B023 - called at once
                closed.append(True)  # noqa: B023

            error: Exception | None = None
            try:
                interrupted(lambda: call(opened), close, chance.randrange(count))  # noqa: B023
            except (StoreClosedError, DeliveryError) as raised:
                error = raised
            assert "closed" in str(error or "closed"), name
            count = count * 2 if closed else max(10, count // 2)
            if closed:
                for later in (CALLS["add"], CALLS["get"], CALLS["sync"], CALLS["to_list of a stream"]):
                    with pytest.raises(StoreClosedError):
                        later(opened)
            closed_quickly(opened.manager)


def test_a_manager_may_be_interrupted_while_it_is_made_and_closed(
    broker: Broker, classes: list[Any], tmp_path: Path
) -> None:
    def life() -> None:
        with StoreManager(tmp_path, broker.bootstrap, "lmdb", classes, wait=60) as manager:
            assert manager.bind(classes[0]).get(1) == classes[0](1)

    chance = random.Random(0)
    for _ in range(100 if SOAK else 6):
        count = count_instants(life)
        with contextlib.suppress(Interrupt):
            interrupted(life, raise_interrupt, chance.randrange(count))


@pytest.mark.usefixtures("short_grace")
def test_real_signals(opened: Opened, eventually: Eventually) -> None:
    chance = random.Random(0)
    came = 0
    turns = 2000 if SOAK else 40
    calls = list(CALLS.values())
    with installed(raise_interrupt):
        for turn in range(turns):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.02))
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    chance.choice(calls)(opened)
            except Interrupt:
                came += 1
            check(opened, str(turn), eventually)
    assert came == turns
    with installed(lambda *_: closed_quickly(opened.manager)):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises((StoreClosedError, DeliveryError)):
            while True:
                chance.choice(calls)(opened)
    closed_quickly(opened.manager)
