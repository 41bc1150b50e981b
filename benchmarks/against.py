"""Compares this checkout with another one: ``make bench-against BASE=/path/to/the/other``.

Both checkouts must have been set up. A pair is two fresh processes, one of each checkout. They measure the
same rows in turns: base, new, new, base, base, … A process's figure is its best turn, since other work on the
machine only makes turns longer. A row's result is the median of the ratios of its pairs. A ratio is new speed
/ base speed: 1 or more is not slower.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from against_side import FEWER, GROUPS, Options, Order, Tick, codec_of
from content import records
from mock_topics import MockTopics
from results import as_markdown, described_here
from topics import Shape, Topics

from statestore.bench.pairs import PairRow, speed
from statestore.bench.turns import in_turns
from statestore.testing.kafka import BrokerUnavailableError, KafkaBroker, external_broker

ROOT = Path(__file__).parents[1]
SCRATCH = ROOT / ".benchmarks"
SCRIPT = Path(__file__).with_name("against_side.py")
PYTHON = Path(".venv/bin/python")
WANTED = 0.97
TURN = 0.005
"""Seconds that a turn takes at least: shorter work is repeated in it.

Longer turns than this are seldom free of other processes where the machine is not idle.
"""
LONG = 0.1
"""Seconds of work that has fewer turns."""
CPU = ("restore", "follow", "writes")
"""Groups whose work waits for others, for threads or the disk: the CPU that they take is a row of its own."""


class Side:
    """A process of one checkout that measures a group's rows, a turn at a time."""

    def __init__(self, checkout: Path, python: Path, group: str, options: Options) -> None:
        self.checkout = checkout
        self._group = group
        self._process = subprocess.Popen(
            [python, "-P", SCRIPT, group, json.dumps(options._asdict())],
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def told(self) -> dict[str, Any]:
        """Return what the process says of itself once it is prepared."""
        told: dict[str, Any] = json.loads(self._read())
        where = Path(told.pop("statestore")).resolve()
        if not where.is_relative_to(self.checkout):
            raise SystemExit(f"{self.checkout}: its Python imports {where}: run make there")
        return told

    def turn(self, row: int, times: int) -> tuple[float, float]:
        """Return the seconds and the seconds of CPU of ``times`` runs of a row."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{row} {times}\n")
        seconds, cpu = map(float, self._read().split())
        return seconds, cpu

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.checkout}: group {self._group!r} ended with {self._process.wait()}")
        return line


Turns = dict[tuple[str, str], list[tuple[float, float]]]
"""By the name of a row, and of ``seconds`` or ``cpu``: each pair's (new, base), for one run."""


def measure(group: str, base: Path, options: Options, pairs: int, turns: int) -> Iterator[PairRow]:
    """Measure a group's rows in ``pairs`` pairs of processes."""
    found: Turns = {}
    times: dict[str, int] = {}
    rows: list[tuple[str, int, str]] = []
    for pair in range(pairs):
        print(f"{group}: pair {pair + 1} of {pairs}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=SCRATCH) as directory, ExitStack() as stack:
            new, old = (options._replace(directory=f"{directory}/{name}") for name in ("new", "base"))
            sides = [
                stack.enter_context(Side(ROOT, Path(sys.executable), group, new)),
                stack.enter_context(Side(base, base / PYTHON, group, old)),
            ]
            told = [side.told() for side in sides]
            for what in ("core", "packages"):
                if told[0][what] != told[1][what]:
                    print(f"{what} differ: {told[0][what]}, base: {told[1][what]}", file=sys.stderr)
            rows = told[0]["rows"]
            for number, (name, _, _) in enumerate(rows):
                for kind, one in best_turns(sides, number, times, name, turns, pair).items():
                    found.setdefault((name, kind), []).append(one)
    for name, items, of in rows:
        for kind in ("seconds", "cpu") if group in CPU else ("seconds",):
            work = name if kind == "seconds" else f"{name}: by CPU time"
            row = speed(work, "base", found[name, kind], items=items, of=of, wanted=WANTED)
            yield msgspec.structs.replace(row, group=group, sizes=f"{items:,} {of}, {pairs} pairs")


def best_turns(
    sides: list[Side], row: int, times: dict[str, int], name: str, turns: int, pair: int
) -> dict[str, tuple[float, float]]:
    """Return the least seconds and CPU of one run, new and base; each side has a turn before that."""
    first = max(side.turn(row, 1)[0] for side in sides)
    times.setdefault(name, max(1, round(TURN / first)))
    taken: tuple[list[tuple[float, float]], ...] = ([], [])
    for _, side in in_turns((0, 1) if pair % 2 else (1, 0), turns if first < LONG else min(turns, 3)):
        taken[side].append(sides[side].turn(row, times[name]))
    best = [[min(values) / times[name] for values in zip(*one, strict=True)] for one in taken]
    return {kind: (best[0][at], best[1][at]) for at, kind in enumerate(("seconds", "cpu"))}


def prepared(stack: ExitStack, groups: list[str], records_: int, rows: int) -> Options:
    """Fill the topics that ``groups`` read. Without a real broker, take ``restore`` out of them."""
    mock = stack.enter_context(MockTopics())
    mock.fill("pairs", records(rows, rows))
    for cls, count in ((Tick, rows), (Order, rows // FEWER)):
        codec = codec_of(cls)
        mock.fill(cls.__name__.lower() + "s", (codec.encode(cls.numbered(number)) for number in range(count)))
    options = Options("", rows, mock.bootstrap, "", {})
    if "restore" not in groups:
        return options
    try:
        topics = stack.enter_context(Topics(external_broker() or stack.enter_context(KafkaBroker())))
    except BrokerUnavailableError as error:
        print(f"restore is not measured: {error}", file=sys.stderr)
        groups.remove("restore")
        return options
    shapes = [Shape(records_), Shape(records_, writes_per_key=4)]
    return options._replace(
        kafka=topics.bootstrap, topics={str(shape): (topics.of(shape), records_) for shape in shapes}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path, help="the other checkout, set up")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="default: all")
    parser.add_argument("--pairs", type=int, default=5, help="of processes (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=25, help="of a row (default: %(default)s)")
    parser.add_argument("--records", type=int, default=500_000, help="of a restore (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=30_000, help="of a table (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=SCRATCH / "against.md", help="default: %(default)s")
    given = parser.parse_args()
    base = given.base.resolve()
    if not (base / PYTHON).exists():
        parser.error(f"{base} has no {PYTHON}: run make there")
    SCRATCH.mkdir(exist_ok=True)
    with ExitStack() as stack:
        options = prepared(stack, given.groups, given.records, given.rows)
        found: list[PairRow] = []
        for group in given.groups:
            found += measure(group, base, options, given.pairs, given.turns)
    text = as_markdown([*described_here(), ("new", commit(ROOT)), ("base", commit(base))], found)
    print(text)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(text)
    print(f"written: {given.results}", file=sys.stderr)


def commit(checkout: Path) -> str:
    """Return the commit of a checkout, and whether it was changed since."""
    done = subprocess.run(
        ["git", "-C", checkout, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "of no commit"


if __name__ == "__main__":
    main()
