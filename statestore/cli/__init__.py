"""The command line, ``statestore``: a module for each command."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import click

from statestore.cli.bench import bench
from statestore.cli.check import check
from statestore.cli.config import config
from statestore.cli.ksql import ksql
from statestore.cli.ls import ls
from statestore.cli.prove import prove
from statestore.cli.schema import schema
from statestore.errors import StateStoreError


@click.group(
    name="statestore", no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
def program() -> None:
    """Looks into data directories, checks entities and settings, deploys to ksqlDB, measures and proves
    backends.

    Exit status: 0 done, 1 an error or a fault found, 2 a wrong command line. For completion, have your shell
    evaluate what _STATESTORE_COMPLETE=bash_source statestore (or zsh_source, fish_source) prints.
    """


for command in (ls, config, check, schema, ksql, bench, prove):
    program.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    logging.basicConfig(format="statestore: %(message)s")  # warnings, to the standard error
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")  # a terminal may know ASCII only
    try:
        status: int | None = program.main(arguments, "statestore", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return error.exit_code
    except StateStoreError as error:
        print(f"statestore: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as head, has what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at its end
        return 1
    except click.Abort:  # Ctrl-C
        print("statestore: interrupted", file=sys.stderr)
        return 1
    return status or 0
