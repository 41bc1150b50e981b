"""The admin client of a manager: one for all that is asked of topics."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from statestore.errors import ConfigError, StoreClosedError
from statestore.kafka.client_log import ClientLog
from statestore.kafka.properties import admin_properties
from statestore.kafka.remedies import HeardError
from statestore.runtime import fork

log = logging.getLogger("statestore.changelog")

_LOOK_INTERVAL = 0.05
"""Seconds between two looks at what the client reports while an answer is awaited."""


class AdminConnection:
    """Makes the client when it is first wanted. Thread-safe; touches no network before."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._mutex = fork.rlock()
        self._client: AdminClient | None = None
        self._heard = HeardError()
        self._closed = self._forked_here = False
        fork.register(self)

    @property
    def address(self) -> str:
        return str(self._given["bootstrap.servers"])

    @property
    def last_error(self) -> str:
        """What the client has reported since the broker last answered; empty: nothing."""
        return self._heard.text

    def serve(self) -> None:
        """Take what the client has logged and reported; it keeps all of that until then."""
        client = self._client
        if client is not None and not self._forked_here:
            client.poll(0)

    def wait(self, answers: Iterable[Future[Any]]) -> Code | None:
        """Return when the answers are there; or return the error of a broker that refuses the client.

        Otherwise the client goes on trying, and the answers are time-outs.
        """
        self.serve()
        if self._heard.refusal is not None:
            self._heard.forget()  # it may be mended: the client goes on trying
        awaited = left = set(answers)
        while left := wait(left, timeout=_LOOK_INTERVAL).not_done:
            if self._closed:  # what was asked of a client that is gone may never be answered
                return Code(Code._DESTROY)
            self.serve()
            if (refusal := self._heard.refusal) is not None:
                return refusal
        if any(answer.exception() is None for answer in awaited):
            self._heard.forget()
        return None

    def client(self) -> AdminClient:
        """Return the client. Raises ``ConfigError`` without an address, and where librdkafka refuses one."""
        if self._forked_here:
            raise fork.forked_error()
        with self._mutex:
            if self._closed:
                raise StoreClosedError("the manager is closed")
            if self._client is None:
                if "bootstrap.servers" not in self._given:
                    raise ConfigError(
                        "topics need a broker: StoreManager(kafka='host:port'), or bootstrap.servers under "
                        "[kafka]"
                    )
                properties = {**admin_properties(self._given), "error_cb": self._heard.hear}
                try:
                    self._client = AdminClient(properties, logger=ClientLog(log))
                except KafkaException as error:
                    raise ConfigError(f"kafka: {error.args[0].str()}") from error
            return self._client

    def close(self) -> None:
        """Give up the client, whose threads then end: they would call Python while it ends. Idempotent."""
        with self._mutex:
            if not self._forked_here:
                self._closed, self._client = True, None

    def _forked(self) -> None:
        self._forked_here = True
        fork.leak(self._client)


def refusal_of(given: Mapping[str, Any], timeout: float) -> Code | None:
    """Ask with a client of its own: return why the broker refuses one with these properties.

    ``None``: it accepts it, or does not answer within ``timeout`` seconds. A client that lives on may tell of
    a refusal long after it was mended: it tells when it is asked next, and of attempts that were under way.
    """
    connection = AdminConnection(given)
    try:
        return connection.wait([connection.client().describe_cluster(request_timeout=timeout)])
    finally:
        connection.close()
