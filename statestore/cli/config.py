"""``statestore config``: a commented settings file, and whether one is right."""

from __future__ import annotations

import click

from statestore.cli.table import print_table
from statestore.manager.explain import Explanation
from statestore.manager.resolve import resolve_settings
from statestore.settings import DEFAULT
from statestore.settings.template import template


@click.group(no_args_is_help=False)
def config() -> None:
    """Write a settings file, or check one."""


@config.command("template")
def print_template() -> None:
    """Print a TOML file of every setting, with its meaning."""
    print(template(), end="")


@config.command()
@click.argument("file")
def check(file: str) -> None:
    """Check a settings file (TOML or JSON) and the environment, and print what is not by default."""
    resolver = resolve_settings(file)
    found = Explanation.of(one for one in resolver.explained_settings({}, (), ()) if one.origin != DEFAULT)
    print_table(*found.table())
