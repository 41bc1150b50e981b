"""Whether a log still has the records below a position: were they cut off, others may have their offsets now.

Each record has the epoch of the leader that took it. A broker tells where the records of an epoch end. When
that is below a position whose last record has this epoch, the log was cut off there. librdkafka asks this
when an offset is sought, but not when it is assigned to a client that has the topic's metadata already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka import KafkaError as Code

from statestore.kafka.answers import KafkaErrorKind, kind_of_code
from statestore.kafka.client_log import ClientLog

log = logging.getLogger("statestore.changelog")

_PROPERTIES = {
    # A position at the end is confirmed by the next fetch, which waits for so long.
    "fetch.wait.max.ms": 5,
    "fetch.message.max.bytes": 1024,
    "queued.min.messages": 1,
    # Up to the log's very end, whatever transaction is open.
    "isolation.level": "read_uncommitted",
}
_POLL = 0.1
_RETRY = 0.002


def lost_positions(
    properties: Mapping[str, Any],
    topic: str,
    positions: Mapping[int, tuple[int, int]],
    timeout: float,
    is_wanted: Callable[[], bool] = lambda: True,
    client_log: ClientLog | None = None,
) -> dict[int, str]:
    """Return how the log was cut off, for each partition whose ``(offset, leader epoch)`` it does not have.

    Blocks, with a client of its own. Raises ``KafkaException`` without an answer within ``timeout`` seconds,
    or when the answer ``is_wanted`` no more.
    """
    deadline = time.monotonic() + timeout
    heard: list[Code] = []
    consumer = Consumer(
        {**properties, **_PROPERTIES, "error_cb": heard.append}, logger=client_log or ClientLog(log)
    )
    try:
        places = [
            TopicPartition(topic, number, offset, leader_epoch=epoch)
            for number, (offset, epoch) in positions.items()
        ]
        consumer.incremental_assign(places)
        for place in places:
            _seek(consumer, place, deadline, is_wanted)
        lost: dict[int, str] = {}
        waiting = set(positions)
        while waiting:
            if time.monotonic() > deadline or not is_wanted():
                raise KafkaException(heard[-1] if heard else Code(Code._TIMED_OUT))
            message = consumer.poll(_POLL)
            if message is not None and message.partition() in waiting:
                _take(message, waiting, lost)
        return lost
    finally:
        consumer.close()


def _seek(consumer: Consumer, place: TopicPartition, deadline: float, is_wanted: Callable[[], bool]) -> None:
    while True:
        try:
            consumer.seek(place)
        except KafkaException as error:
            # The assignment has not begun: the client does not know the leader yet.
            if error.args[0].code() != Code._STATE or time.monotonic() > deadline or not is_wanted():
                raise
            time.sleep(_RETRY)
        else:
            return


def _take(message: Message, waiting: set[int], lost: dict[int, str]) -> None:
    """Take what tells that a position is in the log, or that it is not."""
    number, error = message.partition(), message.error()
    assert number is not None
    if error is not None:
        kind = kind_of_code(error.code())
        if kind in (KafkaErrorKind.OUT_OF_RANGE, KafkaErrorKind.TRUNCATED):
            lost[number] = error.str()
        elif kind is not KafkaErrorKind.END_OF_PARTITION:
            return  # of a broker that is away, say: it is tried again
    waiting.discard(number)
