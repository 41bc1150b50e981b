"""The id of a topic is asked for until it is told: a time-out is no answer, and a refusal is one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from statestore.changelog.binder import Binder
from statestore.changelog.contact import Contact
from statestore.changelog.effects import AskBroker, LeaveLanes
from statestore.changelog.machine import Connection, TableMachine
from statestore.changelog.readiness import PartitionProgress, Progress, State
from statestore.delivery import Delivery
from statestore.errors import StoreUnavailableError
from statestore.kafka.answers import NO_TOPIC_ID, Bounds, KafkaErrorKind, TopicState, kind_of
from statestore.settings import TableOptions

Place = tuple[str, int]
NO_ANSWER = (
    Code._TIMED_OUT,
    Code._TRANSPORT,
    Code._ALL_BROKERS_DOWN,
    Code.LEADER_NOT_AVAILABLE,
    Code.NOT_CONTROLLER,
    Code.REQUEST_TIMED_OUT,
)
CANNOT_TELL = (
    Code.TOPIC_AUTHORIZATION_FAILED,
    Code.CLUSTER_AUTHORIZATION_FAILED,
    Code._UNSUPPORTED_FEATURE,
    Code.UNSUPPORTED_VERSION,
)


def told(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(result, int):
        future.set_exception(KafkaException(Code(result)))
    else:
        future.set_result(result)
    return future


def described(topic_id: str = "id", partitions: int = 1) -> Any:
    return SimpleNamespace(topic_id=topic_id, partitions=[None] * partitions)


CONFIGS = {"cleanup.policy": SimpleNamespace(value="compact")}


class Source:
    """A broker with one partition of 3 records. Its next answers are given, of which the last is repeated."""

    address = "broker"

    def __init__(self, ids: Iterable[Any], configs: Iterable[Any] = (CONFIGS,)) -> None:
        self._ids, self._configs = list(ids), list(configs)
        self.timeouts: list[float] = []
        self.lost: Future[dict[int, str]] = told({})
        self.checked: list[Any] = []

    def serve(self) -> None: ...

    def ends(self, places: Iterable[Place]) -> dict[Place, Future[Any]]:
        return {place: told(SimpleNamespace(offset=3, leader_epoch=7)) for place in places}

    def starts(self, places: Iterable[Place]) -> dict[Place, Future[Any]]:
        return {place: told(SimpleNamespace(offset=0, leader_epoch=0)) for place in places}

    def topic_ids(self, topics: Iterable[str], timeout: float) -> dict[str, Future[Any]]:
        self.timeouts.append(timeout)
        return {topic: told(self._next(self._ids)) for topic in topics}

    def topic_configs(self, topics: Iterable[str], timeout: float) -> dict[str, Future[Any]]:
        return {topic: told(self._next(self._configs)) for topic in topics}

    def lost_positions(self, topic: str, positions: Any, is_wanted: Any) -> Future[dict[int, str]]:
        assert is_wanted()
        self.checked.append((topic, positions))
        return self.lost

    def look_again(self) -> None: ...

    @staticmethod
    def _next(answers: list[Any]) -> Any:
        return answers.pop(0) if len(answers) > 1 else answers[0]


class FakeContact:
    """Takes what it is told, and runs until it fails."""

    partition_count = 1
    applied = 0

    def __init__(self, *, knows_id: bool) -> None:
        self.awaits_identity = knows_id
        self.positions: dict[int, int] = {}
        self.unchecked: dict[int, tuple[int, int]] = {}
        self.captures: list[dict[int, Bounds]] = []
        self.states: list[TopicState] = []
        self.failures: list[KafkaErrorKind] = []
        self.cut: list[Any] = []

    def is_past_end(self, bounds: dict[int, Bounds]) -> bool:
        return False

    def unchecked_positions(self, bounds: dict[int, Bounds]) -> dict[int, tuple[int, int]]:
        return self.unchecked

    def captured(self, start_id: int, bounds: dict[int, Bounds], asked_at: float) -> None:
        self.captures.append(bounds)
        self.positions = {0: 3}

    def identified(self, start_id: int, found: TopicState, cluster_id: Any, applied: int) -> None:
        self.states.append(found)

    def failed(self, start_id: int, failure: Code, cause: str) -> None:
        self.failures.append(kind_of(failure))

    def cut_off(self, start_id: int, lost: Any) -> None:
        self.cut.append(lost)

    def confirmed(self, *told: Any) -> None: ...


class Waiting:
    """What the binder wants to do later; ``turn`` does all that waits now."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def soon(self, call: Any) -> None:
        call()

    def later(self, delay: float, call: Any) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def started(source: Source, waiting: Waiting, *, knows_id: bool = True) -> tuple[Any, FakeContact]:
    """Return a binder that has asked once for a table, and the table's contact."""
    contact = FakeContact(knows_id=knows_id)
    member = SimpleNamespace(
        name="t",
        topic="t",
        contact=contact,
        start_id=1,
        max_staleness=None,
        state=None,
        evaluate=lambda: None,
    )
    member.runs = lambda start_id: start_id == 1
    binder: Any = Binder.__new__(Binder)
    binder.clock = time.time
    binder._source, binder.members, binder.supervisor = source, [member], waiting
    binder.connection, binder.cluster_id = Connection(), None
    binder.changed = threading.RLock()
    binder._asking_ends = binder._asking_identity = False
    binder._identity_timeouts = binder._ticks = 0
    binder.defaults = SimpleNamespace(confirm_interval=1.0, request_timeout=30.0)
    binder.connect(member, 1)
    return binder, contact


