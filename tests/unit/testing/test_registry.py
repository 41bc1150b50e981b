"""The stand-in registry answers as the REST API is documented to."""

from __future__ import annotations

import json
import random
import urllib.error
import urllib.request
from typing import Any

import pytest

from statestore.testing.registry import StandInRegistry

LONG = {"schema": '"long"'}
RECORD = {"schema": '{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}'}
WIDER = {"schema": RECORD["schema"].replace("]}", ',{"name":"b","type":"int","default":1}]}')}
NARROW = {"schema": RECORD["schema"].replace("long", "string")}


def request(stand_in: StandInRegistry, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    sent = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(stand_in.url + path, sent, method=method), timeout=60
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def filled(stand_in: StandInRegistry) -> StandInRegistry:
    assert request(stand_in, "POST", "/subjects/r-value/versions", RECORD) == (200, {"id": 1})
    assert request(stand_in, "POST", "/subjects/r-value/versions", WIDER) == (200, {"id": 2})
    assert request(stand_in, "POST", "/subjects/a%2Fb-key/versions", LONG) == (200, {"id": 3})
    return stand_in


ANSWERS: list[tuple[str, str, Any, int, Any]] = [
    ("GET", "/subjects", None, 200, ["a/b-key", "r-value"]),
    ("GET", "/subjects/r-value/versions", None, 200, [1, 2]),
    ("GET", "/subjects/none/versions", None, 404, 40401),
    ("GET", "/subjects/r-value/versions/3", None, 404, 40402),
    ("GET", "/subjects/r-value/versions/0", None, 422, 42202),
    ("GET", "/subjects/none/versions/1", None, 404, 40401),
    (
        "GET",
        "/subjects/a%2Fb-key/versions/latest",
        None,
        200,
        {"subject": "a/b-key", "id": 3, "version": 1, **LONG},
    ),
    ("GET", "/schemas/ids/3", None, 200, LONG),
    ("GET", "/schemas/ids/4", None, 404, 40403),
    ("POST", "/subjects/a%2Fb-key", LONG, 200, {"subject": "a/b-key", "id": 3, "version": 1, **LONG}),
    ("POST", "/subjects/a%2Fb-key", RECORD, 404, 40403),
    ("POST", "/subjects/none", LONG, 404, 40401),
    ("POST", "/subjects/r-value/versions", RECORD, 200, {"id": 1}),
    ("POST", "/subjects/new/versions", RECORD, 200, {"id": 1}),
    ("POST", "/subjects/r-value/versions", NARROW, 409, 409),
    ("POST", "/subjects/r-value/versions", {"schema": "{"}, 422, 42201),
    ("POST", "/compatibility/subjects/r-value/versions/latest", WIDER, 200, {"is_compatible": True}),
    ("POST", "/compatibility/subjects/r-value/versions/1", NARROW, 200, {"is_compatible": False}),
    ("POST", "/compatibility/subjects/r-value/versions/9", WIDER, 404, 40402),
    ("POST", "/compatibility/subjects/none/versions/1", WIDER, 404, 40401),
    ("POST", "/compatibility/subjects/none/versions", WIDER, 200, {"is_compatible": True}),
    ("GET", "/config", None, 200, {"compatibilityLevel": "BACKWARD"}),
    ("GET", "/config/r-value", None, 404, 40408),
    ("PUT", "/config/r-value", {"compatibility": "FULL"}, 200, {"compatibility": "FULL"}),
    ("PUT", "/config", {"compatibility": "SOME"}, 422, 42203),
    ("GET", "/nowhere", None, 404, 404),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "wanted"), ANSWERS)
def test_the_documented_answers(
    filled: StandInRegistry, method: str, path: str, body: Any, status: int, wanted: Any
) -> None:
    found, answer = request(filled, method, path, body)
    assert found == status
    if status == 200 and isinstance(wanted, dict):
        assert {name: value for name, value in answer.items() if name != "messages"} == wanted
    elif status == 200:
        assert answer == wanted
    else:
        assert answer["error_code"] == wanted
        assert answer["message"]


@pytest.mark.parametrize(
    ("level", "schema", "taken"),
    [
        ("BACKWARD", WIDER, True),
        ("BACKWARD", NARROW, False),
        ("FORWARD", NARROW, False),
        ("FULL", WIDER, True),
        ("NONE", NARROW, True),
    ],
)
def test_the_level_of_the_subject_decides(
    filled: StandInRegistry, level: str, schema: Any, taken: bool
) -> None:
    request(filled, "PUT", "/config/r-value", {"compatibility": level})
    status, _ = request(filled, "POST", "/subjects/r-value/versions", schema)
    assert (status == 200) is taken
    _, answer = request(filled, "POST", "/compatibility/subjects/r-value/versions", schema)
    assert answer["is_compatible"] is taken


def test_a_transitive_level_looks_at_every_version(filled: StandInRegistry) -> None:
    """It reads the second version, not the first, which has no ``b``."""
    schema = {"schema": RECORD["schema"].replace("]}", ',{"name":"b","type":"int"}]}')}
    for level, taken in (("BACKWARD", True), ("BACKWARD_TRANSITIVE", False)):
        request(filled, "PUT", "/config", {"compatibility": level})
        _, answer = request(filled, "POST", "/compatibility/subjects/r-value/versions", schema)
        assert answer["is_compatible"] is taken


def test_no_two_registries_have_one_address() -> None:
    urls = set()
    for _ in range(3):
        random.seed(0)  # as Hypothesis does
        with StandInRegistry() as registry:
            urls.add(registry.url)
    assert len(urls) == 3
