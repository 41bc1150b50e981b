"""What the admin client reports, which keeps it until somebody takes it."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import TopicCollection

from statestore.kafka.admin import AdminConnection
from statestore.kafka.remedies import NO_PROTOCOL, HeardError


def test_what_the_client_reports_is_heard_while_an_answer_is_awaited() -> None:
    admin = AdminConnection({"bootstrap.servers": "127.0.0.1:9"})
    answers = admin.client().describe_topics(TopicCollection(["t"]), request_timeout=1.0)
    assert admin.wait(answers.values()) is None
    assert "Connection refused" in admin.last_error
    admin.serve()
    client: Any = admin.client()
    assert len(client) == 0


def test_a_refusal_is_remembered_and_what_says_less_is_not() -> None:
    heard = HeardError()
    assert heard.text == ""
    heard.hear(Code(Code._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert heard.text == NO_PROTOCOL
    heard.hear(Code(Code._TRANSPORT, "refused"))
    heard.hear(Code(Code._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert (heard.text, heard.refusal) == ("refused", None)
    heard.hear(Code(Code._SSL, "no certificate"))
    heard.hear(Code(Code._TRANSPORT, "refused"))
    assert heard.text == "no certificate"
    assert (heard.refusal and heard.refusal.code()) == Code._SSL
    heard.forget()
    assert heard.text == ""
