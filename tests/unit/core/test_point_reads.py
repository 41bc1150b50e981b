"""Point reads of stores, snapshots and tables: the native ones and their twin do the same."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.core import pure
from statestore.errors import StoreClosedError, StoreNotReadyError

KEYS = st.binary(max_size=3)


class Content(dict[bytes, bytes]):
    """An engine: keys with namespace, values with whatever header a test gives them."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]


def reads(core: ModuleType, content: Content, header: int = 0, limit: int | None = None) -> Any:
    cache = None if limit is None else core.RecordCache(limit)
    return core.PointReads(content.get, content.get_many, b"\x01", header, cache)


@pytest.mark.parametrize("limit", [None, 0, 100_000])
def test_keys_get_their_namespace_and_values_lose_their_header(core: ModuleType, limit: int | None) -> None:
    content = Content({b"\x01a": b"headerss1", b"\x01": b"headerss", b"\x01short": b"head", b"\x00a": b"no"})
    store = reads(core, content, 8, limit)
    for _ in range(2):
        assert store.get(b"a") == b"1"
        assert store.get(b"", b"default") == b"", "an empty value is not an absent one"
        assert store.get(b"short") == b""
        assert store.get(b"b") is None
        assert store.get(b"b", 7) == store.get(b"b", default=7) == 7
        assert store.get_many([b"b", b"a", b"", b"a"]) == [None, b"1", b"", b"1"]
        assert store.get_many(iter([b"a"])) == [b"1"]
        assert store.get_many([]) == []
        assert b"a" in store
        assert b"b" not in store
        assert "a" not in store


@given(
    content=st.dictionaries(KEYS, st.binary(max_size=20)),
    header=st.sampled_from([0, 8]),
    asked=st.lists(st.tuples(st.booleans(), st.lists(KEYS, max_size=5))),
    limit=st.one_of(st.none(), st.integers(0, 3000)),
)
def test_native_and_twin_read_the_same(
    native: ModuleType,
    pure: ModuleType,
    content: dict[bytes, bytes],
    header: int,
    asked: list[tuple[bool, list[bytes]]],
    limit: int | None,
) -> None:
    stored = Content({b"\x01" + key: value for key, value in content.items()})
    ours, twin = reads(native, stored, header, limit), reads(pure, stored, header, limit)
    for one_by_one, keys in asked:
        if one_by_one:
            assert [ours.get(key) for key in keys] == [twin.get(key) for key in keys]
            assert [key in ours for key in keys] == [key in twin for key in keys]
        else:
            assert ours.get_many(keys) == twin.get_many(keys)


class Bytes(bytes):
    pass


@pytest.mark.parametrize("key", [bytearray(b"a"), memoryview(b"a"), Bytes(b"a")], ids=type)
def test_any_buffer_is_a_key(core: ModuleType, key: Any) -> None:
    store = reads(core, Content({b"\x01a": b"1"}), limit=10_000)
    for _ in range(2):
        assert store.get(key) == b"1"
        assert store.get_many([key]) == [b"1"]
    assert store.get(b"a") == b"1"


@pytest.mark.parametrize("key", ["a", 1, None, ("a",)], ids=repr)
def test_anything_else_is_a_type_error(core: ModuleType, key: Any) -> None:
    store = reads(core, Content(), limit=10_000)
    for call in (store.get, lambda key: store.get_many([b"a", key])):
        with pytest.raises(TypeError):
            call(key)
    with pytest.raises(TypeError):
        store.get_many(None)
    for wrong in ({}, {"key": b"a", "fault": None}):
        with pytest.raises(TypeError):
            store.get(**wrong)


def test_errors_of_the_engine_come_out(core: ModuleType) -> None:
    def refuse(asked: object) -> Any:
        raise StoreClosedError(str(asked))

    store = core.PointReads(refuse, refuse, b"\x01", 8, core.RecordCache(10_000))
    for _ in range(2):
        with pytest.raises(StoreClosedError, match="a"):
            store.get(b"a")
        with pytest.raises(StoreClosedError, match="a"):
            store.get_many([b"a"])
        with pytest.raises(StoreClosedError, match="a"):
            b"a" in store  # noqa: B015 - it raises


def test_an_engine_that_gives_too_few_values_is_told(core: ModuleType) -> None:
    store = core.PointReads(lambda key: None, lambda keys: [], b"\x01", 0, core.RecordCache(10_000))
    with pytest.raises(RuntimeError, match="0 values for 1 keys"):
        store.get_many([b"a"])


# Tables


def table_of(core: ModuleType, store: Any, allowing: Any = None) -> Any:
    class Door(core.Readable):  # type: ignore[misc, name-defined]
        def reading(self, allow_stale: bool) -> Any:
            if allow_stale and allowing is not None:
                return allowing
            raise StoreNotReadyError("not now", lag=3)

    class Table(core.BytesReads):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._binding = Door()
            self._binding.readable = store

    return Table()


def test_a_table_reads_only_while_it_is_readable(core: ModuleType) -> None:
    store = reads(core, Content({b"\x01a": b"headerss1"}), 8, 10_000)
    table = table_of(core, store, allowing=store)
    for _ in range(2):
        assert table.get(b"a") == table.get(b"a", default=3) == table.get(key=b"a") == b"1"
        assert table.get(b"b") is None
        assert table.get(b"b", default=3) == 3
        assert b"a" in table
    table._binding.readable = None
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"a")
    assert refused.value.lag == 3
    with pytest.raises(StoreNotReadyError):
        b"a" in table  # noqa: B015 - it raises
    assert table.get(b"a", allow_stale=True) == b"1"
    table._binding.readable = store
    assert table.get(b"a") == b"1"


def test_a_table_s_options_are_named(core: ModuleType) -> None:
    table = table_of(core, reads(core, Content(), 8, 10_000))
    for arguments, named in [((b"a", 1), {}), ((), {}), ((b"a",), {"stale": True})]:
        with pytest.raises(TypeError):
            table.get(*arguments, **named)


def test_what_is_not_set_up_raises(core: ModuleType) -> None:
    class Empty(core.BytesReads):  # type: ignore[misc, name-defined]
        pass

    with pytest.raises(AttributeError):
        Empty().get(b"a")
    with pytest.raises((TypeError, AttributeError)):
        core.PointReads.__new__(core.PointReads).get(b"a")
    for wrong in ({}, {"get": None, "get_many": None, "namespace": b"", "header": "x"}):
        with pytest.raises(TypeError):
            core.PointReads(**wrong).get(b"a") + b""


def test_help_shows_the_signatures(native: ModuleType, pure: ModuleType) -> None:
    for name in ("PointReads.get", "PointReads.get_many", "BytesReads.get"):
        owner, method = name.split(".")
        found = [inspect.signature(getattr(getattr(core, owner), method)) for core in (native, pure)]
        ours, twin = ([*each.parameters.values()][1:] for each in found)  # of self, only a C function knows
        assert [(one.name, one.kind, one.default) for one in ours] == [
            (one.name, one.kind, one.default) for one in twin
        ]


def test_a_store_that_is_taken_away_between_two_looks_is_read_all_the_same() -> None:
    class Door:
        looks = 0
        store = pure.PointReads(lambda key: b"headerss1", lambda keys: [], b"\x01", 8)

        @property
        def readable(self) -> Any:
            self.looks += 1
            return self.store if self.looks == 1 else None

    table = pure.BytesReads()
    table._binding = Door()
    assert table.get(b"a") == b"1"
