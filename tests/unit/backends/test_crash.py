"""``kill -9`` at random instants: what comes back is the content up to a position, exactly.

The victim is this file run as a program. Batch ``n`` holds the number ``n`` under ``POSITION`` beside its
data, so the content after any number of batches is known; acknowledgements are reported through a pipe.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore.backends import StoreOptions, find_engine
from statestore.backends.contract import Backend, Batch
from statestore.core import PairRun

POSITION = b"\x00position"
FLUSH_EVERY = 150
COMPACT_EVERY = 400
ROUNDS = 10 if os.environ.get("STATESTORE_SOAK") == "1" else 2
OPTIONS = {
    # Without power loss sync changes nothing, and without it there are more batches to a second. A memtable
    # takes 40 of them, so that several are flushed between two calls of flush().
    "rocksdb": {"max_write_buffer": 65536, "sync": False},
    "lmdb": {"map_size": 1 << 18, "sync": False},  # has to grow
}


def batch(number: int) -> Batch:
    puts = [(b"\x01%04d" % (number * step % 997), b"%08d" % number * 40) for step in (1, 3, 7, 11, 13)]
    return Batch([*puts, (POSITION, b"%d" % number)], [b"\x01%04d" % ((number - 5) * 3 % 997)])


def as_load(batch: Batch) -> list[PairRun]:
    *puts, position = batch.puts
    rows = dict(puts)
    return [PairRun(rows.items(), set(batch.deletes) - rows.keys()), PairRun([position])]


def fold(position: int) -> dict[bytes, bytes]:
    """Return the content after ``position`` batches."""
    content: dict[bytes, bytes] = {}
    for number in range(1, position + 1):
        puts, deletes = batch(number)
        for key in deletes:
            content.pop(key, None)
        content.update(puts)
    return content


def write_until_killed(name: str, options: str, directory: str, changelog: str, load_every: str) -> None:
    kind = find_engine(name)
    engine = kind(1 << 20, kind.options_type(**json.loads(options)))
    store = engine.open(Path(directory), StoreOptions(changelog=changelog == "True"))
    for number in itertools.count(int(store.get(POSITION) or 0) + 1):
        if int(load_every) and number % int(load_every) == 0:
            store.load(as_load(batch(number)))
            print("flushed", number, flush=True)
        else:
            store.write(batch(number))
        print("written", number, flush=True)
        if number % FLUSH_EVERY == 0:
            store.flush()
            print("flushed", number, flush=True)
        if number % COMPACT_EVERY == 0:
            store.compact()


def run_and_kill(
    name: str, directory: Path, changelog: bool, load_every: int, seconds: float
) -> dict[str, int]:
    """Kill the victim ``seconds`` after its first batch; return the last number it reported of each kind."""
    arguments = [name, json.dumps(OPTIONS[name]), str(directory), str(changelog), str(load_every)]
    victim = subprocess.Popen(
        [sys.executable, "-P", __file__, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(seconds, victim.kill)
    last = {"written": 0, "flushed": 0}
    with victim:
        assert victim.stdout is not None
        for line in victim.stdout:
            if killer.ident is None:
                killer.start()
            if line.endswith("\n"):  # else killed while reporting
                kind, number = line.split()
                last[kind] = int(number)
        assert victim.stderr is not None
        complaint = victim.stderr.read()
    assert victim.returncode == -signal.SIGKILL, complaint
    return last


@pytest.mark.slow
@pytest.mark.parametrize("load_every", [0, 3])
@pytest.mark.parametrize("changelog", [False, True])
def test_a_killed_store_is_the_fold_up_to_its_position(
    open_store: Callable[..., Backend], directory: Path, name: str, changelog: bool, load_every: int
) -> None:
    instants = random.Random(name)
    for _ in range(ROUNDS):
        reported = run_and_kill(name, directory, changelog, load_every, instants.uniform(0.01, 0.7))
        with open_store(changelog=changelog, **OPTIONS[name]) as store:
            content = dict(store.scan())
        position = int(content.get(POSITION, 0))
        assert content == fold(position)
        assert reported["written"] > 0
        assert position >= reported["flushed" if changelog else "written"]


if __name__ == "__main__":
    write_until_killed(*sys.argv[1:])
