"""``statestore``: looks into data directories, beside the process that owns them. It writes nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from statestore.directory import stored
from statestore.errors import StateStoreError

COLUMNS = ("logical", "topic", "backend", "generation", "size", "path")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (0 done, 1 an error told on stderr, 2 wrong usage)."""
    parser = argparse.ArgumentParser(prog="statestore", description=__doc__)
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("ls", help="list the stores of a data directory; its owner may be running")
    listing.add_argument("directory", type=Path)
    listing.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    chosen = parser.parse_args(arguments)
    try:
        entries = stored(chosen.directory)
    except StateStoreError as error:
        print(f"statestore: {error}", file=sys.stderr)
        return 1
    print(json.dumps(entries, indent=2) if chosen.json else _table(entries))
    return 0


def _table(entries: list[dict[str, Any]]) -> str:
    rows = [COLUMNS, *(tuple(str(entry[name] or "-") for name in COLUMNS) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
