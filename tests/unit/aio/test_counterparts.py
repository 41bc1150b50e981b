"""Every public method of the blocking classes has its form for asyncio, or a reason why not."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from statestore import (
    BytesTable,
    BytesTableSnapshot,
    KeyValueStore,
    SessionSnapshot,
    SessionStore,
    StoreManager,
    StoreReader,
    Stream,
    Table,
    TableQuery,
    TableSnapshot,
    Transaction,
    WindowedTable,
    WindowSnapshot,
    WindowStore,
    WindowTable,
    WindowTableSnapshot,
    aio,
)
from statestore.query.facade import TableGrouping

FORMS: dict[type, type] = {
    StoreManager: aio.AsyncStoreManager,
    Table: aio.AsyncTable,
    WindowTable: aio.AsyncWindowTable,
    WindowedTable: aio.AsyncTable,
    BytesTable: aio.AsyncBytesTable,
    TableSnapshot: aio.AsyncTableSnapshot,
    WindowTableSnapshot: aio.AsyncWindowTableSnapshot,
    BytesTableSnapshot: aio.AsyncBytesTableSnapshot,
    TableQuery: aio.AsyncTableQuery,
    TableGrouping: aio.AsyncTableGrouping,
    Stream: aio.AsyncStream,
    Transaction: aio.AsyncTransaction,
    KeyValueStore: aio.AsyncKeyValueStore,
    StoreReader: aio.AsyncStoreReader,
    WindowStore: aio.AsyncWindowStore,
    WindowSnapshot: aio.AsyncWindowSnapshot,
    SessionStore: aio.AsyncSessionStore,
    SessionSnapshot: aio.AsyncSessionSnapshot,
}

MAPPING = "a mapping's methods cannot be awaited"
INTERNAL = "of the library's own: no user calls it"
WITHOUT: dict[str, str] = {
    "add_async": "add",
    "add_all_async": "add_all",
    "delete_async": "delete",
    "sync_async": "sync",
    "wait_for_async": "wait_for",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__arrow_c_stream__": "who reads such a stream blocks: await to_arrow(), whose result has one",
    "shut": INTERNAL,
    # of a query
    "having_value": INTERNAL,
    "few": INTERNAL,
    "batches": INTERNAL,
    "aggregated": INTERNAL,
    "joined": INTERNAL,
    # of a store's reader
    "scan_stored": INTERNAL,
    "cache_reads": INTERNAL,
    "followed": INTERNAL,
    "partition_of": INTERNAL,
    "promoted": INTERNAL,
    "get_with_timestamp of StoreReader": INTERNAL,
    "get_with_timestamp of KeyValueStore": INTERNAL,
    "spelled": INTERNAL,
    "scan_index": INTERNAL,
    "index_keys": INTERNAL,
    "rows_of": INTERNAL,
    "positions of StoreReader": INTERNAL,
    "positions of KeyValueStore": INTERNAL,
    # of a mapping
    **{
        f"{name} of KeyValueStore": MAPPING
        for name in ("pop", "popitem", "setdefault", "update", "clear", "keys", "items", "values")
    },
    "__getitem__": "it cannot be awaited: get(key)",
    "__len__": "it cannot be awaited: count()",
    "__reversed__": "it cannot be awaited: scan(reverse=True)",
    "__setitem__": MAPPING,
    "__delitem__": MAPPING,
}
PROTOCOLS = {
    "__enter__",
    "__exit__",
    "__iter__",
    "__contains__",
    "__getitem__",
    "__setitem__",
    "__delitem__",
    "__len__",
    "__reversed__",
    "__arrow_c_stream__",
}


def public(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_") or name in PROTOCOLS]


PAIRS = [(blocking, form, name) for blocking, form in FORMS.items() for name in public(blocking)]


@pytest.mark.parametrize(("blocking", "form", "name"), PAIRS, ids=[f"{a.__name__}.{n}" for a, _, n in PAIRS])
def test_every_method_has_its_form(blocking: type, form: type, name: str) -> None:
    reason = WITHOUT.get(f"{name} of {blocking.__name__}") or WITHOUT.get(name)
    if reason is not None:
        assert not hasattr(form, name), f"it has a form now: it needs no reason ({reason})"
        return
    here, there = inspect.getattr_static(blocking, name), getattr(form, name, None)
    assert there is not None, f"{form.__name__} has no {name}"
    if not inspect.isfunction(there):
        return
    assert there.__doc__ or name.startswith("_"), "its documentation is that of the other form"
    if inspect.isfunction(here):
        assert parameters(there) == parameters(here)


def parameters(method: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()]


def test_a_manager_is_made_with_the_same_arguments() -> None:
    assert parameters(aio.AsyncStoreManager.__init__) == parameters(StoreManager.__init__)


def test_no_reason_is_left_over() -> None:
    names = {name for cls in FORMS for name in public(cls)}
    assert {name.partition(" of ")[0] for name in WITHOUT} <= names
