"""Workers that share one mirror: their memory beside a mirror for each, and how soon one takes over."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from content import records
from topics import Topics, fill

from statestore.bench.pairs import alone, beside

WORKERS = 4
WANTED_MEMORY = 0.5
WANTED_SECONDS = 1.0


def memory(child: Child) -> float:
    """Return the MiB of a process, of pages that several have its share (PSS)."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{child.pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def measure_workers(bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str) -> None:
    topic = topics.empty()
    fill(topics.bootstrap, topic, records(sizes.rows, sizes.rows))

    def waiting(directory: Path, role: str, stack: ExitStack) -> Child:
        arguments = {"kafka": topics.bootstrap, "topic": topic, "backend": backend}
        return stack.enter_context(Child("worker", directory=str(directory), role=role, **arguments))

    def reading(child: Child) -> Child:
        child.start()
        child.prepared()
        return child

    def all_of(directories: list[Path], role: str) -> float:
        """Return what workers take beyond Python and its modules."""
        with ExitStack() as stack:
            children = [waiting(directory, role, stack) for directory in directories]
            before = sum(map(memory, children))
            for child in children:
                reading(child)
            return sum(map(memory, children)) - before

    def taken_over() -> float:
        directory = fresh()
        with ExitStack() as stack:
            owner, reader = (reading(waiting(directory, "auto", stack)) for _ in range(2))
            reader.start()
            began = time.time()
            os.kill(owner.pid, signal.SIGKILL)
            return float(reader.result()["owns_since"]) - began

    rounds = range(min(3, sizes.pairs))
    shared = [all_of([fresh()] * WORKERS, "auto") for _ in rounds]
    single = [all_of([fresh()], "owner") for _ in rounds]
    copies = [all_of([fresh() for _ in range(WORKERS)], "owner") for _ in rounds]
    bench.add(
        beside(
            f"{backend}, memory of {WORKERS} workers with one mirror",
            f"{WORKERS} workers with a mirror each",
            list(zip(shared, copies, strict=True)),
            unit="MiB",
            kind="ratio",
            wanted=WANTED_MEMORY,
        ),
        beside(
            f"{backend}, memory of {WORKERS} workers with one mirror",
            "one worker",
            list(zip(shared, single, strict=True)),
            unit="MiB",
            kind="ratio",
        ),
        alone(
            f"{backend}, from kill -9 of the owner to the next one",
            [taken_over() for _ in range(sizes.pairs)],
            unit="s",
            wanted=WANTED_SECONDS,
        ),
        sizes=f"{sizes.rows:,} rows, {sizes.pairs} pairs",
    )
