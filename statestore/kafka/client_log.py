"""What librdkafka's clients log: at most one line a minute of each, and how many were left out.

While a broker is away a client logs each failed connection, some forty times a second; one line says as much.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

INTERVAL = 60.0
"""Seconds from a line until the next one of its client, warnings and what is less apart."""


class ClientLog:
    """Takes the lines of one client, or of several that follow each other.

    It is what confluent_kafka takes as ``logger=``. Lines of the level DEBUG pass, since somebody asked for
    them, and so do fatal ones. What is left out is logged as DEBUG. Any thread; two at the same instant may
    both get a line through.
    """

    def __init__(
        self, logger: logging.Logger, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._clock = clock
        self._passed: dict[bool, float] = {}
        """When a line came through last: of warnings and errors (``True``), and of others."""
        self._left_out = {False: 0, True: 0}

    def log(self, level: int, text: str, *arguments: object) -> None:
        """Log ``text % arguments``, unless the client's last line is too fresh."""
        if level <= logging.DEBUG or level >= logging.CRITICAL:
            self._logger.log(level, text, *arguments)
            return
        serious, now = level >= logging.WARNING, self._clock()
        if now - self._passed.get(serious, -self._interval) < self._interval:
            self._left_out[serious] += 1
            self._logger.debug(text, *arguments)
            return
        self._passed[serious] = now
        left_out, self._left_out[serious] = self._left_out[serious], 0
        if left_out:
            text += " (%d lines of this client were left out since the last one; at DEBUG they are logged)"
            arguments = (*arguments, left_out)
        self._logger.log(level, text, *arguments)
