"""Fatal errors of a client of librdkafka, as its Python form raises them.

A fatal error is raised once, into whatever the client is asked next, and so into a callback, too: the client
calls it with the exception set. Python then raises ``SystemError`` where the callback first calls a function
of C, with the fatal error as its cause.
"""

from __future__ import annotations

import time
from typing import Any, cast

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

# An error is also raised as itself, which its type does not tell.
RAISED: tuple[type[BaseException], ...] = (KafkaException, cast("Any", Code), SystemError)
"""What the methods of a client raise."""


def code_of(error: BaseException) -> Code | None:
    """Return the client's error in what it has raised, in whichever form; ``None`` where there is none."""
    told: BaseException | None = error
    while isinstance(told, SystemError):
        told = told.__cause__
    code: Any = told.args[0] if isinstance(told, KafkaException) and told.args else told
    return code if isinstance(code, Code) else None


def take_pending() -> Code | None:
    """Return the fatal error with which a callback was called, and let the callback go on.

    The first call in a callback that must run to its end. Otherwise its first function of C raises.
    """
    try:
        time.monotonic()
    except SystemError as error:
        return code_of(error)
    return None