@pytest.mark.parametrize("code", NO_ANSWER)
def test_nothing_is_applied_to_a_known_topic_before_its_id_is_told(code: int, waiting: Waiting) -> None:
    source = Source([code, code, code, described()])
    _, contact = started(source, waiting)
    for _ in range(3):
        assert contact.captures == []
        assert contact.states[-1].topic_id is None
        waiting.turn()
    assert len(contact.captures) == 1
    assert contact.states[-1].topic_id == "id"
    assert source.timeouts == [2.0, 4.0, 8.0, 16.0], "a slow broker gets more time"
    assert len(contact.failures) == 3


@pytest.mark.parametrize("code", CANNOT_TELL)
def test_a_broker_that_cannot_tell_the_id_holds_nothing_up(code: int, waiting: Waiting) -> None:
    _, contact = started(Source([code]), waiting)
    assert len(contact.captures) == 1
    assert not contact.failures
    assert contact.states == [TopicState(cleanup_policy="compact")]


def test_an_id_of_zeros_is_none(waiting: Waiting) -> None:
    _, contact = started(Source([described(NO_TOPIC_ID)]), waiting)
    assert contact.states == [TopicState(None, 1, "compact")]
    assert len(contact.captures) == 1


@pytest.mark.parametrize("code", NO_ANSWER + CANNOT_TELL)
def test_a_first_restore_is_not_delayed_and_the_id_is_asked_for_until_it_is_told(
    code: int, waiting: Waiting
) -> None:
    source = Source([code] * 5 + [described(), described("other")], [code] * 3 + [CONFIGS])
    binder, contact = started(source, waiting, knows_id=False)
    assert len(contact.captures) == 1
    for _ in range(6):
        assert contact.states[-1].topic_id is None
        binder._tick()
        if contact.states[-1].topic_id:
            break
    assert contact.states[-1] == TopicState("id", 1, "compact")
    binder._tick()
    assert contact.states[-1].topic_id == "other", "a topic made anew later is told, too"
    assert max(source.timeouts) <= 30.0


def test_one_question_for_ids_is_under_way_at_a_time(waiting: Waiting) -> None:
    source = Source([described()])
    binder, contact = started(source, waiting)
    hanging: Future[Any] = Future()
    source.topic_ids = lambda topics, timeout: dict.fromkeys(topics, hanging)  # type: ignore[method-assign]
    binder._tick()
    seen = len(contact.states)
    source.topic_ids = Source.topic_ids.__get__(source)  # type: ignore[method-assign]
    binder._tick()
    assert len(contact.states) == seen
    hanging.set_result(described("late"))
    assert contact.states[-1].topic_id == "late"
    binder._tick()
    assert contact.states[-1].topic_id == "id"


