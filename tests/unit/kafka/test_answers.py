"""What an answer of the broker's means."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from statestore.kafka.answers import KafkaErrorKind, failure_of, kind_of


def answered(**fields: int) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(SimpleNamespace(**fields))
    return future


@pytest.mark.parametrize("offset", [-1, -1001])
def test_an_offset_that_is_none_is_no_answer(offset: int) -> None:
    failure = failure_of(answered(offset=offset))
    assert failure is not None
    assert kind_of(failure) is KafkaErrorKind.UNREACHABLE


def test_an_answer_is_no_failure() -> None:
    assert failure_of(answered(offset=0)) is None
    assert failure_of(answered(topic_id=7)) is None


def test_a_failure_keeps_its_code() -> None:
    future: Future[Any] = Future()
    future.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
    failure = failure_of(future)
    assert failure is not None
    assert kind_of(failure) is KafkaErrorKind.NOT_AUTHORIZED
