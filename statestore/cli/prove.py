"""``statestore prove``: whether a storage backend keeps the contract, shown by the conformance suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from statestore.cli.ending import ended_as_by_ctrl_c
from statestore.cli.modules import find_here
from statestore.errors import ConfigError

if TYPE_CHECKING:
    from statestore.testing.proof.running import Case, Proof


@click.command()
@click.argument("backend")
@click.option(
    "--kills",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How often a process that writes is killed, in each pair of crash tests.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="How many sequences of calls are tried; the first ones are the same in every run.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="Only the tests whose name has NAME in it, or those of a group, such as loading/; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Write report.json and report.md there.",
)
def prove(backend: str, kills: int, examples: int, only: tuple[str, ...], out: Path | None) -> int:
    """Prove a storage backend with the conformance suite.

    BACKEND is a registered name, or MODULE:CLASS of an engine that is not registered yet, also from here.
    Takes a minute or a few. Files are temporary, and where TMPDIR says. Exit status: 0 all that was tested is
    proven, 1 something failed or was interrupted, 2 a wrong command line.
    """
    try:
        from statestore.testing.proof import running as suite
    except ImportError as error:  # which names the extra
        raise ConfigError(str(error)) from error

    find_here()
    try:
        path, engine = suite.resolve(backend)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="BACKEND") from error
    with Shown() as shown, ended_as_by_ctrl_c():
        try:
            options = suite.ProofOptions(kills, examples, only)
            proof = suite.prove(backend, path, engine, options, shown)
        except suite.SuiteError as error:
            raise ConfigError(f"the suite did not run: {error}") from error
    if not proof.cases and not proof.interrupted:
        raise click.BadParameter(_nothing(only), param_hint="--only")
    show(proof)
    if out is not None:
        from statestore.testing.proof.report import write_reports

        print(f"Written: {', '.join(map(str, write_reports(proof, out)))}")
    return 0 if proof.verdict == "proven" else 1


def _nothing(only: tuple[str, ...]) -> str:
    from statestore.testing.proof.child import GROUPS

    groups = ", ".join(f"{name}/" for name, _ in GROUPS.values())
    return f"no test has {' or '.join(map(repr, only))} in its name; groups: {groups}"


class Shown:
    """Progress on the terminal, on the standard error; a ``statestore.testing.proof.running.Progress``."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def collected(self, cases: int) -> None:
        self._task = self._progress.add_task("", total=cases)

    def began(self, case: Case) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=f"{case.group}: {case.promise}")

    def ended(self, case: Case) -> None:
        if self._task is not None:
            self._progress.advance(self._task)
        if case.outcome == "failed":
            self._console.print(
                f"Failed: {case.promise} ({case.name})", markup=False, highlight=False, soft_wrap=True
            )


def show(proof: Proof) -> None:
    """Print every promise by group, what does not apply, the failures, and the verdict."""
    from statestore.testing.proof.report import again, failures, groups, not_applicable, verdict

    for name, title, promises in groups(proof):
        print(f"\n{title} ({name}/), {sum(one.seconds for one in promises):.1f} s")
        for one in promises:
            variants = f", {one.variants} variants" if one.variants > 1 else ""
            done = f", {one.done}" if one.done else ""
            print(f"  {one.outcome:<14}  {one.says}{variants}{done}")
    reasons = not_applicable(proof)
    if reasons:
        print("\nNot applicable")
        for what, why in reasons:
            print(f"  {what}: {why}.")
    for case, others in failures(proof):
        print(f"\nFailed: {case.promise} ({case.name})")
        print("\n".join(f"  {line}" for line in case.message.splitlines()))
        if others:
            print(f"  So did {', '.join(other.name for other in others)}")
        print(f"  Again: {again(proof, case)}")
    print(f"\n{verdict(proof)}")
