"""Records whose key is longer than the store takes: located, counted, and skipped if the table says so."""

from __future__ import annotations

from statestore.core import RejectedRecord
from statestore.errors import EncodeError
from statestore.storage.layout import LONGEST_KEY


class LongKeyError(EncodeError):
    """The key of a record is longer than the store takes. ``remedy`` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class LongKeys:
    """Rejects the records with keys of more than ``longest`` bytes; see :class:`~statestore.core.KeyLimit`.

    With ``skip`` they are passed over. Otherwise reading stops before the first of them.
    """

    def __init__(self, table: str, backend: str, longest: int, *, skip: bool) -> None:
        self.longest = longest
        self._where = f"table {table!r} (backend {backend!r})"
        self._skip = skip

    def __call__(
        self,
        partition: int,
        offset: int,
        key: bytes,
        value: bytes,  # noqa: ARG002 - whatever it is
        timestamp: int,
    ) -> RejectedRecord:
        text = f"its key of {len(key)} bytes is longer than the {self.longest} that {self._where} takes"
        error = LongKeyError(text, self._remedy())
        return RejectedRecord(partition, offset, key, timestamp, error, stops=not self._skip)

    def _remedy(self) -> str:
        skip = (
            'to leave such records out, set on_long_key="skip" in @entity or in the table\'s section of the '
            "settings, and bind again"
        )
        if self.longest >= LONGEST_KEY:
            return skip
        return f'{skip}; or bind with backend="rocksdb", which takes {LONGEST_KEY} bytes, under another name='
