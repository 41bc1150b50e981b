"""``statestore ls``: the stores of a data directory."""

from __future__ import annotations

import json
from pathlib import Path

import click

from statestore.cli.table import print_table
from statestore.storage.directory import stored

COLUMNS = ("logical", "topic", "backend", "generation", "size", "path")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def ls(directory: Path, as_json: bool) -> None:
    """List the stores of a data directory; its owner may be running."""
    entries = stored(directory)
    if as_json:
        print(json.dumps(entries, indent=2))
    else:
        print_table(COLUMNS, [[str(entry[name] or "-") for name in COLUMNS] for entry in entries])
