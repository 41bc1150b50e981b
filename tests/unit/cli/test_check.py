"""``statestore check``: faults of entities and settings as CI wants them, without Kafka."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from statestore.cli import main

HEADER = """\
from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from statestore import F, Key, Precision, agg, entity
"""
FINE = """
@entity(topic="orders")
@dataclass(frozen=True)
class Order:
    order_id: Annotated[int, Key]
    amount: Annotated[Decimal, Precision(18, 4)]
"""
numbers = itertools.count()

Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Return what checks a module of this text, shown as ``shop``: exit status and printed lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def check(text: str, *arguments: str, header: str = HEADER) -> tuple[int, list[str]]:
        name = f"checked_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(header + text, encoding="utf-8")
        monkeypatch.setitem(sys.modules, name, None)  # taken away again
        del sys.modules[name]
        status = main(["check", name, *arguments])
        printed, err = capsys.readouterr()
        assert err == ""
        return status, printed.replace(name, "shop").splitlines()

    return check


def test_a_module_without_faults(check: Check) -> None:
    assert check(FINE) == (0, ["1 entity: 0 errors, 0 warnings"])


def test_every_fault_with_its_line(check: Check) -> None:
    text = FINE + dedent(
        """
            @entity(topic="no way")
            @dataclass
            class Odd:
                a: Annotated[float, Key]
                b: Annotated[int, Precision(1, 1)]


            @dataclass(slots=True)
            @entity(topic="late")
            class Late:
                id: Annotated[int, Key]
                x: set[int]


            @entity(source=Order, windows=[1, "60s"])
            @dataclass
            class Bars:
                order_id: Annotated[int, Key]
                high: Annotated[Decimal, agg.max(F.amuont)]


            @entity(topic="orders")
            @dataclass
            class Events:
                text: str
            """
    )
    status, lines = check(text)
    assert status == 1
    assert [re.sub(r"(: \w+: [\w.]+).*", r"\1", line) for line in lines] == [
        "shop.py:15: error: Odd",
        "shop.py:15: error: Odd.a",
        "shop.py:15: error: Odd.b",
        "shop.py:23: error: Late.x",
        "shop.py:29: error: Bars",
        "shop.py:29: error: Bars.high",
        "shop.py:36: error: Events",
        "shop.py:36: warning: Events",
        "5 entities: 7 errors, 1 warning",
    ]


def test_all_classes_judged_strictly_or_not(check: Check) -> None:
    text = "\n@entity({})\n@dataclass\nclass Order:\n    order_id: Annotated[int, Key]\n"
    assert check(text.format(""))[0] == 1
    status, lines = check(text.format(""), "--relaxed")
    assert (status, lines[-1]) == (0, "1 entity: 0 errors, 1 warning")
    assert lines[0].startswith("shop.py:9: warning: Order: no topic: 'order' is taken")
    assert check(text.format("validation='relaxed'"))[0] == 0
    assert check(text.format("validation='relaxed'"), "--strict")[0] == 1


def test_settings_are_checked_with_them(check: Check, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[tables.Order]\nbackend = "lmdb"\n[topics.orders]\npartitions = 3\n')
    assert check(FINE, "--settings", "settings.toml")[0] == 0
    settings.write_text("[tables.Odrer]\n[topics.orders]\n")
    status, lines = check(FINE, "--settings", "settings.toml")
    assert (status, len(lines)) == (1, 2)
    assert lines[0].startswith("settings.toml: error: file settings.toml, line 1: [tables.Odrer]: no entity")
    settings.write_text("[tabels.Order]\n[defaults]\nmemory_budget = 1\n")
    bad = "\n\n@entity()\n@dataclass\nclass Bad:\n    x: int\n"
    status, lines = check(FINE + bad, "--settings", "settings.toml")
    assert status == 1
    assert [line.partition(": ")[0] for line in lines] == [
        "settings.toml",
        "settings.toml",
        "shop.py:16",
        "2 entities",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "\nF.a and F.b\n",
            "shop.py:9: error: importing shop raised TypeError: F.a is not true or false",
        ),
        ("\nraise SystemExit(3)\n", "shop.py:9: error: importing shop raised SystemExit: 3"),
        ("\nx = (\n", "shop: error: importing shop raised "),
        ("\nimport nothing_of_this_name\n", "shop.py:9: error: importing shop raised Module"),
        (
            "\nfrom statestore.fields.windows import window\nwindow(0)\n",
            "shop.py:10: error: window 0: the size",
        ),
        ("", "shop: error: no entity is declared there"),
    ],
)
def test_modules_that_do_not_get_so_far(check: Check, text: str, line: str) -> None:
    status, lines = check(text)
    assert status == 1
    assert lines[0].startswith(line)


def test_it_needs_no_kafka_and_no_registry(check: Check) -> None:
    avro = FINE.replace('topic="orders"', 'topic="orders", key_format="avro", value_format="avro"')
    assert check(avro) == (0, ["1 entity: 0 errors, 0 warnings"])


@pytest.mark.slow
def test_as_a_program(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "orders.py").write_text(HEADER + FINE.replace("18, 4", "4, 18"), encoding="utf-8")
    (package / "app.py").write_text("from shop.orders import Order\n", encoding="utf-8")
    program = [sys.executable, "-c", "import sys; from statestore.cli import main; sys.exit(main())", "check"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*program, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("shop.app")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("shop/orders.py:9: error: Order.amount: Precision(digits=4, scale=18): ")
    done = run("shop.nothing")
    assert done.returncode == 1
    assert "No module named 'shop.nothing'" in done.stdout
    assert run().returncode == 2


KSQL = """
from statestore import Query, ksql

@entity(topic="orders", kind="stream", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Order:
    number: Annotated[int, Key]
    customer: str

@entity(topic="counts", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Count:
    customer: Annotated[str, Key]
    orders: int

counts = ksql.PersistentQuery(
    Query.of(Order).group_by(F.customer).aggregate(orders=agg.count()), into=Count
)
"""


def test_queries_for_ksqldb_are_translated(check: Check) -> None:
    assert check(KSQL) == (0, ["2 entities, 1 query: 0 errors, 0 warnings"])
    status, lines = check(KSQL + "\nfirst = ksql.PersistentQuery(Query.of(Order).take(3), into='FIRST')\n")
    assert status == 1
    assert re.match(r"shop\.py:\d+: error: first: take\(3\): ", lines[0])
    assert lines[-1] == "2 entities, 2 queries: 1 error, 0 warnings"


def test_entities_for_ksqldb_have_formats_that_it_reads(check: Check) -> None:
    status, lines = check(KSQL.replace('key_format="kafka", value_format="json"', "", 1))
    assert status == 1
    assert any("Order: value_format='msgpack'" in line for line in lines)
