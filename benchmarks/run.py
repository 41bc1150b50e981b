"""``make bench``: the rows of the design's table, as ratios to a reference that ran in turns with them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from statestore.core import IMPLEMENTATION
from statestore.testing.kafka import BrokerUnavailableError

sys.path.insert(0, str(Path(__file__).parent))  # run with -P, Python does not look beside the script

import bytes_rows
import entity_rows
import restore_rows
from harness import Fresh, Row, compare

SCRATCH = Path(__file__).parent.parent / ".benchmarks"
"""On the disk of the checkout: the temporary directory may be memory."""
GROUPS: dict[str, Callable[[ExitStack, Fresh, int], Iterator[Row]]] = {
    "rocksdb": lambda stack, fresh, _: bytes_rows.rocksdb_rows(stack, fresh),
    "lmdb": lambda stack, fresh, _: bytes_rows.lmdb_rows(stack, fresh),
    "entities": lambda stack, fresh, _: entity_rows.rows(stack, fresh),
    "restore": restore_rows.rows,
}
LINE = "{:<36} {:<28} {:>7} {:>15} {:>8}  {}"

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of rows: {', '.join(GROUPS)} (default all)"
    )
    parser.add_argument("--pairs", type=int, default=5, help="of runs per row (default 5)")
    parser.add_argument("--records", type=int, default=200_000, help="to restore (default 200,000)")
    arguments = parser.parse_args()
    if arguments.pairs < 1 or arguments.records < 4:
        parser.error("--pairs must be at least 1, --records at least 4")
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no group is named {', '.join(sorted(unknown))}")
    console.print(
        f"{arguments.pairs} pairs each, core: {IMPLEMENTATION}; above 1 is faster than the reference\n"
    )
    console.print(
        LINE.format("work", "reference", "ratio", "least - most", "wanted", "the work"), style="bold"
    )
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        fresh = Fresh(Path(scratch))
        for group in arguments.groups or GROUPS:
            with ExitStack() as stack:
                try:
                    for row in GROUPS[group](stack, fresh, arguments.records):
                        show(row, arguments.pairs)
                except BrokerUnavailableError as error:
                    console.print(f"{group}: not measured, there is no broker: {error}", style="yellow")


def show(row: Row, pairs: int) -> None:
    ratio = compare(row, pairs)
    console.print(
        LINE.format(
            row.work,
            row.reference,
            f"{ratio.median:.2f}",
            f"{ratio.least:.2f} - {ratio.most:.2f}",
            f">= {row.wanted:g}",
            f"{row.items / ratio.seconds / 1000:,.0f} k {row.unit}/s",
        )
    )


if __name__ == "__main__":
    main()
