"""Runs a workload and times each operation.

*Closed loop*: each thread begins an operation when its last one has ended. Operations are made ahead, in
chunks of about ten milliseconds; the clock stands still meanwhile.

*At a fixed rate*: each operation has a time at which it is due, whether earlier ones have ended or not, and
its latency counts from then. So an operation that stalls makes those after it late, as it would for users,
and does not count as one single long operation (coordinated omission).
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from random import Random

from statestore.bench.histogram import Latencies
from statestore.bench.workload import Ground, Operation, Workload

SERIES = 50
"""Intervals of a measurement for which the throughput is kept."""

_CHUNK_NS = 10_000_000
_CAPACITY = 1 << 18
_SPIN = 200_000
"""Nanoseconds before an operation is due in which its thread does not sleep: that may take longer."""


@dataclass(slots=True)
class Measured:
    """What one workload gave."""

    operations: int = 0
    seconds: float = 0.0
    """While the clock ran."""
    cpu_seconds: float = 0.0
    """Processor time of the whole process while the clock ran, the threads of the engine included."""
    paced: bool = False
    """Whether operations were due at a fixed rate."""
    late: bool = False
    """Whether the fixed rate was too much: it was given up after twice the time."""
    interval: float = 0.0
    """Seconds of one interval of ``series``."""
    series: list[int] = field(default_factory=list)
    """Operations that ended in each interval."""
    latencies: Latencies = field(default_factory=Latencies)


class Samples:
    """Latencies of one thread until they are counted, in shared memory: they are not in ``RssAnon``."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._memory = mmap.mmap(-1, 8 * capacity)
        self.view = memoryview(self._memory).cast("Q")
        self.count = 0

    def drain(self, latencies: Latencies) -> None:
        """Count what there is, and forget it."""
        latencies.record(self.view[: self.count])
        self.count = 0

    def close(self) -> None:
        self.view.release()
        self._memory.close()


def overhead(operations: int = 5_000) -> float:
    """Return the nanoseconds that the measuring itself adds to one operation of a closed loop."""
    samples = Samples(operations)
    work: list[Operation] = [(_nothing, (b"key",))] * operations
    took = []
    for _ in range(5):
        samples.count = 0
        begun = time.perf_counter_ns()
        _timed(work, samples)
        took.append(time.perf_counter_ns() - begun)
    samples.close()
    return min(took) / operations


def _nothing(_: bytes) -> None:
    pass


def _timed(operations: Sequence[Operation], samples: Samples) -> None:
    """Do the operations one after the other, and keep how long each took."""
    clock = time.perf_counter_ns
    view, place = samples.view, samples.count
    for call, arguments in operations:
        begun = clock()
        call(*arguments)
        view[place] = clock() - begun
        place += 1
    samples.count = place


class _Rounds:
    """Threads that make a chunk each, wait for one another, and do their chunks at once."""

    def __init__(self, workload: Workload, sources: list[Iterator[Operation]], seconds: float) -> None:
        self._workload = workload
        self._sources = sources
        self._last = time.perf_counter_ns() + int(seconds * 1e9)
        self._samples = [Samples(_CAPACITY) for _ in sources]
        self._size = min(workload.chunk, 16)
        self._made = [0] * len(sources)
        self._over = False
        self._busy = 0
        self._begun = 0
        self._cpu = 0.0
        self._begin = threading.Barrier(len(sources), self._start)
        self._end = threading.Barrier(len(sources), self._stop)
        self.measured = Measured(interval=max(seconds / SERIES, 0.001))

    def _start(self) -> None:
        self._over = self._over or not any(self._made)
        self._cpu = time.process_time()
        self._begun = time.perf_counter_ns()

    def _stop(self) -> None:
        took = time.perf_counter_ns() - self._begun
        measured, made = self.measured, sum(self._made)
        measured.cpu_seconds += time.process_time() - self._cpu
        spread(measured.series, self._busy / 1e9, (self._busy + took) / 1e9, made, measured.interval)
        self._busy += took
        measured.operations += made
        self._over = time.perf_counter_ns() >= self._last and not self._workload.once
        if took:
            self._size = max(1, min(self._workload.chunk, 2 * self._size, int(self._size * _CHUNK_NS / took)))
        for samples in self._samples:
            if samples.count + self._workload.chunk > samples.capacity:
                samples.drain(measured.latencies)

    def work(self, number: int) -> None:
        """Be thread ``number`` until the time is over, or nothing is left to do."""
        source, samples = self._sources[number], self._samples[number]
        try:
            while not self._over:  # what is made is done: those that write count it when they make it
                operations = list(islice(source, self._size))
                self._made[number] = len(operations)
                self._begin.wait()
                if self._over:
                    return
                _timed(operations, samples)
                self._end.wait()
        except BaseException:
            self._begin.abort()
            self._end.abort()
            raise

    def finish(self) -> Measured:
        measured = self.measured
        measured.seconds = self._busy / 1e9
        for samples in self._samples:
            samples.drain(measured.latencies)
            samples.close()
        return measured


