"""``statestore bench``: storage backends measured on this machine, and two runs compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from statestore.cli.ending import ended_as_by_ctrl_c
from statestore.cli.table import print_table
from statestore.errors import ConfigError

if TYPE_CHECKING:
    from statestore.bench.comparing import Comparison
    from statestore.bench.results import Left, Results, Sample
    from statestore.bench.summary import Row


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Return whole numbers with commas between; ``1e6`` is one of them."""
    try:
        numbers = tuple(int(one) if one.strip().isdecimal() else _whole(one) for one in text.split(","))
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r}: whole numbers with commas between, such as 1e4,1e6", param_hint=option
        ) from None
    return tuple(dict.fromkeys(numbers))


def _whole(text: str) -> int:
    number = float(text)
    if number != int(number):
        raise ValueError(text)
    return int(number)


@click.group(invoke_without_command=True)
@click.option("--backends", default="", help="Names with commas between; default: all that are installed.")
@click.option(
    "--references",
    default="all",
    show_default=True,
    help="What to measure beside them: all that are installed, none, or names.",
)
@click.option(
    "--workload",
    default="ycsb",
    show_default=True,
    help="Workloads or groups of them, with commas between; --workloads lists them.",
)
@click.option("--workloads", "list_only", is_flag=True, help="List the workloads, and measure nothing.")
@click.option("--keys", default="1e5", show_default=True, help="Records of the store.")
@click.option(
    "--grow", default=None, help="Several numbers of records, such as 1e4,1e5,1e6, instead of --keys."
)
@click.option("--key-size", default=16, show_default=True, help="Bytes of a key.")
@click.option(
    "--value-size",
    default="100",
    show_default=True,
    help="Bytes of a value, a range such as 100..2000, or a file whose lines are the values.",
)
@click.option("--threads", default="1", show_default=True, help="Numbers of threads, such as 1,4.")
@click.option("--seconds", default=2.0, show_default=True, help="How long each workload runs in each round.")
@click.option(
    "--rounds", default=2, show_default=True, help="How often; every second time in the opposite order."
)
@click.option(
    "--rate", type=float, default=None, help="Operations a second that are due; default: as many as go."
)
@click.option("--durable", is_flag=True, help="Each write waits for the disk.")
@click.option(
    "--kafka",
    default=None,
    metavar="HOST:PORT",
    help="A broker for the workloads that read a topic. The bench makes topics named statestore-bench-…, "
    "fills each once, and deletes them at the end, also when it is interrupted. Default: a broker in this "
    "process, which keeps some 20 MB of a topic.",
)
@click.option("--seed", default=1, show_default=True, help="Of all that is drawn by chance.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("bench"),
    show_default=True,
    help="Where the results are written. The stores are there, too, while they are measured.",
)
@click.pass_context
def bench(
    context: click.Context,
    backends: str,
    references: str,
    workload: str,
    list_only: bool,
    keys: str,
    grow: str | None,
    key_size: int,
    value_size: str,
    threads: str,
    seconds: float,
    rounds: int,
    rate: float | None,
    durable: bool,
    kafka: str | None,
    seed: int,
    out: Path,
) -> int:
    """Measure storage backends on this machine, beside the plain bindings.

    Writes results.json and report.html where --out says, and prints a table for each workload. Exit status:
    0 all that can be was measured, 1 something failed, or nothing could be.
    """
    if context.invoked_subcommand is not None:
        return 0
    from statestore.bench.options import BenchOptions
    from statestore.bench.report import report
    from statestore.bench.results import write_results
    from statestore.bench.running import run
    from statestore.bench.workloads import GROUPS, WORKLOADS

    if list_only:
        print_table(("workload", "does"), [(one.name, one.says) for one in WORKLOADS.values()])
        print_table(("group", "is"), [(name, ", ".join(names)) for name, names in GROUPS.items()])
        return 0
    options = BenchOptions(
        backends=backends,
        references=references,
        workload=workload,
        keys=_numbers("--keys", keys) if grow is None else _numbers("--grow", grow),
        key_size=key_size,
        value_size=value_size,
        threads=_numbers("--threads", threads),
        seconds=seconds,
        rounds=rounds,
        rate=rate,
        durable=durable,
        kafka=kafka,
        seed=seed,
    )
    try:
        with Shown() as shown, ended_as_by_ctrl_c():
            results = run(options, out, shown)
        write_results(results, out / "results.json")
        (out / "report.html").write_text(report(results), encoding="utf-8")
    except OSError as error:
        remedy = "free some, or give another directory (--out)"
        raise ConfigError(f"{out}: {error.strerror or error}; {remedy}") from error
    show(results)
    print(f"\nWritten: {out / 'results.json'}, {out / 'report.html'}")
    measured = any(turn.samples for turn in results.turns)
    return 0 if measured and not any(one.failed for one in results.left) else 1


