"""What ``statestore ksql`` asks of a server: ``status``, ``diff``, ``apply`` and ``retire``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from statestore.cli.ksql_plans import planned
from statestore.cli.table import print_table
from statestore.deploy import Deployer, KafkaHistory, KsqlClient, Plan, Report
from statestore.deploy.history import TOPIC
from statestore.errors import ConfigError, DeployError
from statestore.settings import Settings, layer_settings, set_log_levels

Command = Callable[..., Any]


def plan_arguments(command: Command) -> Command:
    """Give a command the arguments for a plan, a server and how to print."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON instead of a table."),
        click.option("--application", metavar="NAME", help="Of modules, instead of application of [ksql]."),
        click.option("--settings", "file", metavar="FILE", help="A TOML or JSON file."),
        click.argument("plan", nargs=-1, required=True, metavar="PLAN.json|PACKAGE.MODULE..."),
    ):
        command = option(command)
    return command


@click.command()
@plan_arguments
def status(plan: Sequence[str], file: str | None, application: str | None, as_json: bool) -> int:
    """Print what the history and the server say of each object of a plan.

    Exit status: 0 if all are current, 1 if not.
    """
    with opened(file) as (deployer, _):
        found = deployer.status(_plan(plan, file, application))
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
    else:
        columns = ("object", "state", "version", "applied", "user", "detail")
        rows = [
            (one.object, one.state, str(one.version), one.applied or "-", one.user or "-", one.detail or "-")
            for one in found
        ]
        print_table(columns, rows)
    return 0 if all(one.state in ("current", "superseded") for one in found) else 1


@click.command()
@plan_arguments
def diff(plan: Sequence[str], file: str | None, application: str | None, as_json: bool) -> int:
    """Print how a plan's statements differ from those that were applied.

    Exit status: 0 if none differs, 1 if one does.
    """
    with opened(file) as (deployer, _):
        found = deployer.diff(_plan(plan, file, application))
    print(json.dumps({"diff": found}, ensure_ascii=False) if as_json else found, end="\n" if as_json else "")
    return 1 if found else 0


@click.command()
@plan_arguments
@click.option("--yes", is_flag=True, help="Apply; without it nothing is sent.")
@click.option("--allow-destructive", is_flag=True, help="Let CREATE OR REPLACE change what runs.")
def apply(
    plan: Sequence[str],
    file: str | None,
    application: str | None,
    as_json: bool,
    yes: bool,
    allow_destructive: bool,
) -> None:
    """Have the server carry out what it has not carried out of a plan yet.

    Without --yes this is a dry run, which only says what would be sent. What was applied is skipped; after a
    failure the next apply goes on where this one stood.
    """
    with opened(file) as (deployer, _):
        made = _plan(plan, file, application)
        try:
            report = deployer.apply(made, dry_run=not yes, allow_destructive=allow_destructive)
        except DeployError as error:
            _print_report(error.report, deployer, as_json)
            raise
        _print_report(report, deployer, as_json)


@click.command()
@click.argument("name")
@click.option("--settings", "file", metavar="FILE", help="A TOML or JSON file.")
@click.option("--application", metavar="NAME", help="Instead of application of [ksql].")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--yes", is_flag=True, help="Retire; without it nothing is sent.")
@click.option("--allow-destructive", is_flag=True, help="Needed, since a stream or table is dropped.")
def retire(
    name: str, file: str | None, application: str | None, as_json: bool, yes: bool, allow_destructive: bool
) -> None:
    """Drop a stream or table that was deployed, such as an old version, and end the queries that write it.

    Refused while something reads it. Its topic stays. Without --yes this is a dry run.
    """
    with opened(file) as (deployer, settings):
        owner = application or settings.ksql.application
        if owner is None:
            raise ConfigError("whose? name the application with --application, or as application of [ksql]")
        report = deployer.retire(owner, name, dry_run=not yes, allow_destructive=allow_destructive)
        _print_report(report, deployer, as_json)


@contextmanager
def opened(file: str | None) -> Iterator[tuple[Deployer, Settings]]:
    """Give a deployer of the server and the history that the settings name."""
    settings = layer_settings(file, os.environ).settings
    set_log_levels(settings.logging)
    topic = settings.topics.get(TOPIC)
    replication = -1 if topic is None or topic.replication is None else topic.replication
    timeout = settings.defaults.request_timeout
    with (
        KsqlClient.of(settings.ksql) as client,
        KafkaHistory(settings.kafka, replication=replication, request_timeout=timeout) as history,
    ):
        reset = {"ksql.streams.auto.offset.reset": settings.ksql.offset_reset}
        yield Deployer(client, history, properties=reset), settings


def _plan(targets: Sequence[str], file: str | None, application: str | None) -> Plan:
    """Return the plan of a file, or of what modules declare."""
    if len(targets) == 1 and targets[0].endswith(".json"):
        if application is not None:
            raise click.UsageError("--application is of modules: a plan file has its own")
        return Plan.load(targets[0])
    return planned(targets, file, application)


def _print_report(report: Report, deployer: Deployer, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps({**report.to_dict(), "metrics": dict(deployer.metrics)}, indent=2, ensure_ascii=False)
        )
        return
    columns = ("outcome", "object", "action", "seconds", "message")
    print_table(
        columns,
        [
            (one.outcome, one.object, one.action, f"{one.seconds:.3f}", one.message or "-")
            for one in report.steps
        ],
    )
    for remaining in report.remaining:
        print(f"remaining: {remaining}")
    counts = ", ".join(f"{number} {outcome}" for outcome, number in report.counts.items())
    print(f"{report.application}: {counts or 'nothing to do'}")
    if report.dry_run:
        print("dry run: nothing was sent; --yes does it")
