"""What to do where the broker does not let a client in, or not do what it asks."""

from __future__ import annotations

from confluent_kafka import KafkaError as Code

SASL = "correct security.protocol and the sasl.* properties under [kafka], and open the StoreManager anew"
TLS = "correct security.protocol and the ssl.* properties under [kafka], and open the StoreManager anew"
READ = "grant the client Describe and Read on the topic"
CREATE = (
    "create the topic, for example with manager.ensure_topics(…), or, if it is one of windows, start the "
    "program that writes it"
)
NO_PROTOCOL = (
    "no broker can be reached: connections are closed before a request is answered; is security.protocol "
    "(plaintext, unless it is set) that of the port?"
)
"""Where a client tells no other cause: one whose connection is refused or times out does."""

_REFUSED = {
    Code._AUTHENTICATION: SASL,
    Code.SASL_AUTHENTICATION_FAILED: SASL,
    Code.UNSUPPORTED_SASL_MECHANISM: SASL,
    Code.ILLEGAL_SASL_STATE: SASL,
    Code._SSL: TLS,  # noqa: SLF001 - that is its name
}


def refuses_client(error: Code) -> bool:
    """Whether the broker refuses who the client is, or how it connects. librdkafka goes on trying."""
    return error.code() in _REFUSED


def text_of(error: Code) -> str:
    """Return what ``error`` says, and what to ask oneself where TLS met a port that may not speak it."""
    said = str(error.str())
    # librdkafka asks that itself, but not at each attempt.
    return f"{said}; is security.protocol that of the port?" if "in state SSL_HANDSHAKE" in said else said


class HeardError:
    """What went wrong with a client: of what it has reported the last, a refusal of the client for choice.

    Kept apart from who owns the client: the client refers to it, and must not keep its owner.
    """

    def __init__(self) -> None:
        self._error: Code | None = None

    def hear(self, error: Code) -> None:
        """Take what the client reports."""
        if self.refusal is not None and not refuses_client(error):
            return  # librdkafka goes on to say that no broker is up
        if self._error is None or error.code() != Code._ALL_BROKERS_DOWN:
            self._error = error

    def forget(self) -> None:
        """The broker has answered: what was reported before says nothing about the next failure."""
        self._error = None

    @property
    def text(self) -> str:
        """What it says; empty: nothing was heard."""
        if self._error is None:
            return ""
        return NO_PROTOCOL if self._error.code() == Code._ALL_BROKERS_DOWN else text_of(self._error)

    @property
    def refusal(self) -> Code | None:
        """The error if the broker refuses the client."""
        error = self._error
        return error if error is not None and refuses_client(error) else None


def remedy_of(error: Code) -> str:
    """Return what to do about an error of a client or of a topic that it reads; empty: nothing is known."""
    if error.code() in (Code.TOPIC_AUTHORIZATION_FAILED, Code.CLUSTER_AUTHORIZATION_FAILED):
        return READ
    if error.code() in (Code.UNKNOWN_TOPIC_OR_PART, Code._UNKNOWN_TOPIC):
        return CREATE
    return _REFUSED.get(error.code(), "")


def table_remedy(error: Code) -> str:
    """Return what to do where a table has failed with ``error``, which a restart ends then."""
    if refuses_client(error):
        return f"{remedy_of(error)}; or have the broker accept the client as it is, then restart()"
    return f"{remedy_of(error) or 'remove the cause'}, then restart()"
