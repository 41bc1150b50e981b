"""Deployments through errors, lost answers and time-outs: the same end, and no statement twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from statestore.deploy import Deployer, MemoryHistory, Plan
from statestore.deploy.history import HistoryRecord
from statestore.errors import DeployError, KsqlServerError, StateStoreError
from statestore.testing.ksqldb import Fault, StandInKsqldb

MakeDeployer = Callable[..., Deployer]


@pytest.fixture
def plan(shop: Any, plan_of: Callable[..., Plan]) -> Plan:
    return plan_of(shop.orders("REASON"), shop.large(), shop.returns(), shop.totals())


@pytest.mark.parametrize("fault", ["500", "500 after", "lost", "lost after"])
def test_whichever_request_fails_the_next_apply_ends_as_if_none_had(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan, fault: Fault
) -> None:
    """Every request in turn is the one that fails, in the same history of a new server."""
    number = 0
    while True:
        number += 1
        server.forget()
        for record in history.read():
            history.remove(record)
        server.faults = {number: fault}
        try:
            deployer(retries=0).apply(plan, dry_run=False)
        except StateStoreError:
            deployer().apply(plan, dry_run=False)
        assert server.catalog.executed == [one.text for one in plan.statements], number
        assert len(server.catalog.queries) == 3, number
        assert [one.object for one in history.read()] == ["ORDERS", "LARGE", "LARGE", "TOTALS"], number
        assert {one.state for one in history.read()} == {"applied"}, number
        if number > len(server.requests):
            break
    assert number > 15


@pytest.mark.parametrize("fault", ["500 after", "lost", "lost after"])
def test_whichever_request_of_a_retirement_fails_the_next_one_ends_as_if_none_had(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan, fault: Fault
) -> None:
    def retire() -> None:
        deployer(retries=0).retire("shop", "LARGE", dry_run=False, allow_destructive=True)

    fresh = replace(plan, statements=plan.statements[:3])
    for number in range(1, 8):  # of which six are the retirement's
        server.forget()
        for record in history.read():
            history.remove(record)
        deployer().apply(fresh, dry_run=False)
        server.faults = {len(server.requests) + number: fault}
        try:
            retire()
        except StateStoreError:
            retire()
        assert list(server.catalog.sources) == ["ORDERS"], number
        assert not server.catalog.queries, number
        assert [one.object for one in history.read() if one.state == "applied"] == ["ORDERS"], number


class HistoryThatFails(MemoryHistory):
    """A history whose n-th write fails, before or after it is done."""

    def __init__(self, failing: int, after: bool) -> None:
        super().__init__()
        self.left, self.after = failing, after

    def write(self, record: HistoryRecord) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise DeployError("Kafka does not answer", None)
        super().write(record)
        if self.left == 0:
            raise DeployError("Kafka does not answer", None)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("failing", range(1, 6))
def test_whichever_write_of_the_history_fails_the_next_apply_ends_as_if_none_had(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan, failing: int, after: bool
) -> None:
    history = HistoryThatFails(failing, after)
    for attempt in (deployer(), deployer()):
        attempt._history = history
        if attempt.metrics.failed or history.left > 0:
            with pytest.raises(DeployError):
                attempt.apply(plan, dry_run=False)
        else:
            attempt.apply(plan, dry_run=False)
    assert server.catalog.executed == [one.text for one in plan.statements]
    assert [one.state for one in history.read()] == ["applied"] * 4


@pytest.mark.parametrize("fault", ["silent", "silent after"])
@pytest.mark.parametrize("part", ["CREATE STREAM IF NOT EXISTS LARGE", "INSERT INTO LARGE"])
def test_after_a_time_out_the_object_is_looked_up_before_anything_is_sent_again(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan, fault: Fault, part: str
) -> None:
    deployer().apply(plan, dry_run=False)
    number = next(place for place, one in enumerate(server.requests, 1) if part in one)
    server.forget()
    for record in history.read():
        history.remove(record)
    server.faults = {number: fault}
    try:
        deployer(timeout=0.3).apply(plan, dry_run=False)
    except StateStoreError:  # an INSERT INTO is not sent again by itself
        deployer().apply(plan, dry_run=False)
    assert server.catalog.executed == [one.text for one in plan.statements]
    assert server.requests[number].startswith("POST /ksql LIST STREAMS;")


def test_a_server_that_is_not_well_is_asked_six_times_with_longer_and_longer_waits(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan
) -> None:
    server.faults = dict.fromkeys(range(1, 100), "500")
    waits: list[float] = []
    with pytest.raises(KsqlServerError, match=r"the server is not well \(error 50000\)"):
        deployer(wait=waits.append).apply(plan, dry_run=False)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert len(server.requests) == 6


def test_a_refusal_and_a_lost_connection_are_not_tried_again(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan
) -> None:
    server.faults = {1: "lost"}
    with pytest.raises(KsqlServerError, match="the connection failed"):
        deployer().apply(plan, dry_run=False)
    assert len(server.requests) == 1
    server.refused = {"ORDERS": "no"}
    with pytest.raises(DeployError):
        deployer().apply(plan, dry_run=False)
    assert sum("CREATE STREAM" in one for one in server.requests) == 1


def test_of_two_deployers_at_once_one_creates_and_the_other_finds(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan
) -> None:
    """The second begins after each single request of the first, and ends before the first goes on."""
    for place in range(1, 40):
        server.forget()
        for record in history.read():
            history.remove(record)
        second = deployer()
        ended: list[object] = []

        def other(second: Deployer = second, ended: list[object] = ended) -> None:
            try:
                ended.append(second.apply(plan, dry_run=False))
            except DeployError as error:
                assert "another deployer" in str(error)  # noqa: PT017 - one of two good ends
                ended.append(error)

        server.before = {place: other}
        deployer().apply(plan, dry_run=False)
        deployer().apply(plan, dry_run=False)
        assert server.catalog.executed == [one.text for one in plan.statements], place
        assert {one.state for one in history.read()} == {"applied"}, place
        if not ended:
            break
    else:
        pytest.fail("the first deployer never got through alone")


def test_a_statement_without_if_not_exists_that_another_deployer_sent_first_is_found(
    server: StandInKsqldb,
    history: MemoryHistory,
    deployer: MakeDeployer,
    shop: Any,
    plan_of: Callable[..., Plan],
) -> None:
    one = shop.orders()
    one = replace(one, text=one.text.replace("IF NOT EXISTS ", ""))
    deployer().apply(plan_of(one), dry_run=False)
    number = next(place for place, text in enumerate(server.requests, 1) if "CREATE" in text)
    server.forget()
    history.remove(history.read()[0])
    server.before = {number: lambda: server.catalog.run(one.text)}
    report = deployer().apply(plan_of(one), dry_run=False)
    assert [step.outcome for step in report.steps] == ["found"]
    assert "already exists" in report.steps[0].message
    assert len(server.catalog.executed) == 1


def test_the_intent_of_a_deployer_that_died_is_waited_out(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan
) -> None:
    deployer().apply(plan, dry_run=False)
    applied = next(one for one in history.read() if one.action == "insert into")
    server.forget()
    for record in history.read():
        history.remove(record)
    history.write(replace(applied, state="sending", queries=("CSAS_LARGE_1",), deployer="died"))
    with pytest.raises(
        DeployError, match=r"another deployer \(.+@.+\) has been sending this INSERT INTO LARGE"
    ):
        deployer().apply(plan, dry_run=False)
    (intent,) = [one for one in history.read() if one.state == "sending"]
    history.write(replace(intent, time="2026-01-01T00:00:00+00:00"))
    assert deployer().apply(plan, dry_run=False).ok
    assert server.catalog.executed == [one.text for one in plan.statements]
