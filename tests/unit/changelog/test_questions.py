"""What the binder asks the broker while tables run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from statestore.changelog.binder import Binder
from statestore.changelog.readiness import State

Place = tuple[str, int]


class RestartedMember:
    """A table whose partitions are forgotten, by a restart, right after they were looked at."""

    name = topic = "t"
    start_id = 1
    max_staleness = None
    state = State.READY
    looks = applied = 0

    @property
    def contact(self) -> RestartedMember:
        return self

    @property
    def positions(self) -> dict[int, int]:
        self.looks += 1
        return {0: 0} if self.looks == 1 else {}

    def runs(self, start_id: int) -> bool:
        return start_id == self.start_id

    def evaluate(self) -> None: ...

    def confirmed(self, start_id: int, ends: object, asked_at: float, positions: object) -> None: ...


class Source:
    def __init__(self) -> None:
        self.asked: list[dict[Place, Future[Any]]] = []

    def serve(self) -> None: ...

    def ends(self, places: Iterable[Place]) -> dict[Place, Future[Any]]:
        self.asked.append({place: Future() for place in places})
        return self.asked[-1]


def test_the_ends_are_asked_for_again_although_a_table_restarts_meanwhile() -> None:
    source = Source()
    binder: Any = Binder.__new__(Binder)
    binder.clock = time.time
    binder._source, binder.members, binder._asking_ends, binder._asking_identity = source, [], False, True
    binder.supervisor = SimpleNamespace(soon=lambda call: call(), later=lambda delay, call: None)
    binder.defaults = SimpleNamespace(confirm_interval=1.0)
    binder._ticks = 0
    binder._stall = binder._recovered = lambda *_: None
    for _ in range(2):
        binder.members = [RestartedMember()]
        binder._tick()
        (answer,) = source.asked[-1].values()
        answer.set_result(SimpleNamespace(offset=3))
    assert [list(asked) for asked in source.asked] == [[("t", 0)], [("t", 0)]]
