"""What holds when a signal handler runs in the middle of it, and raises or calls the library.

Python runs a handler on the main thread between two instructions: after a call has returned, where a function
of Python begins, where a loop turns. It does not between the taking of a lock of C by ``with`` and the block,
nor between the block and the release. ``threading.Condition``, ``contextlib`` and ``Thread.start`` are Python
and have such instants: an exception there leaves their locks taken. So on a user's thread:

- A lock is taken by ``with``, and its holder may take it again: a handler may ask for the health.
- What must be undone is undone by one call of C in ``finally``.
- Several steps that belong together run on a thread of their own (:func:`shielded`), which runs no handlers.
  Those that undo each other run in the order of their calls (:class:`Turns`).
- Nobody waits for a thread that waits for this one (:func:`called_back`).
"""

from __future__ import annotations

import _thread
import contextvars
import functools
import inspect
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from operator import attrgetter
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from statestore.runtime import fork

R = TypeVar("R")

GRACE = 0.5
"""Seconds that a close waits when the call that it interrupts may have to end first."""
_TRANSPARENT = ("contextlib", "functools", "weakref")
"""Modules whose functions call others for their caller."""
_APART = ("statestore.cli", "statestore.testing")
"""Packages that use the library, as a program does."""
_SIGNALS = tuple(map(int, signal.valid_signals()))
_handler_of: Callable[[int], Any] = inspect.unwrap(signal.getsignal)
"""Without the conversions to enums, which would take most of the time of a record that cannot be decoded."""


class Latch:
    """Something that happens once, and can be waited for."""

    def __init__(self) -> None:
        self.is_set = False
        self._gates: list[threading.Lock] = []

    def set(self, _: object = None) -> None:
        self.is_set = True
        while self._gates:
            self._gates.pop().release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for at most ``timeout`` seconds (``None``: without limit); return whether it has happened."""
        gate = threading.Lock()
        gate.acquire()
        self._gates.append(gate)
        if not self.is_set:
            gate.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
        return self.is_set


class TimeOverError(TimeoutError):
    """The time given to a wait is over. Its own class: signal handlers raise ``TimeoutError``, too."""


class Outcome(Future[R]):
    """A future of the library's own, which survives an exception in the middle of its methods."""

    def __init__(self) -> None:
        super().__init__()
        self._condition: Any = SafeCondition()


class SafeCondition(threading.Condition):
    """A condition of ``threading`` that is entered and left by calls of C; only waiting is not safe."""

    if not TYPE_CHECKING:
        __enter__ = property(attrgetter("_lock.__enter__"))
        __exit__ = property(attrgetter("_lock.__exit__"))


def await_future(future: Future[R], timeout: float | None = None) -> R:
    """Return the result of ``future``, or raise its exception; after ``timeout`` s, ``TimeOverError``."""
    if not future.done():
        latch = Latch()
        future.add_done_callback(latch.set)
        if not latch.wait(timeout):
            raise TimeOverError
    return future.result()


