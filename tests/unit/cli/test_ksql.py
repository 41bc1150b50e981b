"""``statestore ksql``: statements, plans, and deploying them to a server that answers as ksqlDB does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from statestore import ksql
from statestore.cli import ksql_server, main
from statestore.deploy import MemoryHistory
from statestore.testing.ksqldb import StandInKsqldb

PROGRAM = """
from dataclasses import dataclass
from typing import Annotated
from statestore import F, Key, Query, agg, entity, ksql

@entity(topic="sales", kind="stream", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True, slots=True)
class Sale:
    shop: Annotated[str, Key]
    amount: int

@entity(topic="sums", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True, slots=True)
class Sum:
    shop: Annotated[str, Key]
    amount: int

sums = ksql.PersistentQuery(
    Query.of(Sale).where(F.amount > 0).group_by(F.shop).aggregate(amount=agg.sum(F.amount)), into=Sum
)
"""
SECRET = "hunter2-secret"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a program, by its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"program_{uuid.uuid4().hex}"
    Path(f"{name}.py").write_text(PROGRAM)
    return name


@pytest.fixture
def run(program: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``statestore ksql …``; return exit status and what was printed."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["ksql", *arguments])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


@pytest.fixture
def server(program: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInKsqldb]:
    history = MemoryHistory()
    monkeypatch.setattr(ksql_server, "KafkaHistory", lambda *_, **__: nullcontext(history))
    with StandInKsqldb(("user", SECRET)) as started:
        for name, value in (
            ("URL", started.url),
            ("USERNAME", "user"),
            ("PASSWORD", SECRET),
            ("APPLICATION", "shop"),
        ):
            monkeypatch.setenv(f"STATESTORE_KSQL__{name}", value)
        monkeypatch.setenv("STATESTORE_KSQL__RETRY_WAIT", "0")
        started.catalog.learn(ksql.collect([program]))
        yield started


def test_statements_are_printed_in_order_and_for_one_declaration(program: str, run: Run) -> None:
    status, printed = run("print", program)
    assert status == 0
    assert printed == "\n\n".join(one.text for one in ksql.collect([program])) + "\n"
    assert printed.index("CREATE STREAM IF NOT EXISTS SALES") < printed.index(
        "CREATE TABLE IF NOT EXISTS SUMS"
    )
    status, printed = run("print", f"{program}:Sale", "--json")
    assert [one["name"] for one in json.loads(printed)] == ["SALES"]
    status, printed = run("print", f"{program}:Sal")
    assert (status, printed) == (
        1, "statestore: Sal is not declared there for ksqlDB; declared: Sale, Sum, sums\n",
    )  # fmt: skip


def test_what_cannot_be_imported_or_has_nothing_is_told(program: str, run: Run) -> None:
    assert run("print", "no_such_module")[1].startswith(
        "statestore: importing no_such_module raised ModuleNotFoundError"
    )
    Path(f"{program}_broken.py").write_text("raise ValueError('no table of that name')")
    assert run("print", f"{program}_broken") == (
        1, f"statestore: importing {program}_broken raised ValueError: no table of that name\n",
    )  # fmt: skip
    Path(f"{program}_empty.py").write_text("")
    assert "nothing is declared there for ksqlDB" in run("print", f"{program}_empty")[1]


def test_a_plan_is_written_once_and_validated(program: str, run: Run) -> None:
    arguments = ("plan", "print", program, "--application", "shop")
    assert json.loads(run(*arguments)[1])["application"] == "shop"
    assert run(*arguments, "--out", "p.json") == (0, "p.json: written, 2 statements\n")
    before = Path("p.json").read_text()
    assert run(*arguments, "--out", "p.json") == (0, "p.json: up to date, 2 statements\n")
    assert Path("p.json").read_text() == before
    status, printed = run("plan", "validate", "p.json")
    assert status == 0
    assert printed.splitlines()[1].split()[:3] == ["SALES", "create", "stream"]
    assert json.loads(run("plan", "validate", "p.json", "--json")[1])["ok"]
    Path("p.json").write_text(before.replace("AMOUNT > 0", "AMOUNT > 1"))
    status, printed = run("plan", "validate", "p.json")
    assert status == 1
    assert "it was altered after the plan was made" in printed
    assert run(*arguments, "--out", "p.json") == (0, "p.json: written, 2 statements\n")
    other = f"{program}.py"
    assert run(*arguments, "--out", other) == (
        1,
        f"statestore: {other} is there, and is not a plan: give --out another name\n",
    )


def test_a_plan_needs_an_application(program: str, run: Run) -> None:
    status, printed = run("plan", "print", program)
    assert status == 1
    assert "name it with --application, or as application of [ksql]" in printed


def test_a_deployment_from_the_first_look_to_the_last_version(
    program: str, run: Run, server: StandInKsqldb
) -> None:
    assert run("status", program)[0] == 1
    status, printed = run("apply", program)
    assert status == 0
    assert printed.endswith("dry run: nothing was sent; --yes does it\n")
    assert not server.catalog.executed

    status, printed = run("apply", program, "--yes")
    assert status == 0
    assert [line.split()[:2] for line in printed.splitlines()[1:3]] == [
        ["created", "SALES"],
        ["created", "SUMS"],
    ]
    status, printed = run("apply", program, "--yes")
    assert [line.split()[:2] for line in printed.splitlines()[1:3]] == [
        ["skipped", "SALES"],
        ["skipped", "SUMS"],
    ]
    assert run("status", program)[0] == 0
    assert run("diff", program) == (0, "")
    assert SECRET not in printed

    changed = f"{program}_changed"
    Path(f"{changed}.py").write_text(PROGRAM.replace("F.amount > 0", "F.amount > 5"))
    status, printed = run("diff", changed)
    assert status == 1
    assert "+WHERE AMOUNT > 5" in printed.replace("(", "").replace(")", "")
    status, printed = run("apply", changed, "--yes", "--json")
    report = json.loads(printed)
    assert [one["object"] for one in report["steps"]] == ["SALES", "SUMS_V2"]
    assert report["metrics"]["applied"] == report["metrics"]["skipped"] == 1
    assert "retire SUMS" in report["remaining"][0]

    status, printed = run("retire", "SUMS", "--yes")
    assert status == 1
    assert "allow it with allow_destructive=True, --allow-destructive on the command line" in printed
    assert run("retire", "SUMS", "--yes", "--allow-destructive")[0] == 0
    assert sorted(server.catalog.sources) == ["SALES", "SUMS_V2"]


def test_settings_reach_the_server_and_the_history(
    program: str, run: Run, server: StandInKsqldb, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, object]] = []

    def opened(kafka: object, **arguments: object) -> nullcontext[MemoryHistory]:
        given.append({"kafka": kafka, **arguments})
        return nullcontext(MemoryHistory())

    monkeypatch.setattr(ksql_server, "KafkaHistory", opened)
    Path("s.toml").write_text(
        '[kafka]\n"bootstrap.servers" = "b:1"\n[ksql]\noffset_reset = "latest"\n'
        "[topics._meta_migrations]\nreplication = 3\n[defaults]\nrequest_timeout = 7\n"
    )
    assert run("apply", program, "--yes", "--settings", "s.toml")[0] == 0
    assert given == [{"kafka": {"bootstrap.servers": "b:1"}, "replication": 3, "request_timeout": 7.0}]
    sent = [one["streamsProperties"] for one in server.bodies if "CREATE" in one["ksql"]]
    assert sent == [{"ksql.streams.auto.offset.reset": "latest"}] * 2


def test_a_failure_prints_what_was_done_and_ends_with_1(
    program: str, run: Run, server: StandInKsqldb
) -> None:
    server.refused = {"TABLE IF NOT EXISTS SUMS": "no such function"}
    status, printed = run("apply", program, "--yes")
    assert status == 1
    assert [line.split()[:2] for line in printed.splitlines()[1:3]] == [
        ["created", "SALES"],
        ["failed", "SUMS"],
    ]
    assert "statestore: SUMS: ksqlDB at" in printed
    assert SECRET not in printed


def test_a_server_must_be_set(program: str, run: Run) -> None:
    status, printed = run("apply", program, "--application", "shop")
    assert status == 1
    assert "give url of [ksql] in the settings file, or STATESTORE_KSQL__URL" in printed


def test_the_example_and_its_plan_file_agree(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    examples = Path(__file__).parents[3] / "examples"
    written = str(examples / "minute_bars.plan.json")
    before = Path(written).read_text()
    status, printed = run("plan", "print", "minute_bars", "--application", "trading", "--out", written)
    assert (status, printed) == (0, f"{written}: up to date, 2 statements\n")
    assert Path(written).read_text() == before


@pytest.mark.parametrize("name", ["", ":Order", ".shop"])
def test_what_is_no_module_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ksql", "print", name]) == 1
    assert "is no name of a module: give PACKAGE.MODULE" in capsys.readouterr().err
