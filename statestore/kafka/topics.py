"""Topics: which exist, how they differ from what is declared, and creating the missing ones.

An existing topic is never altered.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import KafkaError as Code
from confluent_kafka.admin import ConfigResource, NewTopic, OffsetSpec

from statestore.entity import TopicSpec
from statestore.errors import ConfigError, KafkaError
from statestore.kafka.admin import AdminConnection
from statestore.kafka.remedies import refuses_client, remedy_of
from statestore.runtime.retry import retry
from statestore.runtime.text import bounded_repr

log = logging.getLogger("statestore.producer")

Mode = Literal["warn", "error"]

_SOON = 2.0
"""Seconds in which a reachable broker answers."""
_FORBIDDEN = (Code.TOPIC_AUTHORIZATION_FAILED, Code.CLUSTER_AUTHORIZATION_FAILED)
_LOOK_AGAIN = 0.05
"""Seconds between two looks for a topic that is being created."""


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """A topic as it is declared."""

    name: str
    is_table: bool
    spec: TopicSpec
    stated: Collection[str]
    """Which fields of ``spec`` were stated explicitly: only those are compared."""
    is_ksql: bool = False
    """Whether the topic is ksqlDB's, whose names are upper case."""

    @property
    def config(self) -> dict[str, str]:
        """All topic properties to create the topic with, as Kafka writes them."""
        config = {"cleanup.policy": str(self.spec.cleanup_policy)}
        if self.spec.retention is not None:
            config["retention.ms"] = str(int(self.spec.retention.total_seconds() * 1000))
        return {**config, **self.spec.config}

    @property
    def compared(self) -> dict[str, str]:
        """The properties in which an existing topic may differ."""
        config = self.config
        if "cleanup_policy" not in self.stated and "cleanup.policy" not in self.spec.config:
            del config["cleanup.policy"]
        return config


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as the broker describes it."""

    partitions: int
    replication: int
    config: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class TopicDifference:
    """One difference between an existing topic and its declaration."""

    topic: str
    setting: str
    """``partitions``, ``replication``, or the name of a topic property."""
    declared: str
    found: str | None
    """``None``: the broker knows no such property."""

    def __str__(self) -> str:
        return f"topic {self.topic!r}: {self.setting} is {self.found}, but {self.declared} is declared"


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What ``ensure_topics`` found and created; topics by name, in the order given."""

    created: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    differences: tuple[TopicDifference, ...] = field(default=())


def differences(wanted: WantedTopic, found: FoundTopic) -> list[TopicDifference]:
    """Return how ``found`` differs from ``wanted``. Only what was stated explicitly is compared."""
    result = [
        TopicDifference(wanted.name, name, str(declared), str(is_))
        for name, declared, is_ in (
            ("partitions", wanted.spec.partitions, found.partitions),
            ("replication", wanted.spec.replication, found.replication),
        )
        if name in wanted.stated and declared != is_
    ]
    result += [
        TopicDifference(wanted.name, name, declared, found.config.get(name))
        for name, declared in wanted.compared.items()
        if not _same(declared, found.config.get(name))
    ]
    policy = found.config.get("cleanup.policy")
    told = any(one.setting == "cleanup.policy" for one in result)
    if wanted.is_table and not told and "compact" not in (policy or ""):
        result.append(TopicDifference(wanted.name, "cleanup.policy", "compact, as a table needs", policy))
    return result


def _same(declared: str, found: str | None) -> bool:
    if found is None:
        return False
    try:
        return float(declared) == float(found)
    except ValueError:
        return sorted(declared.replace(" ", "").split(",")) == sorted(found.replace(" ", "").split(","))


