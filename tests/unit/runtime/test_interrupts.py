"""What signal handlers do in the middle of the library's own waiting."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable
from typing import NoReturn

import pytest

from statestore.runtime.interrupts import TimeOverError, Turns, pass_on, shielded
from statestore.runtime.steps import Steps, in_thread, run_blocking
from statestore.runtime.weak import Living, LivingKeys
from statestore.runtime.worker import Worker
from statestore.testing.forking import outcomes_in_child
from statestore.testing.interrupts import (
    Interrupt,
    TimeLimit,
    installed,
    interrupted,
    raise_interrupt,
    raise_time_limit,
)


class OddError(RuntimeError):
    """As Python raises where no thread can be started."""


def raise_odd(*_: object) -> NoReturn:
    raise OddError


def stopped(call: Callable[[], object], handler: Callable[[], object], instant: int) -> bool | None:
    """Interrupt ``call``; say whether what ``handler`` raises came out, ``None`` without so many instants."""
    try:
        return False if interrupted(call, handler, instant) else None
    except (Interrupt, OddError, TimeLimit):
        return True


def test_calls_that_undo_each_other_are_done_in_their_order() -> None:
    def tried(instant: int) -> tuple[bool | None, list[str]]:
        turns, done = Turns(), list[str]()
        was_stopped = stopped(lambda: turns.shielded(lambda: done.append("stop")), raise_interrupt, instant)
        turns.shielded(lambda: done.append("start"))
        return was_stopped, done

    for instant in itertools.count():
        was_stopped, done = tried(instant)
        assert done in (["stop", "start"], ["start"])
        if was_stopped is None:
            assert done == ["stop", "start"]
            break


def test_a_child_waits_for_no_turn_of_its_parent(eventually: Callable[..., None]) -> None:
    turns = Turns()
    taken, ended = threading.Event(), threading.Event()

    def take() -> None:
        taken.set()
        ended.wait()

    callers = [threading.Thread(target=turns.shielded, args=[call]) for call in (take, lambda: None)]
    try:
        callers[0].start()
        assert taken.wait(60)
        callers[1].start()
        eventually(lambda: turns._given.qsize() == 1)
        assert outcomes_in_child({"call": lambda: turns.shielded(lambda: None)}) == {"call": "returned"}
    finally:
        ended.set()
        for caller in callers:
            caller.join(60)


@pytest.mark.parametrize("start", [shielded, lambda call: Turns().shielded(call)])
def test_no_exception_of_a_handler_is_taken_for_one_of_the_system(start: Callable[..., object]) -> None:
    def tried(instant: int) -> tuple[bool | None, list[int]]:
        done: list[int] = []
        return stopped(lambda: start(lambda: done.append(1)), raise_odd, instant), done

    with installed(raise_odd):
        for instant in itertools.count():
            was_stopped, done = tried(instant)
            assert was_stopped is not False
            assert len(done) <= 1
            if was_stopped is None:
                break


def test_a_time_limit_of_a_handler_is_not_that_of_the_call() -> None:
    def work() -> Steps[str]:
        try:
            yield in_thread("statestore-test", lambda: None)
        except TimeOverError:
            return "timed out"
        return "done"

    with installed(raise_time_limit):
        for instant in itertools.count():
            was_stopped = stopped(lambda: run_blocking(work(), 60), raise_time_limit, instant)
            assert was_stopped is not False
            if was_stopped is None:
                break
    with pytest.raises(StopIteration, match="timed out"):
        steps = work()
        next(steps)
        steps.throw(TimeOverError())


@pytest.mark.parametrize("handler", [raise_odd, raise_time_limit])
def test_what_a_handler_raises_is_told_from_other_errors(handler: Callable[..., object]) -> None:
    with installed(handler):
        with pytest.raises((OddError, TimeLimit)) as caught:
            handler()
        with pytest.raises(type(caught.value)):
            pass_on(caught.value)
    pass_on(caught.value)  # no handler's any more
    pass_on(ValueError("never raised"))


def test_a_worker_loses_no_call_but_the_interrupted_one() -> None:
    def tried(instant: int) -> tuple[bool | None, list[int]]:
        worker, done, came = Worker("statestore-test"), list[int](), threading.Event()
        was_stopped = stopped(lambda: worker.soon(lambda: done.append(1)), raise_interrupt, instant)
        worker.soon(came.set)
        assert came.wait(60)
        assert worker.stop(60)
        return was_stopped, done

    for instant in itertools.count():
        was_stopped, done = tried(instant)
        if was_stopped is None:
            assert done == [1]
            break


def test_what_nobody_else_has_is_forgotten() -> None:
    class Thing:
        pass

    living: Living[Thing] = Living()
    one, other = Thing(), Thing()
    living.add(one)
    living.add(other)
    living.add(one)
    assert {*living} == {one, other}
    assert len(list(living)) == 2
    del other
    gc.collect()
    assert list(living) == [one]


def test_values_are_forgotten_with_their_objects() -> None:
    class Thing:
        pass

    values: LivingKeys[Thing, int] = LivingKeys()
    one, other = Thing(), Thing()
    values.put(one, 1)
    values.put(other, 2)
    values.put(one, 3)
    assert sorted(values) == [2, 3]
    del other
    gc.collect()
    assert list(values) == [3]