def spread(series: list[int], begun: float, ended: float, count: int, interval: float) -> None:
    """Add ``count`` operations to the intervals from ``begun`` to ``ended``, as if all took equally long.

    A chunk is longer than an interval where operations are slow, or one of them stalls.
    """
    first, last = int(begun / interval), int(ended / interval)
    series += [0] * (last + 1 - len(series))
    done = 0
    for place in range(first, last):
        until = int(count * ((place + 1) * interval - begun) / (ended - begun))
        series[place] += until - done
        done = until
    series[last] += count - done


def closed_loop(ground: Ground, workload: Workload, threads: int, seconds: float, seed: int) -> Measured:
    """Run ``workload`` for about ``seconds``, making operations included, or once where it is done once."""
    sources = [workload.operations(ground, Random(seed + number)) for number in range(threads)]
    rounds = _Rounds(workload, sources, seconds)
    _in_threads(rounds.work, threads)
    return rounds.finish()


def _in_threads(work: Callable[[int], None], threads: int) -> None:
    """Call ``work`` with the number of each thread, all at once. Raises what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    if threads == 1:
        work(0)
        return
    workers = [threading.Thread(target=guarded, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise next((one for one in errors if not isinstance(one, threading.BrokenBarrierError)), errors[0])


def fixed_rate(
    ground: Ground, workload: Workload, threads: int, seconds: float, seed: int, rate: float
) -> Measured:
    """Run ``workload`` at ``rate`` operations a second, of all threads together."""
    measured = Measured(interval=max(seconds / SERIES, 0.001), paced=True)
    gap = threads / rate * 1e9
    each = max(1, int(rate * seconds / threads))
    samples = [Samples(each) for _ in range(threads)]
    ticks = [[0] * (2 * SERIES + 2) for _ in range(threads)]
    cpu = time.process_time()
    start = time.perf_counter_ns() + 1_000_000

    def work(number: int) -> None:
        source = workload.operations(ground, Random(seed + number))
        first = start + int(gap * number / threads)
        if not _paced(source, first, gap, 2 * seconds, samples[number], ticks[number], measured.interval):
            measured.late = True

    _in_threads(work, threads)
    measured.seconds = (time.perf_counter_ns() - start) / 1e9
    measured.cpu_seconds = time.process_time() - cpu
    measured.operations = sum(one.count for one in samples)
    measured.series = [sum(counts) for counts in zip(*ticks, strict=True)]
    while measured.series and not measured.series[-1]:
        measured.series.pop()
    for one in samples:
        one.drain(measured.latencies)
        one.close()
    return measured


def _paced(
    source: Iterator[Operation],
    start: int,
    gap: float,
    limit: float,
    samples: Samples,
    ticks: list[int],
    interval: float,
) -> bool:
    """Do operations when they are due, as many as ``samples`` takes; tell whether ``limit`` was kept."""
    clock = time.perf_counter_ns
    last = start + int(limit * 1e9)
    for place in range(samples.capacity):
        call, arguments = next(source)
        due = start + int(place * gap)
        while (left := due - clock()) > 0:
            time.sleep((left - _SPIN) / 1e9 if left > _SPIN else 0)
        call(*arguments)
        ended = clock()
        samples.view[place] = max(0, ended - due)
        samples.count = place + 1
        ticks[min(len(ticks) - 1, int((ended - start) / 1e9 / interval))] += 1
        if ended > last:
            return False
    return True


def measure(
    ground: Ground, workload: Workload, threads: int, seconds: float, seed: int, rate: float | None
) -> Measured:
    """Warm up, then measure: in a closed loop, or at ``rate`` where the workload can be paced."""
    with ExitStack() as held:
        if workload.hold is not None:
            workload.hold(ground, held)
        if not (workload.once or workload.cold):
            closed_loop(ground, workload, threads, min(1.0, seconds / 5), seed + 1_000_003)
        if rate is not None and is_paced(workload):
            return fixed_rate(ground, workload, threads, seconds, seed, rate)
        return closed_loop(ground, workload, threads, seconds, seed)


def is_paced(workload: Workload) -> bool:
    """Whether a fixed rate makes sense: operations on a few keys, without end."""
    return workload.keys == 1 and workload.threads
