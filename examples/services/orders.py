"""What the services in this folder have in common: the entity, and where everything is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

from statestore import Key, entity

KAFKA = os.environ.get("KAFKA", "localhost:9092")
STATE = os.environ.get("STATE", "state")
"""The data directory, on a volume that outlives the process: a start then reads only what is new."""

STALE = 30.0
"""Seconds without an answer of the broker after which the table is not ready. Unset: it stays ready."""


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    """The latest state of one order."""

    order_id: Annotated[int, Key]
    customer: str
    amount: float
