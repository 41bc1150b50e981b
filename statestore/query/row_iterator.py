"""What a scan returns: an iterator that says what it reads, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from statestore.core import CountedRows
from statestore.errors import StoreClosedError
from statestore.query.rows import Scan

T = TypeVar("T")


class RowIterator(CountedRows, Generic[T]):
    """The rows of a scan, of one instant. One thread at a time.

    ``repr`` says what is read, and how many rows were; so does ``count``. It releases the instant at its end,
    when it is closed (``close()``, or the end of ``with``), and when nobody refers to it any more. The next
    step after ``close()`` raises ``StoreClosedError``, so that a loop cannot take the rows for all there are.
    """

    __slots__ = ("_about", "_close", "_owner")

    def __init__(self, scan: Scan[T], about: Callable[[], str], owner: object = None) -> None:
        """``owner`` is what must live as long as the rows are read."""
        super().__init__(scan.rows)
        self._close = scan.close
        self._about = about
        self._owner = owner

    if TYPE_CHECKING:

        def __next__(self) -> T: ...

    def close(self) -> None:
        """Release what the rows are read from. Idempotent."""
        self._drop()
        self._release()

    def _release(self) -> None:
        close, self._close = self._close, _nothing
        close()

    def _ended(self) -> None:
        if not self.exhausted:
            raise StoreClosedError(f"{self._about()} was closed after {_rows(self.count)}: begin it anew")
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.exhausted:
            far = f"exhausted after {_rows(self.count)}"
        elif self._close is _nothing:
            far = f"closed after {_rows(self.count)}"
        else:
            far = f"{_rows(self.count)} read"
        return f"<{self._about()}: {far}>"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _nothing() -> None:
    pass
