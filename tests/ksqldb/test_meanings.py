"""What the tables of both meanings say is so on a real ksqlDB server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from statestore.deploy import KsqlClient
from statestore.expressions.nodes import FieldPath
from statestore.ksql import expressions, lexis
from statestore.relational.checking import paths_of
from tests.unit.ksql.meanings import MEANINGS, Meaning
from tests.unit.ksql.orders import TYPES, scope_of_orders, stored

pytestmark = pytest.mark.ksqldb


@pytest.fixture(scope="module")
def client() -> Iterator[KsqlClient]:
    with KsqlClient(os.environ["STATESTORE_TEST_KSQLDB"]) as made:
        yield made


@pytest.mark.parametrize("row", [row for row in MEANINGS if row.is_tried], ids=repr)
def test_a_server_finds_the_row_or_not(client: KsqlClient, row: Meaning) -> None:
    name = f"T{uuid.uuid4().hex[:8]}".upper()
    (used,) = {_first(path) for path in paths_of(row.expr.node)}
    type_ = TYPES[used]
    written = type_ if isinstance(type_, str) else f"DECIMAL({type_[1]}, {type_[2]})"
    value = stored(row.order)[used]
    text = expressions.condition(row.expr.node, scope_of_orders())
    make = (
        f"CREATE STREAM {name} (ID BIGINT KEY, {used} {written}) WITH (KAFKA_TOPIC='{name}', PARTITIONS=1, "
        "KEY_FORMAT='KAFKA', VALUE_FORMAT='JSON');"
    )
    client.execute(make, lambda: name in client.sources())
    try:
        shown = "NULL" if value is None else lexis.literal(value)
        client.execute(f"INSERT INTO {name} (ID, {used}) VALUES (1, {shown});", lambda: True)
        asked = f"SELECT CASE WHEN {text} THEN TRUE ELSE FALSE END AS FOUND FROM {name} EMIT CHANGES LIMIT 1;"
        (found,) = client.query(asked, {"auto.offset.reset": "earliest"})
        assert found["FOUND"] is (row.here == "True")
    finally:
        client.execute(f"DROP STREAM {name} DELETE TOPIC;", lambda: name not in client.sources())


def _first(path: FieldPath) -> str:
    return str(path.steps[0]).upper()
