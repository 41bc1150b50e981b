"""Work that is done in slices for an event loop."""

from __future__ import annotations

import asyncio
import gc
import queue
import random
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from statestore.runtime import slices
from statestore.runtime.slices import MOST_THREADS, Slices, in_slices, pause_point, with_pauses
from statestore.runtime.sorting import PART, release, sort


def running(work: Callable[[Slices], Any]) -> Any:
    """Run ``work(Slices)`` on an event loop."""

    async def main() -> Any:
        made = Slices(asyncio.get_running_loop())
        try:
            return await work(made)
        finally:
            made.close()

    return asyncio.run(main())


@pytest.fixture
def shortest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause point ends a slice."""
    monkeypatch.setattr(slices, "SLICE", 0.0)


def paused_until(ended: threading.Event) -> None:
    while not ended.is_set():
        pause_point()


def test_a_result_and_an_error_come_back() -> None:
    async def work(made: Slices) -> None:
        assert await made.run(lambda: 3) == 3
        with pytest.raises(KeyError):
            await made.run(dict[int, int]().popitem)

    running(work)


@pytest.mark.usefixtures("shortest")
def test_the_loop_runs_between_slices() -> None:
    async def work(made: Slices) -> None:
        seen = threading.Event()
        asyncio.get_running_loop().call_later(0.01, seen.set)
        await made.run(lambda: paused_until(seen))

    running(work)


@pytest.mark.usefixtures("shortest")
def test_works_take_turns_and_one_has_a_slice_at_a_time() -> None:
    active: list[int] = []
    order: list[int] = []

    def turns() -> int:
        return sum(one != other for one, other in pairwise(order))

    def count(number: int) -> None:
        while turns() < 4:  # works that take no turns do not end
            assert active == []
            active.append(number)
            order.append(active.pop())
            pause_point()

    async def work(made: Slices) -> None:
        await asyncio.gather(*(made.run(partial(count, n)) for n in range(2)))

    running(work)
    assert turns() >= 4


def test_a_pause_point_elsewhere_does_nothing() -> None:
    pause_point()
    assert not in_slices()
    assert list(with_pauses(range(200))) == list(range(200))


def test_cancelled_work_ends_at_its_next_pause_point() -> None:
    class Snapshot:
        closed = False

    async def work(made: Slices) -> None:
        begun, ended = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def read() -> None:
            loop.call_soon_threadsafe(begun.set)
            try:
                paused_until(threading.Event())
            finally:
                ended.set()

        task = asyncio.create_task(made.run(read))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await made.run(lambda: ended.wait(60))  # others go on, too

    running(work)


def test_what_is_there_when_its_task_is_cancelled_is_released() -> None:
    tasks: list[asyncio.Task[int]] = []

    class Cancelling(Slices):
        def _ended(self, work: Any, error: BaseException | None, result: Any) -> None:
            super()._ended(work, error, result)
            tasks[0].cancel()  # the task has not been woken yet

    async def main() -> None:
        made = Cancelling(asyncio.get_running_loop())
        released: list[int] = []
        tasks.append(asyncio.create_task(made.run(lambda: 7, released.append)))
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert released == [7]
        made.close()

    asyncio.run(main())


def test_what_nobody_gets_is_released() -> None:
    async def work(made: Slices) -> None:
        begun, may_end = asyncio.Event(), threading.Event()
        released: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def opened() -> int:
            loop.call_soon_threadsafe(begun.set)
            may_end.wait(60)
            return 7

        task = asyncio.create_task(made.run(opened, released.set_result))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()
        assert await asyncio.wait_for(released, 60) == 7

    running(work)


def test_work_that_waits_for_others_keeps_nobody_waiting() -> None:
    """Neither a slice that does not end, nor as many works as there are threads for others."""

    async def work(made: Slices) -> None:
        waited: queue.SimpleQueue[None] = queue.SimpleQueue()
        stuck = [asyncio.create_task(made.run(waited.get, waits=True)) for _ in range(MOST_THREADS + 1)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(made.run(lambda: 1), 60) == 1
        for _ in stuck:
            waited.put(None)
        await asyncio.gather(*stuck)

    running(work)


def test_short_work_does_not_wait_for_long_ones_to_end() -> None:
    async def work(made: Slices) -> None:
        ended = threading.Event()
        long = [asyncio.create_task(made.run(lambda: paused_until(ended))) for _ in range(MOST_THREADS + 1)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(made.run(lambda: 1, short=True), 60) == 1
        assert not any(one.done() for one in long)
        ended.set()
        await asyncio.gather(*long)

    running(work)


def test_more_works_than_threads_all_end() -> None:
    async def work(made: Slices) -> None:
        names = await asyncio.gather(
            *(made.run(lambda: threading.current_thread().ident) for _ in range(10 * MOST_THREADS))
        )
        assert len(set(names)) <= MOST_THREADS

    running(work)


def test_no_result_stays_behind() -> None:
    class Big:
        pass

    async def work(made: Slices) -> None:
        big = weakref.ref(await made.run(Big))
        await made.run(lambda: None)
        assert big() is None

    gc.disable()
    try:
        running(work)
    finally:
        gc.enable()


def test_a_closed_loop_ends_what_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "_LOOK_AGAIN", 0.01)
    monkeypatch.setattr(slices, "SLICE", 0.0)
    ended = threading.Event()

    def read() -> None:
        try:
            paused_until(threading.Event())
        finally:
            ended.set()

    async def begin(made: Slices) -> None:
        task = asyncio.ensure_future(made.run(read))
        await asyncio.sleep(0.01)
        assert not task.done()

    loop = asyncio.new_event_loop()
    made = Slices(loop)
    loop.run_until_complete(begin(made))
    pending = asyncio.all_tasks(loop)
    loop.close()
    assert ended.wait(60)
    made.close()
    for task in pending:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()


def test_what_a_list_has_is_released_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    items = list(range(3 * PART + 1))
    monkeypatch.setattr("statestore.runtime.sorting.pause_point", lambda: pauses.append(len(items)))
    release(items)
    assert items == []
    assert pauses == [3 * PART + 1, 2 * PART + 1, PART + 1, 1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("most", [1, 3, 10**9])
@pytest.mark.parametrize("count", [0, 1, PART, 20 * PART])
def test_a_paused_sort_is_the_sort(count: int, most: int, reverse: bool) -> None:
    chance = random.Random(count)
    items = [(chance.randrange(most), number) for number in range(count)]

    async def work(made: Slices) -> list[tuple[int, int]]:
        began = time.monotonic()
        found = await made.run(lambda: sort(items, lambda item: item[0], reverse=reverse))
        assert time.monotonic() - began < 60
        return found

    assert running(work) == sorted(items, key=lambda item: item[0], reverse=reverse)
