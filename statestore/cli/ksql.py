"""``statestore ksql``: a program's statements for ksqlDB, and plans of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from statestore.cli.ksql_plans import collected, planned
from statestore.cli.ksql_server import apply, diff, retire, status
from statestore.cli.table import print_table
from statestore.deploy.plan import Plan
from statestore.errors import ConfigError

targets_argument = click.argument("modules", nargs=-1, required=True, metavar="PACKAGE.MODULE[:NAME]...")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
settings_option = click.option("--settings", "file", metavar="FILE", help="A TOML or JSON file.")


@click.group(no_args_is_help=False)
def ksql() -> None:
    """Print a program's statements for ksqlDB, plan them, and deploy the plan.

    The server's address comes from [ksql] of the settings file or from the environment
    (STATESTORE_KSQL__URL=http://localhost:8088), and Kafka's, for the history, from [kafka]. Exit status: 0
    done, 1 an error or a fault found, 2 a wrong command line.
    """


@ksql.command("print")
@targets_argument
@json_option
def print_statements(modules: Sequence[str], as_json: bool) -> None:
    """Print the statements of the entities and queries that modules declare.

    Those that a statement reads come before it. With :NAME only what that class or query declares is printed.
    """
    found = collected(modules)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    print("\n\n".join(one.text for one in found))


@ksql.group(no_args_is_help=False)
def plan() -> None:
    """Write plans, and check them; no server is asked."""


@plan.command("print")
@targets_argument
@settings_option
@click.option("--application", metavar="NAME", help="Instead of application of [ksql].")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan into this file.")
def print_plan(modules: Sequence[str], file: str | None, application: str | None, out: Path | None) -> None:
    """Print the plan of the entities and queries that modules declare, or write it into a file.

    A file whose statements are the same already stays as it is.
    """
    made = planned(modules, file, application)
    if out is None:
        print(made.to_json(), end="")
    elif not out.exists() or not _is_same(made, out):
        made.save(out)
        print(f"{out}: written, {_count(made)}")
    else:
        print(f"{out}: up to date, {_count(made)}")


@plan.command()
@click.argument("file")
@json_option
def validate(file: str, as_json: bool) -> None:
    """Check a plan file: names, order, duplicates, and whether a statement was altered by hand."""
    read = Plan.load(file)
    if as_json:
        print(json.dumps({"application": read.application, "statements": len(read.statements), "ok": True}))
        return
    columns = ("object", "action", "reads", "topic", "sha256")
    print_table(
        columns,
        [
            (one.name, one.action, ", ".join(one.reads) or "-", one.topic or "-", one.sha256[:12])
            for one in read.statements
        ],
    )
    print(f"{file}: in order, {_count(read)}")


for command in (status, diff, apply, retire):
    ksql.add_command(command)


def _is_same(made: Plan, path: Path) -> bool:
    """Whether a file has the plan already. Raises ``ConfigError`` for one that is no plan's."""
    try:
        return Plan.load(path) == made
    except ConfigError:
        if b'"statements"' in path.read_bytes():  # of another format, or altered by hand
            return False
        raise ConfigError(f"{path} is there, and is not a plan: give --out another name") from None


def _count(of: Plan) -> str:
    number = len(of.statements)
    return f"{number} statement{'' if number == 1 else 's'}"
