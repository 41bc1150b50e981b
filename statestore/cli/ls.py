"""``statestore ls``: the stores of a data directory."""

from __future__ import annotations

import json
from pathlib import Path

import click

from statestore.cli.table import print_table
from statestore.storage.listing import stored

COLUMNS = (
    "logical",
    "entity",
    "window",
    "topic",
    "physical",
    "backend",
    "generation",
    "retention",
    "size",
    "orphan",
    "path",
)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def ls(directory: Path, as_json: bool) -> None:
    """List the stores of a data directory; its owner may be running.

    Retention is in seconds, size in bytes. A "-" stands for what there is not, or what no file tells. "True"
    under orphan is the store of a window that the class did not declare any more when it was bound last. What
    else is an orphan depends on what a program binds: StoreManager.describe() tells it.
    """
    entries = stored(directory)
    if as_json:
        print(json.dumps(entries, indent=2))
    else:
        print_table(COLUMNS, [[_shown(entry[name]) for name in COLUMNS] for entry in entries])


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value or "-")
