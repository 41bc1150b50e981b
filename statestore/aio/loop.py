"""The event loop that asynchronous stores belong to, and how it has blocking work done."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar

from statestore.runtime import fork
from statestore.runtime.slices import Slices
from statestore.runtime.steps import Steps, in_thread, run_async

P = ParamSpec("P")
R = TypeVar("R")


class OwnLoop:
    """The running loop. Its methods raise ``RuntimeError`` on every other one."""

    def __init__(self) -> None:
        try:
            self.loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "AsyncStoreManager needs a running asyncio event loop: open it there"
            ) from None
        self._slices = Slices(self.loop)
        self._callbacks: set[asyncio.Task[None]] = set()
        self._forked_here = False
        fork.register(self)

    def check(self) -> None:
        """Raise where the caller does not run on this loop."""
        if self._forked_here:
            raise fork.forked_error()
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self.loop:
            return
        if self.loop.is_closed():
            raise RuntimeError(
                "the event loop that the stores were opened on is closed: open an AsyncStoreManager on each "
                "loop, and leave its `async with` before the loop ends"
            )
        raise RuntimeError(
            "the stores were opened on another event loop: await them there, as by "
            "asyncio.run_coroutine_threadsafe(…, loop), or use their `blocking` form, which takes any thread"
        )

    async def in_slices(self, call: Callable[P, R], /, *args: P.args, **named: P.kwargs) -> R:
        """Return what a call returns that reads and computes, in slices between which the loop runs."""
        self.check()
        return await self._slices.run(partial(call, *args, **named))

    async def shortly(self, call: Callable[P, R], /, *args: P.args, **named: P.kwargs) -> R:
        """The same for a call that is soon done; it does not wait until calls that take long have ended."""
        self.check()
        return await self._slices.run(partial(call, *args, **named), short=True)

    async def opened_in_slices(
        self,
        call: Callable[[], R],
        close: Callable[[R], object],
        *,
        waits: bool = False,
        short: bool = False,
    ) -> R:
        """The same for what must be closed, also when nobody gets it, since this is cancelled.

        ``waits``: it waits for more than a disk.
        """
        self.check()
        return await self._slices.run(call, close, waits=waits, short=short)

    async def in_thread(self, call: Callable[P, R], /, *args: P.args, **named: P.kwargs) -> R:
        """Return what a call that may wait long returns. It goes on, on a thread, when this is cancelled."""
        self.check()
        return await run_async(waited(in_thread("statestore-call", partial(call, *args, **named))))

    async def do(self, steps: Steps[R], timeout: float | None = None) -> R:
        """Return what ``steps`` return."""
        self.check()
        return await run_async(steps, timeout)

    def caller(self, call: Callable[P, object]) -> Callable[P, None]:
        """Return what has the loop call ``call``, from any thread: in order, and one after the other.

        ``call`` may be an async function. An exception goes to the loop's exception handler.
        """
        given: deque[Callable[[], object]] = deque()
        serving: asyncio.Task[None] | None = None

        async def serve() -> None:
            while given:
                try:
                    if isawaitable(result := given[0]()):
                        await result
                except (Exception, asyncio.CancelledError) as error:
                    if serving is not None and serving.cancelling():  # not what the callback awaits
                        raise
                    text = f"an error in {call!r}, a callback of a table"
                    self.loop.call_exception_handler({"message": text, "exception": error})
                finally:
                    given.popleft()

        def take(one: Callable[[], object]) -> None:
            nonlocal serving
            given.append(one)
            if serving is None or serving.done():
                serving = self._start(serve())

        def called(*args: P.args, **named: P.kwargs) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(take, partial(call, *args, **named))

        return called

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._callbacks.add(task)  # the loop itself refers to it weakly
        task.add_done_callback(self._callbacks.discard)
        return task

    def close(self) -> None:
        """End the threads that do work in slices, after the work that they do."""
        self._slices.close()

    def _forked(self) -> None:
        self._forked_here = True


def waited(future: Future[R]) -> Steps[R]:
    """Wait for a future."""
    result: R = yield future
    return result
