"""The topics of a cluster, asked for beside what mirrors and writes them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from statestore import fork
from statestore.errors import ConfigError
from statestore.producing.properties import admin_properties

log = logging.getLogger("statestore.producer")


class Topics:
    """Looks at topics and creates them; never alters one. Thread-safe; connects at the first question."""

    def __init__(self, given: Mapping[str, Any], request_timeout: float) -> None:
        self._properties = admin_properties(given)
        self._request_timeout = request_timeout
        self._mutex = threading.Lock()
        self._admin: AdminClient | None = None
        self._forked_here = False
        fork.register(self)

    def described(self, topic: str) -> Future[Any]:
        """Ask for the description of ``topic``; the question creates none, as one for metadata might."""
        answers = self._connected().describe_topics(
            TopicCollection([topic]), request_timeout=self._request_timeout
        )
        found: Future[Any] = answers[topic]
        return found

    def _connected(self) -> AdminClient:
        if self._forked_here:
            raise fork.forked_error()
        with self._mutex:
            if self._admin is None:
                try:
                    self._admin = AdminClient(self._properties, logger=log)
                except KafkaException as error:
                    raise ConfigError(f"kafka: {error.args[0].str()}") from error
            return self._admin

    def _forked(self) -> None:
        self._forked_here = True
        self._mutex = threading.Lock()  # a thread that does not exist here may have held it
        fork.leak(self._admin)
