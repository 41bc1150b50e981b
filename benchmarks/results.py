"""The results of a run, as JSON, Markdown and a plot.

A run of some groups keeps the earlier rows of the others. So a full result can be put together from runs with
different sizes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import confluent_kafka

from statestore.bench.machine import described, machine, versions
from statestore.bench.pairs import PairResults, PairRow, digits, read_pairs
from statestore.bench.results import write_results
from statestore.bench.summary import Figure
from statestore.bench.svg import Bar, ratios
from statestore.testing.kafka import EXTERNAL_VARIABLE
from statestore.testing.kafka.maven import KAFKA_VERSION

HEADER = ["work", "reference", "ours", "reference's", "least - most", "wanted", "result", "measured with"]


class ResultsFolder:
    """The rows of one run, and those of earlier runs in ``folder``.

    Raises ``ConfigError`` where those cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = path = folder / "results.json"
        self._earlier = read_pairs(path).rows if path.exists() else []
        self._rows: list[PairRow] = []

    def add(self, row: PairRow) -> None:
        self._rows.append(row)

    def write(self) -> list[Path]:
        """Write everything and return the paths. Without rows, write nothing."""
        if not self._rows:
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = merged(self._earlier, self._rows)
        results = PairResults(machine=machine(self.folder), versions=versions_here(), rows=rows)
        write_results(results, self._path)
        tables, plot = self.folder / "results.md", self.folder / "ratios.svg"
        tables.write_text(as_markdown(described(results.machine, results.versions), rows))
        plot.write_text(ratios("times the reference: median of the pairs, least to most, wanted", bars(rows)))
        return [self._path, tables, plot]


def merged(earlier: Sequence[PairRow], rows: Sequence[PairRow]) -> list[PairRow]:
    """Return ``rows``, and those of ``earlier`` that were not measured again, group by group."""
    new = {(row.group, row.work, row.reference) for row in rows}
    kept = [row for row in earlier if (row.group, row.work, row.reference) not in new]
    return sorted([*kept, *rows], key=lambda row: row.group)  # stable: in a group, the order of measuring


def versions_here() -> dict[str, str]:
    """Return the versions of what is measured, the client's library and the broker too."""
    broker = f"Apache Kafka {KAFKA_VERSION}, on the same machine"
    if os.environ.get(EXTERNAL_VARIABLE):
        broker = f"that of {EXTERNAL_VARIABLE}; its version and its machine are not known here"
    return {**versions(), "librdkafka": str(confluent_kafka.libversion()[0]), "broker": broker}


def described_here() -> list[tuple[str, str]]:
    """Return the lines that say what this machine is, without its name and without a date."""
    return described(machine(Path.cwd()), versions_here())


def cells(row: PairRow) -> list[str]:
    """Return work, reference, ours, theirs, spread, wanted and the result."""
    result = row.result
    ours = theirs = wanted = ""
    if row.theirs is not None:
        ours, theirs = (f"{digits(Figure.of(side).median)} {row.unit}" for side in (row.ours, row.theirs))
    if row.wanted is not None:
        sign = "+" if row.kind == "difference" else ""
        unit = "x" if row.kind == "ratio" else row.unit
        wanted = f"{'<=' if row.at_most else '>='} {sign}{row.wanted:g} {unit}"
    spread = "" if result.least == result.most else f"{digits(result.least)} - {digits(result.most)}"
    return [row.work, row.reference, ours, theirs, spread, wanted, row.shown]


def as_markdown(told: Sequence[tuple[str, str]], rows: Sequence[PairRow]) -> str:
    """Return the machine, and a table for each group, without columns that are empty."""
    lines = [f"- {name}: {what}" for name, what in told]
    for group, found in groupby(rows, key=lambda row: row.group):
        table = [HEADER]
        for row in found:
            line = [*(cell.replace("|", "\\|") for cell in cells(row)), row.sizes]
            if row.met is not None:
                line[-2] = f"**{line[-2]}**" if row.met else f"{line[-2]} (missed)"
            table.append(line)
        columns = [column for column in zip(*table, strict=True) if any(column[1:])]
        head, *body = zip(*columns, strict=True)
        lines += ["", f"### {group}", "", _line(head), _line(["---"] * len(head)), *map(_line, body)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def bars(rows: Sequence[PairRow]) -> list[Bar]:
    """Return a bar for the ratio of each row that has a target."""
    return [
        Bar(
            f"{row.group}: {row.work} / {row.reference}",
            0 if row.met else 1,
            row.result.median,
            digits(row.result.median),
            row.result.least,
            row.result.most,
            wanted=row.wanted,
        )
        for row in rows
        if row.kind == "ratio" and row.wanted is not None
    ]
