"""No key, for streams: a class without key fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statestore.serde.formats import KeyPlan


class NoKeys:
    """Passes over the keys of records. What it writes is empty, and stands for no key."""

    def encode(self, values: tuple[Any, ...]) -> bytes:  # noqa: ARG002 - there are none
        return b""

    def decode(self, data: bytes) -> tuple[Any, ...]:  # noqa: ARG002 - whatever it is
        return ()

    def spellings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        return (self.encode(values),)

    def plan(
        self,
        start: tuple[Any, ...] | None,  # noqa: ARG002
        stop: tuple[Any, ...] | None,  # noqa: ARG002
        prefix: tuple[Any, ...] | None,  # noqa: ARG002
    ) -> KeyPlan:
        return KeyPlan([(None, None, None)], None, "all records: a stream has no keys")