class Topics:
    """Describes and creates the topics of one cluster. Thread-safe; connects with the first request."""

    def __init__(self, admin: AdminConnection, request_timeout: float) -> None:
        self._admin = admin
        self._request_timeout = request_timeout

    def check(self, topic: str) -> int:
        """Return how many partitions ``topic`` has. This never creates it, as a metadata request might.

        The answer arrives soon or is a time-out: a cluster without a controller does not answer. Raises
        ``KafkaException``, and at once where the broker refuses the client.
        """
        answers = self._described([topic], min(_SOON, self._request_timeout))
        description, error = self._outcomes(answers)[topic]
        if error is not None:
            raise KafkaException(error)
        return len(description.partitions)

    def last_offset(self, topic: str, partition: int) -> int:
        """Ask for the offset of a partition's last record. Raises ``KafkaException``."""
        place = TopicPartition(topic, partition)
        latest: Any = OffsetSpec.latest()  # typed to return None
        answers = self._admin.client().list_offsets(
            {place: latest},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=self._request_timeout,
        )
        answer: Future[Any] = answers[place]
        refusal = self._admin.wait([answer])
        if refusal is not None and not answer.done():
            raise KafkaException(refusal)
        offset: int = answer.result().offset
        return offset - 1

    def ensure(self, wanted: Iterable[WantedTopic], mode: Mode) -> TopicsReport:
        """Create the missing topics, and report how the existing ones differ.

        With ``mode="error"`` differences raise a ``ConfigError`` that lists all of them, and nothing is
        created. A missing topic with upper-case letters raises one, too. Raises ``KafkaError`` where the
        broker does not answer or refuses.
        """
        topics = _by_name(wanted, mode)
        found = self._found(topics)
        unlike = self._compared(topics, found, mode)
        missing = [one for name, one in topics.items() if name not in found]
        if capital := [one.name for one in missing if one.name != one.name.lower() and not one.is_ksql]:
            raise ConfigError(
                [
                    f"topic {name!r} does not exist, and statestore creates only topics with lower-case "
                    f"names: declare {name.lower()!r}, or ksql=True if it is ksqlDB's"
                    for name in capital
                ]
            )
        created = self._create(missing)
        raced = [name for name in topics if name not in found and name not in created]
        if raced:  # another process was faster, and may have declared them in another way
            also = self._found(raced)
            unlike += self._compared({name: topics[name] for name in raced}, also, mode)
            found |= also
        return TopicsReport(tuple(created), tuple(name for name in topics if name in found), tuple(unlike))

    def _compared(
        self, wanted: Mapping[str, WantedTopic], found: Mapping[str, FoundTopic], mode: Mode
    ) -> list[TopicDifference]:
        unlike = [
            one for name, topic in wanted.items() if name in found for one in differences(topic, found[name])
        ]
        if unlike and mode == "error":
            raise ConfigError(
                [
                    f"{one}: an existing topic is never altered; change the topic or the declaration"
                    for one in unlike
                ]
            )
        if unlike:
            log.warning(
                "existing topics differ from what is declared, and are never altered: %s",
                "; ".join(str(one) for one in unlike),
            )
        return unlike

    # Asking the broker

    def _found(self, names: Iterable[str]) -> dict[str, FoundTopic]:
        """Return those of ``names`` that exist."""
        answers = self._outcomes(self._described(list(names)))
        self._raise_faults(
            {
                name: error
                for name, (_, error) in answers.items()
                if error is not None and error.code() != Code.UNKNOWN_TOPIC_OR_PART
            },
            "Describe",
        )
        there = {name: description for name, (description, error) in answers.items() if error is None}
        if not there:
            return {}
        asked = {ConfigResource(ConfigResource.Type.TOPIC, name): name for name in there}
        futures = self._admin.client().describe_configs(list(asked), request_timeout=self._request_timeout)
        configs = self._outcomes({asked[resource]: future for resource, future in futures.items()})
        faults = {name: error for name, (_, error) in configs.items() if error is not None}
        self._raise_faults(faults, "DescribeConfigs")
        return {
            name: FoundTopic(
                len(description.partitions),
                len(description.partitions[0].replicas),
                {key: entry.value for key, entry in configs[name][0].items()},
            )
            for name, description in there.items()
        }

    def _create(self, wanted: list[WantedTopic]) -> list[str]:
        """Create topics, and return those that no other process created meanwhile."""
        if not wanted:
            return []
        new = [
            NewTopic(
                one.name,
                num_partitions=one.spec.partitions,
                replication_factor=one.spec.replication,
                config=one.config,
            )
            for one in wanted
        ]
        futures = self._admin.client().create_topics(
            new, operation_timeout=self._request_timeout, request_timeout=self._request_timeout
        )
        errors = {name: error for name, (_, error) in self._outcomes(futures).items()}
        created = [one for one in wanted if errors[one.name] is None]
        for one in created:
            log.info("created topic %s: %s", one.name, one.spec)
        self._raise_faults(
            {
                name: error
                for name, error in errors.items()
                if error is not None and error.code() != Code.TOPIC_ALREADY_EXISTS
            },
            "Create",
        )
        self._await([one.name for one in wanted])
        return [one.name for one in created]

    def _await(self, names: list[str]) -> None:
        """Return when the broker knows ``names`` and their leaders."""

        def look(_left: float) -> None:
            answers = self._outcomes(self._described(names)).values()
            if not all(error is None and all(p.leader for p in one.partitions) for one, error in answers):
                raise KafkaError(
                    self._admin.address,
                    f"a topic of {', '.join(names)} was created, but has no leader after "
                    f"{self._request_timeout:g} s: try again",
                )

        retry(look, self._request_timeout, _LOOK_AGAIN, lambda error: isinstance(error, KafkaError))

    def _described(self, names: list[str], timeout: float | None = None) -> dict[str, Future[Any]]:
        answers: dict[str, Future[Any]] = self._admin.client().describe_topics(
            TopicCollection(names), request_timeout=timeout or self._request_timeout
        )
        return answers

    def _outcomes(self, answers: Mapping[str, Future[Any]]) -> dict[str, tuple[Any, Code | None]]:
        """Wait for answers, and return each of them or its error."""
        refusal = self._admin.wait(answers.values())
        return {
            name: _outcome(future) if refusal is None or future.done() else (None, refusal)
            for name, future in answers.items()
        }

    def _raise_faults(self, faults: Mapping[str, Code], right: str) -> None:
        """Raise what went wrong with the topics; ``right`` is what the question takes."""
        if not faults:
            return
        told = "; ".join(f"topic {name!r}: {error.str()}" for name, error in faults.items())
        errors = faults.values()
        # Where the broker itself has answered (a code from 0), the client has nothing to add.
        heard = self._admin.last_error if any(error.code() < 0 for error in errors) else ""
        if heard and heard not in told:
            told += f" ({heard})"
        if any(error.code() in _FORBIDDEN for error in errors):
            told += f"; grant the client {right} on the topic"
        elif refusals := [error for error in errors if refuses_client(error)]:
            told += f"; {remedy_of(refusals[0])}"
        raise KafkaError(self._admin.address, told)


def _by_name(wanted: Iterable[WantedTopic], mode: Mode) -> dict[str, WantedTopic]:
    topics: dict[str, WantedTopic] = {}
    faults = [] if mode in ("warn", "error") else [f"mode={bounded_repr(mode)}: choose 'warn' or 'error'"]
    for one in wanted:
        if topics.setdefault(one.name, one).spec != one.spec:
            faults.append(f"topic {one.name!r} is declared as {topics[one.name].spec} and as {one.spec}")
        if one.is_table:
            topics[one.name] = one
            policy = one.config["cleanup.policy"]
            if "compact" not in policy:
                faults.append(f"topic {one.name!r}: cleanup.policy={policy}, but a table's is compacted")
    if not topics:
        faults.append("ensure_topics() was given no entity: name the classes whose topics to create")
    if faults:
        raise ConfigError(faults)
    return topics


def _outcome(future: Future[Any]) -> tuple[Any, Code | None]:
    """Wait for an answer, and return it or the error."""
    try:
        return future.result(), None
    except KafkaException as error:
        return None, error.args[0]
