"""The admin client of a manager: one for all that is asked of topics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from statestore.errors import ConfigError
from statestore.kafka.properties import admin_properties
from statestore.runtime import fork

log = logging.getLogger("statestore.changelog")


class AdminConnection:
    """Makes the client when it is first wanted. Thread-safe; touches no network before."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._mutex = fork.lock()
        self._client: AdminClient | None = None
        self._heard = _LastError()
        self._forked_here = False
        fork.register(self)

    @property
    def address(self) -> str:
        return str(self._given["bootstrap.servers"])

    @property
    def last_error(self) -> str:
        """What the client has reported last; empty: nothing since ``forget_error``."""
        return self._heard.text

    def forget_error(self) -> None:
        """The broker has answered: what was reported before says nothing about the next failure."""
        self._heard.text = ""

    def client(self) -> AdminClient:
        """Return the client. Raises ``ConfigError`` without an address, and where librdkafka refuses one."""
        if self._forked_here:
            raise fork.forked_error()
        with self._mutex:
            if self._client is None:
                if "bootstrap.servers" not in self._given:
                    raise ConfigError(
                        "topics need a broker: StoreManager(kafka='host:port'), or bootstrap.servers under "
                        "[kafka]"
                    )
                properties = {**admin_properties(self._given), "error_cb": self._heard.hear}
                try:
                    self._client = AdminClient(properties, logger=log)
                except KafkaException as error:
                    raise ConfigError(f"kafka: {error.args[0].str()}") from error
            return self._client

    def _forked(self) -> None:
        self._forked_here = True
        fork.leak(self._client)


class _LastError:
    """Kept apart, so that the client does not refer to who owns it: it ends with its owner."""

    def __init__(self) -> None:
        self.text = ""

    def hear(self, error: Code) -> None:
        self.text = error.str()
