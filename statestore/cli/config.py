"""``statestore config``: a commented settings file, and whether one is right."""

from __future__ import annotations

import argparse
import os

from statestore.manager.explain import Explanation
from statestore.manager.resolve import Chooser
from statestore.settings import layer_settings
from statestore.settings.template import template


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("config", help="write a settings file, or check one")
    actions = parser.add_subparsers(required=True)
    writing = actions.add_parser("template", help="print a TOML file of every setting, with its meaning")
    writing.set_defaults(run=print_template)
    checking = actions.add_parser(
        "check", help="check a settings file and the environment, and print what is not by default"
    )
    checking.add_argument("file", help="a TOML or JSON file")
    checking.set_defaults(run=check)


def print_template(_chosen: argparse.Namespace) -> int:
    """Print the template; return the exit status."""
    print(template(), end="")
    return 0


def check(chosen: argparse.Namespace) -> int:
    """Print the settings of a file that differ from the defaults, or raise with all of its faults."""
    chooser = Chooser(layer_settings(chosen.file, os.environ))
    print(Explanation.of(fact for fact in chooser.facts({}, (), ()) if fact.origin != "default"))
    return 0
