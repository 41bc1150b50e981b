"""The Schema Registry, through confluent-kafka's client.

One client serves all codecs of a process that have the same settings. It is created with the first request,
so an unreachable registry affects only those who read or write Avro data.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from statestore.errors import ConfigError, RegistryError, UnreachableRegistryError
from statestore.runtime import fork
from statestore.runtime.interrupts import TimeOverError, await_future, shielded
from statestore.runtime.steps import in_thread
from statestore.runtime.text import HIDDEN
from statestore.runtime.weak import Living
from statestore.serde.formats import REGISTRY_ACCESS
from statestore.settings import RegistrySettings

__all__ = ["Registered", "Registry", "registry_of"]

T = TypeVar("T")

log = logging.getLogger("statestore.serde")

_CURRENT = 5.0  # seconds for which the known schemas of a subject are used
_PATIENCE = 1.0  # seconds that a read waits for them to be refreshed

_NOT_FOUND = 404
# Failures of the registry or of access to it: they say nothing about a record or a schema.
_NO_ANSWER = frozenset({401, 403, 407, 408, 429})


class Registered(NamedTuple):
    """A schema as the registry has it."""

    id: int
    schema: str
    """JSON text."""


class Registry:
    """Schemas by id and by subject. Any number of threads may use one.

    Every method raises ``UnreachableRegistryError`` if there is no answer after all retries, or no access,
    and ``RegistryError`` if the registry refuses.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._process = os.getpid()
        self._mutex = fork.rlock()
        self._made: SchemaRegistryClient | None = None
        self._versions: dict[str, Sequence[Registered]] = {}
        self._asked: dict[str, float] = {}
        self._registrations = 0

    def serves(self, settings: RegistrySettings) -> bool:
        """Whether those who have ``settings`` may use this one. A forked child has connections of its own."""
        return self._process == os.getpid() and self._settings == settings

    def schema(self, schema_id: int, subject: str) -> str | None:
        """Return the schema with an id found in data of ``subject``; ``None`` if the registry has none."""
        return self._ask(
            subject, lambda client: self._unless_missing(lambda: client.get_schema(schema_id).schema_str)
        )

    def versions(self, subject: str) -> Sequence[Registered]:
        """Return every schema of ``subject``, oldest first; none if the subject is not known.

        The answer is at most five seconds old, and includes schemas registered here since. While the registry
        is unreachable or slow, the last known schemas are returned. The first request for a subject needs it.
        """
        known = self._versions.get(subject)
        if known is None:
            return self._ask_for_versions(subject)
        if time.monotonic() - self._asked[subject] <= _CURRENT:
            return known
        with self._mutex:
            is_due = time.monotonic() - self._asked[subject] > _CURRENT
            self._asked[subject] = time.monotonic()
        if is_due:
            answer = in_thread("statestore-schemas", partial(self._ask_again, subject))
            with suppress(TimeOverError):
                await_future(answer, _PATIENCE if REGISTRY_ACCESS.allowed else 0.0)
        return self._versions.get(subject, known)

    def _ask_for_versions(self, subject: str) -> Sequence[Registered]:
        self._asked[subject] = time.monotonic()
        before = self._registrations

        def ask(client: SchemaRegistryClient) -> list[Registered]:
            numbers = self._unless_missing(lambda: client.get_versions(subject)) or []
            versions = [client.get_version(subject, number) for number in sorted(numbers)]
            return [Registered(_known(one.schema_id), _known(one.schema.schema_str)) for one in versions]

        found = self._ask(subject, ask)
        if before == self._registrations:  # otherwise the answer may be older than our registration
            self._versions[subject] = found
        return found

    def _ask_again(self, subject: str) -> None:
        try:
            self._ask_for_versions(subject)
        except RegistryError as error:
            log.warning("%s; continuing with the schemas known before", error)

    def registered(self, subject: str, schema: str) -> int | None:
        """Return the id of ``schema`` under ``subject``, ``None`` if it is not registered there."""
        return self._ask(
            subject,
            lambda client: self._unless_missing(
                lambda: _known(client.lookup_schema(subject, _schema(schema)).schema_id)
            ),
        )

    def register(self, subject: str, schema: str) -> int:
        """Return the id of ``schema`` under ``subject``, registering it if it is not there.

        A subject without a compatibility level first gets the level of the settings, if they have one. A
        subject with another level is refused.
        """
        known = self.registered(subject, schema)
        if known is not None:
            return known

        def ask(client: SchemaRegistryClient) -> int:
            self._hold_to_level(client, subject)
            return int(client.register_schema(subject, _schema(schema)))

        schema_id = self._ask(subject, ask)
        self._registrations += 1
        self._versions.pop(subject, None)
        return schema_id

    def id_for_writing(self, subject: str, schema: str) -> int:
        """Return the id to write ``schema`` under: registered now if ``auto_register`` says so."""
        if self._settings.auto_register:
            return self.register(subject, schema)
        known = self.registered(subject, schema)
        if known is None:
            raise RegistryError(
                self._address,
                subject,
                "the schema is not registered, and schema_registry.auto_register is false: register it with "
                "statestore schema register",
            )
        return known

    def is_compatible(self, subject: str, schema: str) -> bool:
        """Whether the registry would accept ``schema`` as the next version of ``subject``."""
        if self._is_mock:
            return True
        return self._ask(
            subject, lambda client: client.test_compatibility_all_versions(subject, _schema(schema))
        )

    def _hold_to_level(self, client: SchemaRegistryClient, subject: str) -> None:
        wanted = self._settings.compatibility
        if wanted is None or self._is_mock:
            return
        level = self._unless_missing(lambda: client.get_compatibility(subject))
        if level is None:
            client.set_compatibility(subject, wanted)
        elif level != wanted:
            raise RegistryError(
                self._address,
                subject,
                f"its compatibility level is {level}, but schema_registry.compatibility is {wanted}: "
                "change one of them",
            )

    @property
    def _address(self) -> str:
        return str(self._settings.url)

    @property
    def _is_mock(self) -> bool:
        return self._address.startswith("mock://")

    def _ask(self, subject: str, question: Callable[[SchemaRegistryClient], T]) -> T:
        """Ask ``question``, on a thread that runs no signal handlers; see the class for the errors."""
        if not REGISTRY_ACCESS.allowed:
            raise UnreachableRegistryError(
                self._address, subject, "the registry was not asked, since this thread must not wait"
            )
        return shielded(lambda: self._answer(subject, question), "statestore-registry")

    def _answer(self, subject: str, question: Callable[[SchemaRegistryClient], T]) -> T:
        try:
            return question(self._client())
        except RegistryError:
            raise
        except SchemaRegistryError as error:
            status = error.http_status_code
            kind = UnreachableRegistryError if status in _NO_ANSWER or status >= 500 else RegistryError
            raise kind(self._address, subject, self._safe(f"{error.error_message} (HTTP {status})")) from None
        except Exception as error:  # noqa: BLE001 - those of the HTTP client, and of answers that are not a registry's
            cause = self._safe(f"no answer: {type(error).__name__}: {error}")
            raise UnreachableRegistryError(self._address, subject, cause) from None

    def _safe(self, text: str) -> str:
        password = _password(self._settings)
        return text.replace(password, HIDDEN) if password else text

    @staticmethod
    def _unless_missing(ask: Callable[[], T]) -> T | None:
        """Return the answer, ``None`` if the registry answers "not found"."""
        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code != _NOT_FOUND:
                raise
            return None

    def _client(self) -> SchemaRegistryClient:
        with self._mutex:
            if self._made is None:
                self._made = _made(self._settings)
                if not self._is_mock:
                    # what close() does, which confluent_kafka has since 2.16
                    weakref.finalize(self, self._made.__exit__, None, None, None)
            return self._made


