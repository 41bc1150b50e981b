"""A client that the broker does not let in is told so at once, with what to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from confluent_kafka import KafkaError as Refusal
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

import statestore.kafka.source
from statestore import (
    DeliveryError,
    KafkaError,
    Key,
    State,
    StateStoreError,
    StoreManager,
    StoreUnavailableError,
    entity,
)
from statestore.testing.kafka import KafkaBroker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]

TIMEOUT = 60
PASSWORD, WRONG = "the-right-password", "hunter2-is-wrong"
PATIENT = {"request_timeout": 600.0}
"""What is told within a minute does not wait for this."""
CREDENTIALS = (
    r"correct security\.protocol and the sasl\.\* properties under \[kafka\], and open the StoreManager"
)


@entity(topic="open")
@dataclass(frozen=True, slots=True)
class Row:
    number: Annotated[int, Key]


@entity(topic="open")
@dataclass(frozen=True, slots=True)
class Event:
    number: int


@pytest.fixture(scope="module")
def guarded() -> Iterator[KafkaBroker]:
    """A broker that asks for a password, with the topic ``open`` which alice may do everything to."""
    authorizer = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with KafkaBroker(authorizer, users={"alice": PASSWORD, "carol": PASSWORD}) as broker:
        broker.create_topic("open")
        broker.produce("open", [(b"a", b"1")])
        allow(broker, ResourceType.TOPIC, "open", AclOperation.ALL)
        yield broker


def allow(
    broker: KafkaBroker,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    user: str = "alice",
) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    allowed = AclPermissionType.ALLOW
    acl = AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, allowed)
    admin.create_acls([acl])[acl].result(TIMEOUT)


def revoke(broker: KafkaBroker, kind: ResourceType, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    acls = AclBindingFilter(
        kind, name, ResourcePatternType.LITERAL, "User:alice", "*", AclOperation.ANY, AclPermissionType.ANY
    )
    admin.delete_acls([acls])[acls].result(TIMEOUT)


def as_user(
    broker: KafkaBroker, password: str = PASSWORD, mechanism: str = "PLAIN", user: str = "alice"
) -> dict[str, Any]:
    return {
        "bootstrap.servers": broker.sasl_bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
    }


@pytest.fixture(params=["native", "consumer"])
def fetcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each reader in turn."""
    if request.param == "consumer":
        monkeypatch.setattr(statestore.kafka.source, "why_not_native", lambda _: "a test")
    name: str = request.param
    return name


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(StateStoreError) as told:
        call()
    assert WRONG not in repr(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("mechanism", "says", "fetcher"),
    [
        ("PLAIN", "Authentication failed: Invalid username or password", "native"),
        ("SCRAM-SHA-256", "invalid credentials with SASL mechanism SCRAM-SHA-256", "consumer"),
        ("SCRAM-SHA-512", "broker's supported mechanisms: PLAIN,SCRAM-SHA-256", "native"),
    ],
    indirect=["fetcher"],
)
@pytest.mark.usefixtures("fetcher")
def test_refused_credentials_are_told_at_once_by_everything(
    mechanism: str,
    says: str,
    guarded: KafkaBroker,
    managers: Managers,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    kafka = as_user(guarded, WRONG, mechanism)
    manager = managers("", kafka=kafka, defaults=PATIENT)

    def transact() -> None:
        with manager.transaction() as transaction:
            transaction.add(Row(1))

    texts = [
        error_of(lambda: manager.bind(Row)),
        error_of(lambda: manager.stream(Event).to_list()),
        error_of(lambda: manager.add(Row(1))),
        error_of(transact),
        error_of(lambda: manager.ensure_topics(Row)),
        error_of(
            lambda: managers("", kafka=kafka, directory="all", defaults=PATIENT, entities=[Row], wait=600)
        ),
    ]
    for text in texts:
        assert says in text
        assert "and open the StoreManager anew" in text
        assert "when the broker is back" not in text
    lazy = managers("", kafka=kafka, directory="lazy", defaults=PATIENT, connect="lazy")
    table = lazy.bind(Row)
    with pytest.raises(StoreUnavailableError, match=CREDENTIALS) as told:
        table.wait_until_ready(600)
    assert "then restart()" in told.value.remedy
    health = table.health()
    assert (health.status, health.reason) == (State.FAILED, "failed")
    assert says in health.cause
    assert health.last_error == str(told.value)
    shown = [repr(lazy.health()), repr(manager.health()), repr(manager), repr(table), str(manager.explain())]
    for text in [*texts, *shown, *(record.getMessage() for record in caplog.records)]:
        assert WRONG not in text


def test_the_remedies_for_refused_credentials(
    guarded: KafkaBroker, managers: Managers, eventually: Eventually
) -> None:
    mended = {**as_user(guarded, WRONG, "SCRAM-SHA-256", "bob"), "reconnect.backoff.max.ms": 200}
    table = managers("", kafka=mended, connect="lazy").bind("open")
    with pytest.raises(StoreUnavailableError, match="invalid credentials"):
        table.wait_until_ready(TIMEOUT)
    # The broker accepts the client as it is, and the table is restarted ...
    admin = AdminClient({"bootstrap.servers": guarded.bootstrap})
    credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    bob = UserScramCredentialUpsertion("bob", credentials, WRONG.encode())
    admin.alter_user_scram_credentials([bob])["bob"].result(TIMEOUT)
    allow(guarded, ResourceType.TOPIC, "open", AclOperation.READ, "bob")

    def restarted() -> bool:
        table.restart()
        try:
            table.wait_until_ready(TIMEOUT)
        except StoreUnavailableError:  # of an attempt that was under way
            return False
        return True

    eventually(restarted)
    # ... or the manager has the right credentials. Neither takes a right to a consumer group.
    other = managers("", kafka=as_user(guarded), directory="other").bind("open")
    other.wait_until_ready(TIMEOUT)
    assert other.get(b"a") == table.get(b"a") == b"1"


def test_a_refusal_that_is_told_late_fails_no_table(guarded: KafkaBroker, managers: Managers) -> None:
    """A client tells of a refusal when it is asked next, which may be after a restart that mended it."""
    manager = managers("", kafka=as_user(guarded))
    table = manager.bind("open")
    table.wait_until_ready(TIMEOUT)
    binder = manager._binder
    assert binder is not None
    binder._client_failed(Refusal(Refusal._AUTHENTICATION, "told late"), "told late")
    told: Future[None] = Future()
    binder.supervisor.soon(lambda: told.set_result(None))
    told.result(TIMEOUT)  # it asks now
    while binder._asking_refusal:
        time.sleep(0.01)
    assert table.is_ready
    assert table.get(b"a") == b"1"


def test_a_port_of_another_protocol_is_asked_about(guarded: KafkaBroker, managers: Managers) -> None:
    plain = {"bootstrap.servers": guarded.sasl_bootstrap}
    tls = {"bootstrap.servers": guarded.bootstrap, "security.protocol": "SSL"}
    sasl = {**as_user(guarded), "bootstrap.servers": guarded.bootstrap}
    for number, (kafka, says) in enumerate(
        [
            (plain, "is security.protocol"),
            (tls, "is security.protocol that of the port?"),
            (sasl, "correct security.protocol"),
        ]
    ):
        with pytest.raises(KafkaError) as told:
            managers("", kafka=kafka, directory=f"state{number}", defaults=PATIENT).bind("open")
        assert says in str(told.value)


@pytest.mark.usefixtures("fetcher")
def test_rights_that_end_and_come_back(
    guarded: KafkaBroker, managers: Managers, eventually: Eventually
) -> None:
    topic = "lent"
    if not guarded.has_topic(topic):
        guarded.create_topic(topic)
    guarded.produce(topic, [(b"a", b"1")])
    allow(guarded, ResourceType.TOPIC, topic, AclOperation.DESCRIBE)
    with_read = managers("", kafka=as_user(guarded))
    table = with_read.bind(topic)
    for _ in range(2):  # Describe alone lets a client ask, and not read
        eventually(lambda: table.state is State.FAILED)
        with pytest.raises(StoreUnavailableError, match=r"(?i)topic authorization failed.*") as told:
            table.wait_until_ready(TIMEOUT)
        assert told.value.remedy == "grant the client Read on the topic, then restart()"
        allow(guarded, ResourceType.TOPIC, topic, AclOperation.READ)
        table.restart()
        table.wait_until_ready(TIMEOUT)
        assert table.get(b"a") == b"1"
        revoke(guarded, ResourceType.TOPIC, topic)
        with pytest.raises((KafkaError, StoreUnavailableError), match=r"grant the client .*Read on"):
            for _ in range(1000):  # whichever is told first: the answer about the ends, or that of a fetch
                table.sync(TIMEOUT)
        allow(guarded, ResourceType.TOPIC, topic, AclOperation.DESCRIBE)
        table.restart()
    eventually(lambda: table.state is State.FAILED)


def written(table_or_manager: Any, entity: object) -> bool:
    """Write; a client may know for a moment that it has no right when it has it already."""
    try:
        table_or_manager.add(entity, timeout=TIMEOUT)
    except DeliveryError:
        return False
    return True


def test_a_client_that_may_write_nowhere(
    guarded: KafkaBroker, managers: Managers, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    manager = managers("", kafka=as_user(guarded, user="carol"))
    allow(guarded, ResourceType.TOPIC, "open", AclOperation.DESCRIBE, "carol")
    grant = "Cluster authorization failed; grant the client Describe and Write on the topic"
    with pytest.raises(DeliveryError, match=grant):
        manager.add(Row(1), timeout=TIMEOUT)
    assert "unexpected" not in caplog.text
    allow(guarded, ResourceType.TOPIC, "open", AclOperation.WRITE, "carol")
    eventually(lambda: written(manager, Row(1)))


def test_writing_without_rights_and_with_them(
    guarded: KafkaBroker, managers: Managers, eventually: Eventually
) -> None:
    manager = managers("", kafka=as_user(guarded))
    manager.add(Row(1), timeout=TIMEOUT)

    def transact() -> None:
        with manager.transaction() as transaction:
            transaction.add(Row(2))

    with pytest.raises(DeliveryError, match=r"(?i)transactional id authorization failed.*Write on") as told:
        transact()
    name = str(told.value).rpartition("Write on the transactional.id ")[2].strip("'")
    allow(guarded, ResourceType.TRANSACTIONAL_ID, name, AclOperation.WRITE)
    transact()

    @entity(topic="forbidden")
    @dataclass
    class Other:
        number: Annotated[int, Key]

    for right in (AclOperation.DESCRIBE, AclOperation.CREATE):
        told_right = rf"(?i)authorization failed.*; grant the client {right.name} on the topic$"
        with pytest.raises(KafkaError, match=told_right):
            manager.ensure_topics(Other)
        allow(guarded, ResourceType.TOPIC, "forbidden", right)
    assert manager.ensure_topics(Other).created == ("forbidden",)
    with pytest.raises(KafkaError, match=r"(?i)authorization failed.*; grant the client DescribeConfigs on"):
        manager.ensure_topics(Other)
    allow(guarded, ResourceType.TOPIC, "forbidden", AclOperation.DESCRIBE_CONFIGS)
    assert manager.ensure_topics(Other).existing == ("forbidden",)
    with pytest.raises(DeliveryError, match=r"authorization failed; grant the client Describe and Write on"):
        manager.add(Other(1), timeout=TIMEOUT)
    allow(guarded, ResourceType.TOPIC, "forbidden", AclOperation.WRITE)
    eventually(lambda: written(manager, Other(1)))
