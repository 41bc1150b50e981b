"""``statestore ls``: the stores of a data directory."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from statestore.storage.directory import stored

COLUMNS = ("logical", "topic", "backend", "generation", "size", "path")


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("ls", help="list the stores of a data directory; its owner may be running")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the stores; return the exit status."""
    entries = stored(chosen.directory)
    print(json.dumps(entries, indent=2) if chosen.json else _table(entries))
    return 0


def _table(entries: list[dict[str, Any]]) -> str:
    rows = [COLUMNS, *(tuple(str(entry[name] or "-") for name in COLUMNS) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