@bench.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--noise",
    default=5.0,
    show_default=True,
    help="Percent of the speed below which a difference counts as none, whatever the spread.",
)
def compare(before: Path, after: Path, noise: float) -> int:
    """Compare two results.json, both of statestore bench or both of make bench: what changed, by how much.

    A difference counts where it is more than the rounds of either run differ. Exit status: 0 nothing is
    slower, 1 something is.
    """
    from statestore.bench.comparing import compare as compared
    from statestore.bench.pairs import read_either

    if not 0 <= noise <= 1000:
        raise click.BadParameter(f"{noise:g}: percent, from 0 to 1000", param_hint="--noise")
    comparison = compared(read_either(before), read_either(after), noise / 100)
    show_comparison(comparison)
    return 1 if comparison.slower else 0


@bench.command()
@click.argument("results", type=click.Path(path_type=Path))
def table(results: Path) -> None:
    """Print a results.json as one table in Markdown: a line for each workload, a column for each candidate.

    Figures are thousands a second. Those that differ from the best of their line less than the rounds do are
    bold.
    """
    from statestore.bench.results import read_results
    from statestore.bench.summary import markdown

    print("\n".join(markdown(read_results(results))))


class Shown:
    """Progress on the terminal, on the standard error; a ``statestore.bench.running.Progress``."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None
        self._turn = ""

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, workloads: int) -> None:
        self._task = self._progress.add_task("measuring", total=workloads)

    def turn(self, candidate: str, keys: int, round_: int) -> None:
        self._turn = f"round {round_ + 1}, {keys:,} keys: {candidate}"
        self._describe("filling")

    def topic(self, name: str) -> None:
        self._turn = f"topic of {name}"
        self._describe("filling")

    def workload(self, name: str | None) -> None:
        self._describe(name or "tidying up")

    def sample(self, sample: Sample) -> None:  # noqa: ARG002 - its throughput is shown at the end
        if self._task is not None:
            self._progress.advance(self._task)

    def left(self, left: Left) -> None:
        if left.failed:
            self._console.print(f"{left.candidate}, {left.workload or 'at all'}: {left.why}", markup=False)

    def _describe(self, what: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=f"{self._turn}, {what}")


def show(results: Results) -> None:
    """Print a table for each workload, what differs beyond the spread, and what was not measured."""
    from statestore.bench.summary import by_work, figure, sentence

    for work, rows in by_work(results).items():
        threads = f", {work.threads} threads" if work.threads > 1 else ""
        print(f"\n{work.workload}, {work.keys:,} keys{threads}: {results.workloads[work.workload]}")
        rate = f"{rows[0].unit}/s"
        print_table(("", rate, *_COLUMNS), [_cells(row) for row in rows])
        print(sentence(rows))
    for left in results.left:
        what = left.workload or "any workload"
        print(f"{'Failed' if left.failed else 'Left out'}: {left.candidate}, {what}: {left.why}")
    overheads = [turn.overhead for turn in results.turns if turn.overhead is not None]
    if overheads:
        print(f"Measuring itself takes about {figure(min(overheads))} µs of each operation.")


_COLUMNS = ("spread", "p50 µs", "p99 µs", "p99.9 µs", "longest µs", "CPU µs", "memory", "write amp.")


def _cells(row: Row) -> list[str]:
    from statestore.bench.summary import figure, size

    return [
        row.candidate,
        figure(row.throughput.median) + (" (too much)" if row.late else ""),
        f"{row.throughput.spread:.2f}",
        figure(row.p50),
        figure(row.p99),
        figure(row.p999),
        figure(row.longest),
        figure(row.cpu),
        size(row.memory),
        "-" if row.amplification is None else figure(row.amplification),
    ]


def show_comparison(comparison: Comparison) -> None:
    """Print what changed, and why the two runs may not be comparable."""
    with_p99 = any(one.before.p99 for one in comparison.changes)
    columns = [
        *comparison.titles,
        "before",
        "after",
        "factor",
        "noise",
        *(["p99 µs"] if with_p99 else []),
        "is",
    ]
    print_table(
        columns,
        [
            [
                *one.names,
                one.before.shown,
                one.after.shown,
                f"{one.factor:.2f}",
                f"{100 * one.noise:.0f} %",
                *([f"{one.before.p99} → {one.after.p99}"] if with_p99 else []),
                one.verdict,
            ]
            for one in comparison.changes
        ],
    )
    for text in comparison.alone:
        print(f"Only {text}")
    for doubt in comparison.doubts:
        print(f"Not the same: {doubt}", file=sys.stderr)
    slower, faster = len(comparison.slower), sum(one.verdict == "faster" for one in comparison.changes)
    print(f"{slower} slower, {faster} faster, {len(comparison.changes) - slower - faster} equal.")
