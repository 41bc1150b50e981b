"""The same topic restored by statestore and by Kafka Streams, Quix Streams, Faust and ktables.

Each restore is a process of its own. A peer's clock runs while it recovers, and not while it starts, joins
its group or closes; ours runs from ``bind()`` to READY. ``make bench-peers`` installs what the peers need.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from content import records
from peer_programs import PROGRAMS, PYTHON, Run, installed, told
from topics import PATIENCE, Topics, fill

from statestore.bench.pairs import beside, speed
from statestore.bench.turns import in_pairs
from statestore.testing.kafka import BrokerUnavailableError
from statestore.testing.kafka.maven import KAFKA_VERSION, find_java, streams_jars

PARTITIONS = 4
GROUP = "statestore-bench"
SLOW = 100_000
"""Most records for Faust, which takes minutes for a million."""


@dataclass(frozen=True, slots=True)
class Topic:
    """The topic that all restore: a changelog of Quix Streams, whose header the others ignore."""

    bootstrap: str
    source: str
    """The empty topic that the peers' applications read."""
    changelog: str
    records: int


Restore = Callable[[Topic, Path], Run]


def quix(topic: Topic, directory: Path) -> Run:
    script = PROGRAMS / "quix_restore.py"
    return told([PYTHON, script, topic.bootstrap, topic.source, GROUP, directory])


def faust(topic: Topic, directory: Path) -> Run:
    script = PROGRAMS / "faust_restore.py"
    return told([PYTHON, script, topic.bootstrap, topic.source, topic.changelog, PARTITIONS, directory])


def ktables(topic: Topic, directory: Path) -> Run:  # noqa: ARG001 - it keeps nothing on disk
    return told([PYTHON, PROGRAMS / "ktables_restore.py", topic.bootstrap, topic.changelog])


@pytest.fixture(scope="module")
def topic_of(topics: Topics) -> Callable[[int], Topic]:
    """Make the topic of so many records, all keys different; each is made once."""
    made: dict[int, Topic] = {}

    def make(count: int) -> Topic:
        if count not in made:
            source = topics.empty(PARTITIONS)
            changelog = topics.empty(PARTITIONS, f"changelog__{GROUP}--{source}--default")
            headers: list[tuple[str, str | bytes | None]] = [("__column_family__", b"default")]
            fill(topics.bootstrap, changelog, records(count, count), headers=headers)
            made[count] = Topic(topics.bootstrap, source, changelog, count)
        return made[count]

    return make


@pytest.fixture(scope="module")
def streams(fresh: Fresh) -> Restore:
    """Kafka Streams, compiled against the jars of the broker's version."""
    try:
        java, jars = find_java(), streams_jars()
    except BrokerUnavailableError as error:
        pytest.skip(f"Kafka Streams: {error}")
    compiler = shutil.which("javac", path=str(Path(java).parent)) or shutil.which("javac")
    if compiler is None:
        pytest.skip("Kafka Streams: there is no javac in PATH")
    classes = fresh()
    command = [compiler, "-d", str(classes), "-cp", f"{jars}/*", str(PROGRAMS / "Restore.java")]
    subprocess.run(command, check=True, timeout=PATIENCE)

    def restore(topic: Topic, directory: Path) -> Run:
        command = [java, "-Dlog4j2.level=ERROR", "-cp", f"{classes}:{jars}/*", "Restore"]
        return told([*command, topic.bootstrap, topic.changelog, directory])

    return restore


def measure_kafka_streams(
    bench: Bench, fresh: Fresh, sizes: Sizes, topic_of: Callable[[int], Topic], streams: Restore
) -> None:
    name = f"Kafka Streams {KAFKA_VERSION}"
    found = _pairs(fresh, topic_of(sizes.records), streams, sizes.pairs)
    _rows(bench, name, sizes.records, found, 2.5)
    # Kafka Streams' own figure: from the start of its first partition to the end of its last one.
    bare = [(ours, {**theirs, "seconds": theirs["restoring"]}) for ours, theirs in found]
    _speed_row(bench, f"{name}, its listener's time", sizes.records, bare, 2.5)


def measure_quix_streams(bench: Bench, fresh: Fresh, sizes: Sizes, topic_of: Callable[[int], Topic]) -> None:
    name = f"Quix Streams {installed('quixstreams')}"
    _rows(bench, name, sizes.records, _pairs(fresh, topic_of(sizes.records), quix, sizes.pairs), 10)


def measure_faust(bench: Bench, fresh: Fresh, sizes: Sizes, topic_of: Callable[[int], Topic]) -> None:
    name = f"Faust {installed('faust-streaming')}"
    count = min(sizes.records, SLOW)
    _rows(bench, name, count, _pairs(fresh, topic_of(count), faust, sizes.pairs), None)


def measure_ktables(bench: Bench, fresh: Fresh, sizes: Sizes, topic_of: Callable[[int], Topic]) -> None:
    name = f"ktables {installed('ktables')}"
    found = _pairs(fresh, topic_of(sizes.records), ktables, sizes.pairs, "memory")
    _rows(bench, name, sizes.records, found, None, "memory")


def _pairs(
    fresh: Fresh, topic: Topic, peer: Restore, count: int, backend: str = "rocksdb"
) -> list[tuple[Run, Run]]:
    """Restore in turns, in the order A B B A; both have the topic in the page cache after the first pair."""

    def ours() -> Run:
        home = fresh()
        arguments = {"kafka": topic.bootstrap, "topic": topic.changelog, "backend": backend}
        try:
            return Child("restore", directory=str(home), **arguments).run()
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def theirs() -> Run:
        home = fresh()
        home.mkdir()
        try:
            run = peer(topic, home)
        finally:
            shutil.rmtree(home, ignore_errors=True)
        assert run["records"] == topic.records, run
        return run

    return in_pairs(ours, theirs, count)


def _rows(
    bench: Bench,
    name: str,
    count: int,
    found: list[tuple[Run, Run]],
    wanted: float | None,
    backend: str = "rocksdb",
) -> None:
    _speed_row(bench, name, count, found, wanted, backend)
    millions = count / 1_000_000
    cpu = [(ours["cpu"] / millions, theirs["cpu"] / millions) for ours, theirs in found]
    bench.add(
        beside(f"restore, {backend}: CPU", name, cpu, unit="s/M records", kind="ratio"),
        sizes=f"{count:,} records, {len(found)} pairs",
    )


def _speed_row(
    bench: Bench,
    name: str,
    count: int,
    found: list[tuple[Run, Run]],
    wanted: float | None,
    backend: str = "rocksdb",
) -> None:
    pairs = [(ours["seconds"], theirs["seconds"]) for ours, theirs in found]
    bench.add(
        speed(f"restore, {backend}", name, pairs, items=count, of="records", wanted=wanted),
        sizes=f"{count:,} records, {len(found)} pairs",
    )
