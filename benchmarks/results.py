"""The results of a run, as JSON, Markdown and a plot.

A run of some groups keeps the earlier rows of the others. So a full result can be put together from runs with
different sizes.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

import confluent_kafka
from harness import Result

from statestore.core import FAST_PATHS, IMPLEMENTATION, uses
from statestore.testing.kafka import EXTERNAL_VARIABLE
from statestore.testing.maven import KAFKA_VERSION

HEADER = ["work", "reference", "ours", "reference's", "least - most", "wanted", "result", "measured with"]
PACKAGES = ("statestore", "confluent-kafka", "rocksdict", "lmdb", "msgspec", "msgpack", "sortedcontainers")


class Results:
    """The rows of one run, and those of earlier runs in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: list[Result] = []

    def add(self, row: Result) -> None:
        self._rows.append(row)

    def rounds_file(self) -> Path:
        """Return the file in which pytest-benchmark keeps the rounds of the last run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / "rounds.json"

    def write(self) -> list[Path]:
        """Write everything and return the paths. Without rows, write nothing."""
        if not self._rows:
            return []
        rows = merged(self._earlier(), self._rows)
        paths = [self.folder / name for name in ("results.json", "results.md", "ratios.svg")]
        here = machine()
        told = {"machine": here, "rows": [row.as_json() for row in rows]}
        paths[0].write_text(json.dumps(told, indent=1) + "\n")
        paths[1].write_text(as_markdown(here, rows))
        plot(rows, paths[2])
        return paths

    def _earlier(self) -> list[Result]:
        return load(self.folder)[1] if (self.folder / "results.json").exists() else []


def load(folder: Path) -> tuple[dict[str, str], list[Result]]:
    """Return the machine and the rows of the results in ``folder``."""
    told = json.loads((folder / "results.json").read_text())
    names = {field.name for field in fields(Result)}
    rows = [Result(**{name: value for name, value in row.items() if name in names}) for row in told["rows"]]
    return told["machine"], rows


def merged(earlier: Sequence[Result], rows: Sequence[Result]) -> list[Result]:
    """Return ``rows``, and those of ``earlier`` that were not measured again, group by group."""
    new = {(row.group, row.work, row.reference) for row in rows}
    kept = [row for row in earlier if (row.group, row.work, row.reference) not in new]
    return sorted([*kept, *rows], key=lambda row: row.group)  # stable: in a group, the order of measuring


def machine() -> dict[str, str]:
    """Describe the machine, without its name and without a date."""
    off = [path for path in FAST_PATHS if not uses(path)]
    return {
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "core": IMPLEMENTATION + (f", without {', '.join(off)}" if off else ""),
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
        "librdkafka": str(confluent_kafka.libversion()[0]),
        "broker": _broker(),
    }


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _broker() -> str:
    if os.environ.get(EXTERNAL_VARIABLE):
        return f"that of {EXTERNAL_VARIABLE}; its version and its machine are not known here"
    return f"Apache Kafka {KAFKA_VERSION}, on the same machine"


def as_markdown(told: dict[str, str], rows: Sequence[Result]) -> str:
    """Return the machine, and a table for each group, without columns that are empty."""
    lines = [f"- {name}: {what}" for name, what in told.items()]
    for group, found in groupby(rows, key=lambda row: row.group):
        table = [HEADER]
        for row in found:
            cells = [*(cell.replace("|", "\\|") for cell in row.cells()), row.sizes]
            if row.met is not None:
                cells[-2] = f"**{cells[-2]}**" if row.met else f"{cells[-2]} (missed)"
            table.append(cells)
        columns = [column for column in zip(*table, strict=True) if any(column[1:])]
        head, *body = zip(*columns, strict=True)
        lines += ["", f"### {group}", "", _line(head), _line(["---"] * len(head)), *map(_line, body)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plot(rows: Sequence[Result], path: Path) -> None:
    """Draw the ratio of each row that has a target, beside its target."""
    # Imported here: it takes longer than some groups.
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.kind == "ratio" and row.wanted is not None]
    rcParams["svg.hashsalt"] = "statestore"  # the same picture for the same rows
    rcParams["svg.fonttype"] = "none"  # text stays text: a tenth of the size
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes: Any = figure.subplots()
    places = range(len(shown))
    medians = [row.median for row in shown]
    spread = [[row.median - row.least for row in shown], [row.most - row.median for row in shown]]
    colours = ["#2a9d8f" if row.met else "#e76f51" for row in shown]
    axes.barh(places, medians, xerr=spread, color=colours, height=0.6, error_kw={"elinewidth": 0.8})
    axes.scatter(
        [row.wanted for row in shown], places, marker="|", s=160, color="black", label="wanted", zorder=3
    )
    axes.set_yticks(places, [f"{row.group}: {row.work}\n{row.reference}" for row in shown], fontsize=6)
    axes.invert_yaxis()
    if shown:
        axes.set_xscale("log")
        axes.legend(loc="lower right")
    axes.set_xlabel("times the reference (median of pairs, least to most)")
    figure.savefig(path, format="svg", metadata={"Date": None})
