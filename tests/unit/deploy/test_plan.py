"""Plans and their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from statestore.deploy import Plan
from statestore.deploy.text import subject_of
from statestore.errors import ConfigError
from statestore.ksql.statements import Statement

Faults = Callable[..., tuple[str, ...]]


def test_a_file_round_trips(tmp_path: Path, shop: Any, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(shop.orders(), shop.large(), shop.totals(), shop.returns("naïve 'x'"))
    plan.save(tmp_path / "plan.json")
    read = Plan.load(tmp_path / "plan.json")
    assert read == plan
    assert (read.created, read.statestore) == (plan.created, plan.statestore)
    assert read.to_json() == plan.to_json()


def test_a_statement_altered_by_hand_is_noticed(
    tmp_path: Path, shop: Any, plan_of: Callable[..., Plan], faults: Faults
) -> None:
    path = tmp_path / "plan.json"
    plan_of(shop.orders(), shop.large(100)).save(path)
    path.write_text(path.read_text().replace("AMOUNT > 100", "AMOUNT > 1000"))
    (fault,) = faults(Plan.load, path)
    assert fault.startswith(f"{path}: statement LARGE: its text has SHA-256")
    assert "altered after the plan was made" in fault


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("columns", {"AMOUNT": "INT"}),
        ("reads", []),
        ("topic", "another"),
        ("is_persistent", False),
        ("stated_sha256", None),
    ],
)
def test_what_is_stated_beside_the_text_and_altered_by_hand_is_noticed(
    shop: Any, plan_of: Callable[..., Plan], faults: Faults, place: str, value: object
) -> None:
    content = json.loads(plan_of(shop.orders(), shop.large()).to_json())
    assert content["statements"][1][place] != value
    content["statements"][1][place] = value
    (fault,) = faults(Plan.from_json, json.dumps(content), "shop.json")
    assert fault.startswith("shop.json: statement LARGE: what is stated beside its text (")


def test_other_white_space_by_hand_is_no_alteration(
    tmp_path: Path, shop: Any, plan_of: Callable[..., Plan]
) -> None:
    path = tmp_path / "plan.json"
    plan_of(shop.orders(), shop.large()).save(path)
    path.write_text(path.read_text().replace(" WHERE AMOUNT", '  WHERE",\n"  AMOUNT'))
    assert "WHERE\n  AMOUNT" in Plan.load(path).statements[1].text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not a plan"),
        ("[]", "format is []"),
        ('{"format": 2}', "format is 2, but this version reads format 1"),
        ('{"format": 1}', "'application' is missing"),
        ('{"format": 1, "application": "a", "statements": [3], "created": ""}', "is not a plan"),
        ('{"format": 1, "application": "a", "statements": {}, "created": ""}', "statements are no list"),
    ],
)
def test_what_is_no_plan_is_told(tmp_path: Path, text: str, says: str, faults: Faults) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    (fault,) = faults(Plan.load, path)
    assert fault.startswith(str(path))
    assert says in fault


def test_a_file_that_is_not_there_is_told(tmp_path: Path, faults: Faults) -> None:
    assert "cannot be read" in faults(Plan.load, tmp_path / "none.json")[0]


def test_all_faults_are_told_at_once(shop: Any, faults: Faults) -> None:
    found = faults(
        Plan.of,
        "my shop",
        [
            shop.totals(),
            shop.large(),
            shop.large(7),
            shop.returns(),
            shop.returns(),
            replace(shop.orders(), name="OR DERS"),
            Statement("DROP STREAM X;", "drop stream", "X"),
            Statement("CREATE STREAM Y AS SELECT * FROM Y; DROP STREAM X;", "create stream", "Y", ("Y",)),
            replace(shop.totals(), name="OTHER"),
        ],
    )
    for part in (
        "application 'my shop'",
        "TOTALS: comes before LARGE, which it needs",
        "LARGE is created twice",
        "the same INSERT INTO LARGE is there twice",
        "OR DERS: a stream or table is named with letters",
        "X: drop stream is not deployed by a plan",
        "Y: is not one statement that ends with ';'",
        "Y: reads itself",
        "TOTALS and OTHER both write to topic 'totals'",
    ):
        assert any(part in fault for fault in found), (part, found)


def test_the_file_is_readable_in_a_diff(shop: Any, plan_of: Callable[..., Plan]) -> None:
    content = json.loads(plan_of(shop.orders()).to_json())
    assert content["format"] == 1
    assert content["application"] == "shop"
    (statement,) = content["statements"]
    assert statement["columns"] == {"ID": "BIGINT KEY", "AMOUNT": "DECIMAL(9, 2)"}
    assert list(statement)[:4] == ["name", "action", "text", "sha256"]


def test_a_plan_without_an_application_is_refused() -> None:
    with pytest.raises(ConfigError, match="application of \\[ksql\\]"):
        Plan.of("", [])


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("name", "OTHER", "stated to create stream OTHER, but its text is to create stream LARGE"),
        ("action", "create table", "stated to create table LARGE, but its text is to create stream LARGE"),
        ("action", "insert into", "stated to insert into LARGE"),
        ("reads", "ORDERS", "reads of LARGE is no list of names"),
        ("reads", [["ORDERS"]], "reads of LARGE is no list of names"),
        ("topic", ["large"], "topic or is_persistent of LARGE"),
        ("is_persistent", "no", "topic or is_persistent of LARGE"),
        ("text", ["\ud800;"], "not a plan"),
    ],
)
def test_a_field_altered_by_hand_is_told(
    shop: Any, plan_of: Callable[..., Plan], place: str, value: object, says: str
) -> None:
    content = json.loads(plan_of(shop.orders(), shop.large()).to_json())
    content["statements"][1][place] = value
    with pytest.raises(ConfigError, match=says):
        Plan.from_json(json.dumps(content), "shop.json")


@pytest.mark.parametrize(
    ("text", "does"),
    [
        (
            "CREATE OR REPLACE TABLE `a-b` (X INT PRIMARY KEY);",
            ("create table", "a-b"),
        ),
        ("create source /* not SOURCE */ table if not exists t (X INT);", ("create table", "T")),
        ("CREATE STREAM SOURCE (X INT);", ("create stream", "SOURCE")),
        ("INSERT INTO `if` SELECT * FROM X;", ("insert into", "if")),
        (";", ("", "")),
    ],
)
def test_what_a_statement_does_is_read_from_its_text(text: str, does: tuple[str, str]) -> None:
    action, name = subject_of(text)
    assert (action.strip(" ;"), name) == does
