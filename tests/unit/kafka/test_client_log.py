"""librdkafka's lines: one a minute of each client, and what was left out is counted."""

from __future__ import annotations

import logging

import pytest

from statestore.kafka.client_log import ClientLog

log = logging.getLogger("statestore.a_test")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= level]
    caplog.clear()
    return found


def test_one_line_a_minute_and_the_rest_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, log.name)
    clock = Clock()
    one = ClientLog(log, 60.0, clock)
    for _ in range(1000):
        one.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#consumer-1", "refused")
        one.log(logging.INFO, "%s", "disconnected")
    assert len(caplog.records) == 2000, "what is left out is there at DEBUG"
    assert lines(caplog) == ["FAIL [rdkafka#consumer-1] refused", "disconnected"]
    clock.now = 59.9
    one.log(logging.WARNING, "%s", "refused")
    assert lines(caplog) == []
    clock.now = 60.0
    one.log(logging.WARNING, "%s", "100% refused")
    (line,) = lines(caplog)
    assert line.startswith("100% refused (1000 lines of this client were left out")
    clock.now = 120.0
    one.log(logging.WARNING, "%s", "refused")
    assert lines(caplog) == ["refused"]


def test_clients_do_not_share_a_minute_and_debug_lines_pass(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, log.name)
    for one in (ClientLog(log, 60.0, Clock()), ClientLog(log, 60.0, Clock())):
        for _ in range(3):
            one.log(logging.ERROR, "%s", "refused")
            one.log(logging.DEBUG, "%s", "a debug line")
            one.log(logging.CRITICAL, "%s", "fatal")
    assert lines(caplog, logging.ERROR) == ["refused", "fatal", "fatal", "fatal"] * 2
