"""The schema registry's client against the stand-in: answers, refusals, and no answer."""

from __future__ import annotations

import gc
import json
import uuid
from typing import Any

import pytest

from statestore import ConfigError, RegistryError, UnreachableRegistryError
from statestore.serde.registry import Registered, Registry, registry_of
from statestore.settings import RegistrySettings
from statestore.testing.interrupts import count_instants
from statestore.testing.registry import StandInRegistry
from tests.unit.serde.avro.conftest import Ask

SUBJECT = "orders-value"


def record(*fields: dict[str, Any], name: str = "Order") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


A = {"name": "a", "type": "long"}
FIRST = record(A)
ADDED = record(A, {"name": "b", "type": "long", "default": 0})
REQUIRED = record(A, {"name": "b", "type": "long"})


def test_a_schema_has_one_id_and_is_found_by_it(ask: Ask) -> None:
    registry = registry_of(ask())
    first = registry.register(SUBJECT, FIRST)
    second = registry.register(SUBJECT, ADDED)
    assert registry.register(SUBJECT, FIRST) == first != second
    assert registry.register("trades-value", FIRST) == first
    assert json.loads(registry.schema(second, SUBJECT) or "") == json.loads(ADDED)
    assert [found.id for found in registry.versions(SUBJECT)] == [first, second]


def test_what_is_not_there_is_told_apart_from_a_failure(ask: Ask) -> None:
    registry = registry_of(ask())
    assert registry.schema(7, SUBJECT) is None
    assert registry.versions(SUBJECT) == []
    assert registry.registered(SUBJECT, FIRST) is None


def test_a_schema_is_asked_for_once(ask: Ask, stand_in: StandInRegistry) -> None:
    registry = registry_of(ask())
    number = registry.register(SUBJECT, FIRST)
    stand_in.requests.clear()
    for _ in range(3):
        registry.schema(number, SUBJECT)
        registry.registered(SUBJECT, FIRST)
    assert len(stand_in.requests) == len(set(stand_in.requests))


def test_an_incompatible_schema_is_refused_with_subject_and_reason(ask: Ask) -> None:
    registry = registry_of(ask())
    registry.register(SUBJECT, FIRST)
    assert registry.is_compatible(SUBJECT, ADDED)
    assert not registry.is_compatible(SUBJECT, REQUIRED)
    with pytest.raises(
        RegistryError, match=r"subject orders-value: .*incompatible.*DEFAULT_VALUE: b"
    ) as raised:
        registry.register(SUBJECT, REQUIRED)
    assert not isinstance(raised.value, UnreachableRegistryError)
    assert len(registry.versions(SUBJECT)) == 1


def test_a_new_subject_takes_any_schema(ask: Ask) -> None:
    assert registry_of(ask()).is_compatible(SUBJECT, REQUIRED)


def test_nothing_is_registered_where_the_settings_forbid_it(ask: Ask, stand_in: StandInRegistry) -> None:
    registry = registry_of(ask(auto_register=False))
    with pytest.raises(RegistryError, match=r"orders-value: .*not registered.*statestore schema register"):
        registry.id_for_writing(SUBJECT, FIRST)
    assert stand_in.versions(SUBJECT) == []
    number = stand_in.register(SUBJECT, json.loads(FIRST))
    assert registry.id_for_writing(SUBJECT, FIRST) == number


def test_a_new_subject_gets_the_level_of_the_settings(ask: Ask, stand_in: StandInRegistry) -> None:
    registry_of(ask(compatibility="FULL")).register(SUBJECT, FIRST)
    assert stand_in.level(SUBJECT) == "FULL"
    with pytest.raises(RegistryError, match=r"level is FULL, .* is NONE"):
        registry_of(ask(compatibility="NONE")).register(SUBJECT, REQUIRED)
    registry_of(ask()).register("other", FIRST)
    assert stand_in.level("other") is None


def test_a_registry_that_is_away_is_named_with_the_subject(ask: Ask, stand_in: StandInRegistry) -> None:
    registry = registry_of(ask())
    stand_in.stop()
    with pytest.raises(UnreachableRegistryError, match=r"orders-value: no answer.*refused") as raised:
        registry.register(SUBJECT, FIRST)
    assert stand_in.url in str(raised.value)
    stand_in.start()
    assert registry.register(SUBJECT, FIRST) == 1


