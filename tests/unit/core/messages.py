"""``Message`` of confluent_kafka, made by a test itself; before 2.13 only a consumer made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import confluent_kafka

if TYPE_CHECKING:
    from confluent_kafka import Message as Message
else:
    try:
        confluent_kafka.Message("topic", 0, 0)
        Message = confluent_kafka.Message
    except TypeError:

        class Message:
            """What the apply loop asks of a message."""

            def __init__(
                self,
                topic: str,
                partition: int,
                offset: int,
                key: Any = None,
                value: Any = None,
                error: confluent_kafka.KafkaError | None = None,
                timestamp: tuple[int, int] = (0, -1),
                leader_epoch: int | None = None,
            ) -> None:
                self.topic = lambda: topic
                self.partition = lambda: partition
                self.offset = lambda: offset
                self.key = lambda: key
                self.value = lambda: value
                self.error = lambda: error
                self.timestamp = lambda: timestamp
                self.leader_epoch = lambda: leader_epoch

            def set_key(self, key: Any) -> None:
                self.key = lambda: key