def registry_of(settings: RegistrySettings) -> Registry:
    """Return the registry of ``settings``. Callers with equal settings share one.

    Raises ``ConfigError`` if the settings name none.
    """
    if settings.url is None:
        raise ConfigError("schema_registry.url is not set: Avro needs a Schema Registry")
    with _MUTEX:
        found = next((one for one in _SHARED if one.serves(settings)), None)
        if found is None:
            found = Registry(settings)
            _SHARED.add(found)
        return found


_MUTEX = fork.lock()  # also for a manager that is made in a child
_SHARED: Living[Registry] = Living()
_MOCKS: dict[str, SchemaRegistryClient] = {}


def _made(settings: RegistrySettings) -> SchemaRegistryClient:
    url = str(settings.url)
    if url in _MOCKS:  # one registry per name, for the life of the process
        return _MOCKS[url]
    properties: dict[str, Any] = {
        "url": url,
        "timeout": settings.timeout,
        "max.retries": settings.retries,
        "retries.wait.ms": round(settings.retry_wait * 1000),
        "cache.capacity": settings.cache_size,
    }
    if settings.username is not None:
        properties["basic.auth.user.info"] = f"{settings.username}:{_password(settings)}"
    client = SchemaRegistryClient.new_client(properties)
    if url.startswith("mock://"):
        client = _MOCKS.setdefault(url, client)
    return client


def _schema(text: str) -> Schema:
    return Schema(text, "AVRO")


def _known(value: T | None) -> T:
    """Return a part that every answer has, although its type allows ``None``."""
    if value is None:
        raise ValueError("the registry's answer is incomplete")
    return value


def _password(settings: RegistrySettings) -> str:
    return "" if settings.password is None else settings.password.get_secret_value()