@pytest.mark.parametrize(("status", "tries"), [(500, 4), (503, 4), (429, 4), (409, 1), (422, 1), (401, 1)])
def test_only_what_may_pass_is_tried_again(
    ask: Ask, stand_in: StandInRegistry, status: int, tries: int
) -> None:
    stand_in.fail(status, "made to fail", times=10)
    with pytest.raises(RegistryError, match=f"made to fail .HTTP {status}"):
        registry_of(ask()).versions(SUBJECT)
    assert len(stand_in.requests) == tries


def test_a_failure_that_passes_is_not_noticed(ask: Ask, stand_in: StandInRegistry) -> None:
    stand_in.fail(503, times=3)
    assert registry_of(ask()).register(SUBJECT, FIRST) == 1


@pytest.mark.parametrize(("status", "passing"), [(503, True), (403, True), (401, True), (409, False)])
def test_no_access_and_no_answer_say_nothing_about_the_data(
    ask: Ask, stand_in: StandInRegistry, status: int, passing: bool
) -> None:
    stand_in.fail(status)
    with pytest.raises(RegistryError) as raised:
        registry_of(ask(retries=0)).versions(SUBJECT)
    assert isinstance(raised.value, UnreachableRegistryError) is passing


def test_a_slow_registry_is_given_up_after_the_timeout(ask: Ask, stand_in: StandInRegistry) -> None:
    stand_in.delay = 30.0
    with pytest.raises(UnreachableRegistryError, match="timed out"):
        registry_of(ask(timeout=0.2, retries=1)).versions(SUBJECT)
    assert len(stand_in.requests) == 2


def test_an_answer_of_something_else_is_no_answer(ask: Ask, stand_in: StandInRegistry) -> None:
    stand_in.fail(200)
    with pytest.raises(UnreachableRegistryError, match="no answer"):
        registry_of(ask()).register(SUBJECT, FIRST)


def test_credentials_are_sent_and_never_shown(ask: Ask, stand_in: StandInRegistry) -> None:
    stand_in.credentials = ("ann", "s3cret:x")
    assert registry_of(ask(username="ann", password="s3cret:x")).register(SUBJECT, FIRST) == 1
    registry = registry_of(ask(username="ann", password="wr0ng"))
    with pytest.raises(UnreachableRegistryError, match="Unauthorized") as raised:
        registry.register(SUBJECT, ADDED)
    stand_in.fail(422, "no such user as ann:wr0ng")
    with pytest.raises(RegistryError, match=r"ann:\*\*\*") as told:
        registry.register(SUBJECT, ADDED)
    for shown in (str(raised.value), str(told.value), repr(registry), str(raised.value.__cause__)):
        assert "wr0ng" not in shown


def test_those_with_the_same_settings_share_a_registry_while_it_is_used(ask: Ask) -> None:
    registry = registry_of(ask())
    assert registry_of(ask()) is registry
    assert registry_of(ask(timeout=9.0)) is not registry
    assert registry_of(ask(username="ann", password="a")) is not registry_of(
        ask(username="ann", password="b")
    )


def test_its_connections_end_with_it(ask: Ask, stand_in: StandInRegistry) -> None:
    registry: Registry | None = registry_of(ask())
    assert registry is not None
    registry.versions(SUBJECT)
    client = registry._made
    assert client is not None
    del registry
    gc.collect()
    assert client._rest_client.session.is_closed


def test_no_registry_in_the_settings_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"schema_registry\.url"):
        registry_of(RegistrySettings())


def test_a_mock_registry_is_one_for_all_of_the_process() -> None:
    url = f"mock://{uuid.uuid4()}"
    one = registry_of(RegistrySettings(url=url, compatibility="FULL"))
    other = registry_of(RegistrySettings(url=url))
    assert one is not other
    first, second = one.register(SUBJECT, FIRST), one.register(SUBJECT, ADDED)
    assert other.versions(SUBJECT) == [Registered(first, FIRST), Registered(second, ADDED)]
    assert other.is_compatible(SUBJECT, REQUIRED)
    assert other.schema(9, SUBJECT) is None
    assert registry_of(RegistrySettings(url=f"mock://{uuid.uuid4()}")).versions(SUBJECT) == []


def test_no_python_runs_where_a_registry_dies() -> None:
    dying = [registry_of(RegistrySettings(url="http://127.0.0.1:1"))]
    gc.collect()

    def die() -> None:
        dying.clear()
        gc.collect()

    assert count_instants(die) == 0  # an exception of a signal handler would be lost there