class _Work(Generic[R]):
    """A callable, and how it ended."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._call = call
        self.ended = Latch()
        self._result: R
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised where the result is wanted
            self._error = error
        finally:
            self.ended.set()

    def result(self) -> R:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # it refers to this frame
        return self._result


def start_thread(name: str, call: Callable[[], object]) -> None:
    """Have a daemon thread ``name`` call ``call``, also where no thread can be started any more: at exit."""
    try:
        # Not Thread.start() itself: it waits for the thread in Python.
        _thread.start_new_thread(_begin, (name, call))
    except RuntimeError as error:
        if is_from_handler(error):
            raise
        call()


def _begin(name: str, call: Callable[[], object]) -> None:
    try:
        threading.Thread(target=call, name=name, daemon=True).start()
    except RuntimeError:  # at a limit of the system, or at exit
        call()


def shielded(call: Callable[[], R], name: str = "statestore-call") -> R:
    """Return what ``call`` returns, or raise what it raises; it runs on a thread of its own.

    An exception of a signal handler ends the wait for it and not the work, which goes on to its end.
    """
    work = _Work(call)
    context = contextvars.copy_context()
    start_thread(name, lambda: context.run(work.run))
    work.ended.wait()
    return work.result()


class Turns:
    """Shielded calls that run one after the other, in the order in which they were made. Thread-safe.

    An interrupted call, too, has its turn before those that follow it.
    """

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[_Work[Any]] = queue.SimpleQueue()
        self._turn = fork.lock()  # only on threads made here

    def shielded(self, call: Callable[[], R]) -> R:
        """Return what ``call`` returns, or raise what it raises; see :func:`shielded`."""
        work = _Work(call)
        try:
            try:
                self._given.put(work)
            finally:  # also when an exception comes between the two
                _thread.start_new_thread(_begin, ("statestore-call", self._run_given))
        except RuntimeError as error:
            if is_from_handler(error):
                raise
            self._run_given()  # at a limit of the system, or at exit
        work.ended.wait()
        return work.result()

    def _run_given(self) -> None:
        """Run all that was given: in a forked child, too, what the parent's threads had not come to."""
        with self._turn:
            while not self._given.empty():
                self._given.get().run()


class Ending:
    """Work that ends something, done once: on a thread of its own, by whoever asks first. Thread-safe."""

    def __init__(self) -> None:
        self._once = fork.lock()  # only on threads made here
        self._ended = Latch()
        self._error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self._ended.is_set

    def begin(self, call: Callable[[], None]) -> None:
        """Have ``call`` do the work, unless that was begun; wait for nothing."""
        start_thread("statestore-close", lambda: self._run(call))

    def finish(self, call: Callable[[], None]) -> bool:
        """Have ``call`` do the work, and return when it has ended; so after an interrupted earlier call, too.

        Where this thread is inside of a call of the library, which may have to end before the work can, wait
        for a moment only, and say whether that was enough. Raises, once, what the work has raised.
        """
        if not self.done:
            self.begin(call)
            self._ended.wait(GRACE if called_back() else None)
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self.done

    def wait(self, timeout: float) -> None:
        """Wait for the work, which somebody has begun."""
        self._ended.wait(timeout)

    def _run(self, call: Callable[[], None]) -> None:
        with self._once:
            if self.done:
                return
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised where the end is waited for
                self._error = error
            finally:
                self._ended.set()


def is_from_handler(error: BaseException) -> bool:
    """Whether a signal handler has raised ``error``, in the middle of what was tried."""
    caught_in = error.__traceback__  # our own frame, which called what failed
    if caught_in is None or caught_in.tb_next is None:
        return False
    if threading.get_ident() != threading.main_thread().ident:
        return False
    handlers = {_code_of(handler) for handler in map(_handler_of, _SIGNALS) if callable(handler)} - {None}
    traceback: TracebackType | None = caught_in.tb_next
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def pass_on(error: BaseException) -> None:
    """Raise ``error`` as it is where a signal handler has raised it: it is not an error of what was tried."""
    if is_from_handler(error):
        raise error


def _code_of(handler: Any) -> CodeType | None:
    """Return the code that runs when ``handler`` is called; ``None`` where that is not Python."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not hasattr(handler, "__code__"):  # a bound method has its function's
        handler = getattr(handler, "__call__", None)  # noqa: B004 - of an object
    return getattr(handler, "__code__", None)


def called_back() -> bool:
    """Whether the caller was called, by others' code, in the middle of a call of the library on this thread.

    By a signal handler, a callback or a finaliser. Waiting for that call to end would never end.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to see what a signal handler has interrupted
    has_left = False
    caller: Any = frame
    while caller is not None:
        name = caller.f_globals.get("__name__") or ""
        if name.startswith("statestore.") and not name.startswith(_APART):
            if has_left:
                return True
        elif name not in _TRANSPARENT:
            has_left = True
        caller = caller.f_back
    return False
