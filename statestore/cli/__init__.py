"""The command line, ``statestore``: a module for each command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from statestore.cli import check, config, ls, schema
from statestore.errors import StateStoreError

DESCRIPTION = "Looks into data directories, and checks entities, settings and schemas."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (0 done, 1 an error told on stderr, 2 wrong usage)."""
    parser = argparse.ArgumentParser(prog="statestore", description=DESCRIPTION)
    commands = parser.add_subparsers(required=True)
    for command in (ls, config, check, schema):
        command.add_to(commands)
    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except StateStoreError as error:
        print(f"statestore: {error}", file=sys.stderr)
        return 1
    return status
