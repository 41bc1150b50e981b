"""Where the time of each hot path goes, by library, native frames included; and the least it can cost.

``perf`` takes the profile from outside. Its reports by function go to the results folder too.
"""

from __future__ import annotations

import gc
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librdkafka
import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from content import VALUE_SIZE, pairs, some_keys
from rocksdict import Options, SstFileWriter
from ticks import Tick, decode, encoded
from topics import TUNINGS, Shape, Topics, fill

from statestore.bench.pairs import alone
from statestore.entity import model_of

BACKENDS = ["rocksdb", "lmdb", "memory"]
PATHS = ["get", "scan", "to_list"]
SECONDS = 1.5
LEAST = 0.02
"""Share of the time below which a library is not listed."""

LIBRARIES = {
    "cpython.cpython": "lmdb",
    "librdkafka": "librdkafka",
    "rocksdict": "RocksDB and its binding",
    "_native": "statestore._native",
    "msgspec": "msgspec",
    "[kernel": "the kernel",
    "libc": "libc",
    "cimpl": "confluent_kafka",
    "libpython": "Python",
    "python3": "Python",
}
"""Names of libraries, by a part of the file name that ``perf`` reports."""


class Profile:
    """Samples of a process, taken by ``perf``. Without ``perf`` the test is skipped."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._file = home / "perf.data"
        if shutil.which("perf") is None:
            pytest.skip("there is no perf in PATH")

    def start(self, pid: int) -> None:
        command = ["perf", "record", "-q", "-F", "1999", "-o", str(self._file), "-p", str(pid)]
        self._perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)  # until it is attached

    def stop(self) -> None:
        self._perf.send_signal(signal.SIGINT)
        self._perf.wait()

    def report(self, by: str) -> str:
        """Return the output of ``perf report``. Skip the test if ``perf`` could take no samples."""
        command = ["perf", "report", "-i", str(self._file), "--no-children", "--sort", by, "-t", "\t"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"perf took no samples: {done.stderr.strip()}")
        return done.stdout

    def shares(self) -> dict[str, float]:
        """Return the share of each library."""
        found: dict[str, float] = {}
        for line in self.report("dso").splitlines():
            share, _, library = line.partition("\t")
            if line and not line.startswith("#"):
                name = _called(library.strip())
                found[name] = found.get(name, 0.0) + float(share.strip().rstrip("%")) / 100
        return found


def _called(library: str) -> str:
    """Return the name of the library whose file ``perf`` reports."""
    return next((name for part, name in LIBRARIES.items() if part in library), library)


def _rows(bench: Bench, profile: Profile, path: str, nanoseconds: float) -> None:
    folder: Path = bench.results
    name = "".join(letter if letter.isalnum() else "-" for letter in path)
    (folder / f"profile-{name}.txt").write_text(profile.report("dso,symbol"))
    parts = sorted(profile.shares().items(), key=lambda part: -part[1])
    bench.add(
        alone(f"{path}: CPU", [nanoseconds], unit="ns"),
        *(
            alone(f"{path}: in {part}", [share * nanoseconds], unit="ns")
            for part, share in parts
            if share >= LEAST
        ),
        sizes="each, one run under perf",
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("writes", [1, 4])
def measure_restore(
    bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str, writes: int
) -> None:
    shape = Shape(sizes.records, writes)
    profile = Profile(fresh())
    arguments = {"kafka": topics.bootstrap, "topic": topics.of(shape), "backend": backend}
    with Child("restore", directory=str(fresh()), **arguments) as child:
        profile.start(child.pid)
        child.start()
        run = child.result()
        profile.stop()
    _rows(bench, profile, f"restore, {backend}, {shape}", run["cpu_durable"] / sizes.records * 1e9)


@pytest.mark.usefixtures("ticks")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", PATHS)
def measure_reading(
    bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str, path: str
) -> None:
    profile = Profile(fresh())
    arguments: dict[str, Any] = {"path": path, "kafka": topics.bootstrap, "backend": backend}
    topic = topics.of(Shape(sizes.rows))
    with Child(
        "repeat", topic=topic, rows=sizes.rows, directory=str(fresh()), seconds=SECONDS, **arguments
    ) as child:
        child.start()
        child.prepared()
        profile.start(child.pid)
        child.start()
        run = child.result()
        profile.stop()
    _rows(bench, profile, f"{path}, {backend}", run["cpu"] / run["items"] * 1e9)


@pytest.fixture(scope="module")
def ticks(topics: Topics, sizes: Sizes) -> str:
    """The topic of an entity with six fields."""
    name = topics.empty(4, model_of(Tick).topic)
    fill(topics.bootstrap, name, encoded(max(1, sizes.rows // 3)))
    return name


# The floors: the least CPU for the same outcome with existing tools, without a store or without Python.


def measure_floor_of_restore(bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes) -> None:
    shape = Shape(sizes.records)
    topic = topics.of(shape)
    discard = topics.discard(shape)
    tuning = TUNINGS[discard.tuning]
    content = pairs(sizes.records)
    folder = fresh()
    folder.mkdir()

    def build() -> None:
        writer = SstFileWriter(options=Options(raw_mode=True))
        writer.open(str(folder / "sorted.sst"))
        for key, value in content:
            writer[key] = value
        writer.finish()

    floors: dict[str, Callable[[], object]] = {
        "librdkafka alone, records not looked at": lambda: librdkafka.read(
            topics.bootstrap, topic, shape, tuning
        ),
        discard.name: lambda: discard.work().seconds(),
        "a sorted file by the binding": build,
    }
    for what, work in floors.items():
        _floor(bench, what, work, sizes.records, sizes.pairs)


def measure_floor_of_reading(bench: Bench, sizes: Sizes) -> None:
    rows = sizes.rows
    content = dict(pairs(rows))
    wanted = some_keys(min(rows, 20_000), rows)
    get = content.get
    blob = b"".join(key + value for key, value in content.items())
    layout = struct.Struct(f"{len(wanted[0])}s{VALUE_SIZE}s")
    payloads = [payload for _, payload in encoded(rows)]
    fields = [("SYM", 1.5, 1, "XNYS", 3, True)] * rows

    def read() -> None:
        for one in wanted:
            get(one)

    def take() -> None:
        for _ in layout.iter_unpack(blob):
            pass

    def make() -> None:
        [Tick(*values) for values in fields]

    runs = 5 * sizes.pairs
    _floor(bench, "dict.get in a loop", read, len(wanted), runs)
    _floor(bench, "two bytes objects and a tuple, in C", take, rows, runs)
    _floor(bench, "msgspec into a dataclass", lambda: [decode(payload) for payload in payloads], rows, runs)
    _floor(bench, "the constructor of the dataclass", make, rows, runs)


def _floor(bench: Bench, what: str, work: Callable[[], object], items: int, runs: int) -> None:
    work()
    taken = []
    gc.collect()
    gc.disable()
    for _ in range(runs):
        used = time.process_time()
        work()
        taken.append((time.process_time() - used) / items * 1e9)
    gc.enable()
    bench.add(alone(f"floor: {what}", taken, unit="ns"), sizes=f"{items:,} of them, {runs} runs")
