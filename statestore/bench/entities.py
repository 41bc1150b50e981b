"""Tables of entities of each value format, and what a program would make of a plain binding and a codec.

The classes are declared when they are first wanted, and their names are those of nothing else.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import fields, make_dataclass
from functools import cache
from itertools import islice
from random import Random
from typing import Annotated, Any

import msgspec

from statestore.bench.candidates import Candidate, Pair
from statestore.bench.workload import LOAD_BATCH, Ground, Operation, Site
from statestore.entity import entity, model_of
from statestore.fields.attributes import Key
from statestore.manager import StoreManager
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings

ENTITIES = {f"entity-{name}": name for name in ("msgpack", "json", "avro", "kafka", "raw")}
"""The workloads, by name, and the value format of each. Their topics have the same names."""
CONTENT = {
    "msgpack": "six fields in msgpack",
    "json": "six fields in JSON",
    "avro": "six fields in Avro",
    "kafka": "a number as Kafka's serializer writes it",
    "raw": "50 bytes as they are",
}
"""What is in the entities of a format, besides the key."""
MOST = 10_000
"""Entities of a table at most: it is the decoding that is measured, and stores of each size are by others."""

_REGISTRY = "mock://statestore-bench"
_PATIENCE = 600.0
_LOOKED_AT = 20
_DOUBLE = struct.Struct(">d")
_HEADER = 5
"""Bytes in front of an Avro value: a zero, and the number of its schema."""

_SIX: list[tuple[str, Any]] = [
    ("price", float),
    ("quantity", int),
    ("venue", str),
    ("sequence", int),
    ("open", bool),
]
_ONE: dict[str, list[tuple[str, Any]]] = {"kafka": [("price", float)], "raw": [("content", bytes)]}


def entities_of(keys: int) -> int:
    """Return how many entities a table has in a run with ``keys``."""
    return min(keys, MOST)


@cache
def declared(value_format: str, topic: str = "statestore-bench") -> type[Any]:
    """Return the class of a format: of six fields, or where the format takes one value, with that one."""
    columns = _ONE.get(value_format, _SIX)
    made = make_dataclass(
        f"Bench{value_format.title()}", [("symbol", Annotated[str, Key]), *columns], frozen=True, slots=True
    )
    return entity(topic=topic, value_format=value_format)(made)


def symbol(number: int) -> str:
    """Return the key of an entity."""
    return f"SYM-{number:06d}"


def made(cls: type[Any], number: int) -> Any:
    """Return an entity; the same one for the same number."""
    content: dict[str, Any] = {
        "price": number / 7,
        "quantity": number,
        "venue": "XNYS",
        "sequence": number * 3,
        "open": number % 2 == 0,
        "content": b"%050d" % number,
    }
    return cls(symbol(number), *(content[field.name] for field in fields(cls)[1:]))


def encoded(cls: type[Any], count: int) -> Iterator[Pair]:
    """Give the records of ``count`` entities. Avro's schema is the first of a registry in this process."""
    codec: EntityCodec[Any] = EntityCodec(model_of(cls), FormatContext(RegistrySettings(url=_REGISTRY)))
    return (codec.encode(made(cls, number)) for number in range(count))


_FROM: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "msgpack": msgspec.msgpack.decode,
    "json": json.loads,
    "kafka": lambda payload: {"price": _DOUBLE.unpack(payload)[0]},
    "raw": lambda payload: {"content": payload},
}
"""How a program decodes a payload into the fields besides the key."""


def _avro() -> Callable[[bytes], dict[str, Any]]:
    import fastavro

    types = {"price": "double", "quantity": "long", "venue": "string", "sequence": "long", "open": "boolean"}
    fields_ = [{"name": name, "type": type_} for name, type_ in types.items()]
    schema = fastavro.parse_schema({"type": "record", "name": "Value", "fields": fields_})
    read: Any = fastavro.schemaless_reader

    def decode(payload: bytes) -> dict[str, Any]:
        return read(io.BytesIO(payload[_HEADER:]), schema)  # type: ignore[no-any-return]

    return decode


def by_hand(candidate: Candidate, cls: type[Any], value_format: str) -> Callable[[str], Any]:
    """Return what reads an entity from a plain binding: its ``get``, a plain decoder, and the class."""
    get = candidate.get
    decode = _avro() if value_format == "avro" else _FROM[value_format]

    def read(key: str) -> Any:
        payload = get(key.encode())
        return None if payload is None else cls(key, **decode(payload))

    return read


Opened = tuple[Callable[[str], Any], Callable[[], None]]
"""What reads an entity by its key, and what closes the store."""


class EntityGround(Ground):
    """Tables of entities, each opened when it is first wanted."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site
        self.records = entities_of(site.records)
        self._open: dict[str, Opened] = {}

    def reads(self, value_format: str) -> Callable[[str], Any]:
        """Return the call that reads an entity by its key, after a look at what it gives."""
        if value_format not in self._open:
            cls = declared(value_format, self._site.topics[f"entity-{value_format}"])
            open_ = self._table if self._site.kind.kind == "backend" else self._binding
            self._open[value_format] = open_(cls, value_format)
            read = self._open[value_format][0]
            for number in {self.records - 1, *range(min(_LOOKED_AT, self.records))}:
                if (found := read(symbol(number))) != made(cls, number):
                    raise RuntimeError(f"instead of {made(cls, number)} there is {found}")
        return self._open[value_format][0]

    def _table(self, cls: type[Any], value_format: str) -> Opened:
        site = self._site
        next(encoded(cls, 1))  # where the format is Avro, its schema is known from now on
        stores = StoreManager(
            site.opening(value_format).directory,
            kafka=site.kafka,
            backend=site.kind.name,
            settings={"schema_registry": {"url": _REGISTRY}},
        )
        try:
            table = stores.bind(cls)
            table.wait_until_ready(_PATIENCE)
            table.flush()
        except BaseException:
            stores.close()
            raise
        return table.get, stores.close

    def _binding(self, cls: type[Any], value_format: str) -> Opened:
        candidate = self._site.open(value_format)
        try:
            pairs = encoded(cls, self.records)
            while batch := list(islice(pairs, LOAD_BATCH)):
                candidate.write(batch)
            candidate.flush()
            return by_hand(candidate, cls, value_format), candidate.close
        except BaseException:
            candidate.close()
            raise

    def flush(self) -> None:
        """Nothing: entities are only read."""

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1][1]()


def reading(value_format: str) -> Callable[[EntityGround, Random], Iterator[Operation]]:
    """Return operations that read entities, each as likely as the others."""

    def operations(ground: EntityGround, random: Random) -> Iterator[Operation]:
        read = ground.reads(value_format)
        while True:
            yield read, (symbol(int(random.random() * ground.records)),)

    return operations
