"""What is opened by ``await``, or by ``async with``, which closes it again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

A = TypeVar("A", covariant=True)


class Opening(Generic[A]):
    """``await`` it, or enter it by ``async with``, once."""

    def __init__(self, opened: Callable[[], Awaitable[A]], close: Callable[[A], Awaitable[None]]) -> None:
        self._opened = opened
        self._close = close
        self._entered: list[A] = []

    def __await__(self) -> Generator[Any, Any, A]:
        return self._opened().__await__()

    async def __aenter__(self) -> A:
        opened = await self._opened()
        self._entered.append(opened)
        return opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close(self._entered.pop())


class Closing:
    """What is open already, and is closed where a block of ``async with`` ends."""

    @abstractmethod
    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