def test_a_position_of_an_earlier_epoch_is_checked_before_anything_is_read(waiting: Waiting) -> None:
    source = Source([described()])
    source.lost = Future()
    contact = FakeContact(knows_id=True)
    contact.unchecked = {0: (3, 5)}
    binder, first = started(source, waiting)
    assert first.captures == [{0: Bounds(0, 3, 7)}]
    binder.members[0].contact = contact
    binder.connect(binder.members[0], 1)
    assert source.checked == [("t", {0: (3, 5)})]
    assert contact.captures == []
    source.lost.set_exception(KafkaException(Code(Code._TIMED_OUT)))
    assert contact.failures == [KafkaErrorKind.UNREACHABLE]
    source.lost = told({})
    waiting.turn()
    assert len(contact.captures) == 1
    source.lost = told({0: "truncated"})
    binder.connect(binder.members[0], 1)
    assert contact.cut == [{0: "truncated"}]
    assert len(contact.captures) == 1


def test_a_broker_that_was_away_is_asked_again_before_a_lane_reads_on() -> None:
    connection = Connection()
    machine = TableMachine(TableOptions(), connection, 0.0)
    machine.restart(0.0)
    machine.opened(1)
    progress = Progress({0: PartitionProgress(0)})
    progress.capture({0: 3}, 0.0)
    machine.captured(1, progress)
    assert machine.entered(1)
    assert not machine.was_away
    connection.outages += 1
    assert machine.was_away
    assert machine.doubted() == (LeaveLanes(2, flush=False), AskBroker(2))
    assert not machine.applying
    assert machine.doubted() == (), "it is being asked already"
    machine.captured(2, progress)
    assert not machine.was_away


# What does not fit

KNOWN = {0: 100, 1: 7}


def contact_at(positions: dict[int, int]) -> tuple[Contact, TableMachine]:
    """Return the contact of a table that follows and has applied up to ``positions``."""
    machine = TableMachine(TableOptions(), Connection(), 0.0)
    machine.restart(0.0)
    machine.opened(1)
    progress = Progress({number: PartitionProgress(one) for number, one in positions.items()})
    progress.capture(positions, 0.0)
    machine.captured(1, progress)
    machine.entered(1)
    machine.advanced(progress, 0.0)
    assert machine.state is State.READY
    mirror: Any = SimpleNamespace(progress=progress, topic="t", confirm=lambda *_: None)
    return Contact(mirror, machine, lambda event: event(), lambda: None), machine


@pytest.mark.parametrize(
    ("offset", "partition", "doubts"),
    [(99, 0, True), (0, 1, True), (100, 0, False), (-1, 0, False), (0, 2, False)],
)
def test_a_record_that_was_written_below_the_position(offset: int, partition: int, doubts: bool) -> None:
    contact, machine = contact_at(KNOWN)
    assert contact.positions == KNOWN
    contact.delivered(KNOWN, [Delivery("t", 0, 100, 0), Delivery("t", partition, offset, 0)])
    assert machine.positions_hold is not doubts
    assert machine.applying is not doubts
    assert machine.state is State.READY, "what was applied stays readable"


@pytest.mark.parametrize(("end", "doubts"), [(99, True), (100, False), (101, False)])
def test_an_end_below_the_position_it_had_when_asked(end: int, doubts: bool) -> None:
    contact, machine = contact_at({0: 120})
    contact.confirmed(1, {0: end}, 0.0, {0: 100})
    assert machine.applying is not doubts


@pytest.mark.parametrize(
    ("code", "waits"), [(Code._NOENT, True), (Code.LEADER_NOT_AVAILABLE, True), (Code.UNKNOWN, False)]
)
def test_a_partition_without_a_leader_is_waited_for(code: int, waits: bool) -> None:
    """``_NOENT`` is what a client says that does not know the leader, while its broker starts anew, say."""
    machine = TableMachine(TableOptions(), Connection(), 0.0, retry_waits=(1.0, 1.0))
    machine.restart(0.0)
    machine.opened(1)
    mirror: Any = SimpleNamespace(unavailable=lambda *text: StoreUnavailableError("t", *text))
    contact = Contact(mirror, machine, lambda event: event(), lambda: None)
    for _ in range(10):
        contact.failed(1, Code(code), "no answer")
    assert machine.running is waits
