"""Backends and formats by name: those of the library itself, and those that other packages register.

Ours need no entry point, so that they are found where the metadata of packages is not: in a frozen program,
or in an image from which the ``*.dist-info`` folders were removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

BACKENDS = "statestore.backends"
KEY_FORMATS = "statestore.key_formats"
VALUE_FORMATS = "statestore.value_formats"

OWN: Mapping[str, Mapping[str, str]] = {
    BACKENDS: {
        "rocksdb": "statestore.backends.rocksdb:RocksDBEngine",
        "lmdb": "statestore.backends.lmdb:LMDBEngine",
        "memory": "statestore.backends.memory:MemoryEngine",
    },
    KEY_FORMATS: {
        "ordered": "statestore.serde.ordered_keys:ordered_keys",
        "kafka": "statestore.serde.kafka_keys:kafka_keys",
        "json": "statestore.serde.json:JsonKeys",
        "raw": "statestore.serde.raw:raw_keys",
        "avro": "statestore.serde.avro:key_codec",
    },
    VALUE_FORMATS: {
        "msgpack": "statestore.serde.msgpack:msgpack_values",
        "json": "statestore.serde.json:json_values",
        "raw": "statestore.serde.raw:RawValues",
        "kafka": "statestore.serde.kafka_values:KafkaValues",
        "avro": "statestore.serde.avro:value_codec",
    },
}
"""What the library brings, by group and name: ``module:attribute``."""


def find(group: str, name: str) -> EntryPoint | None:
    """Return what is called ``name`` in ``group``. A name of ours is ours, whoever else registers it."""
    if (own := OWN[group].get(name)) is not None:
        return EntryPoint(name, own, group)
    return next(iter(entry_points(group=group, name=name)), None)


def installed(group: str) -> list[str]:
    """Return all names of ``group``, sorted."""
    return sorted({*OWN[group], *entry_points(group=group).names})
