"""What the base for databases does beyond the contract's suite, which runs on its example over SQLite."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_backend import SQLiteDatabase, SQLiteEngine, SQLiteReader

from statestore.backends import Backend, Batch, StoreOptions
from statestore.errors import (
    StoreCorruptError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)

CONTENT = {b"%02d" % number: b"v" for number in range(50)}


@pytest.fixture
def told() -> list[StoreUnavailableError]:
    """The damage that the owner of the store was told of."""
    return []


@pytest.fixture
def backend(tmp_path: Path, told: list[StoreUnavailableError]) -> Iterator[Backend]:
    def damaged(error: StoreUnavailableError) -> StoreUnavailableError:
        told.append(error)
        return error

    with SQLiteEngine(1 << 20).open(tmp_path / "store", StoreOptions(damaged=damaged)) as backend:
        backend.write(Batch(list(CONTENT.items())))
        yield backend


def test_readers_are_used_again(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[SQLiteReader] = []
    begin = SQLiteReader.begin

    def count(reader: SQLiteReader) -> None:
        begun.append(reader)
        begin(reader)

    monkeypatch.setattr(SQLiteReader, "begin", count)
    for _ in range(20):
        backend.get(b"00")
        backend.approximate_count()
        assert dict(backend.scan()) == CONTENT
        with backend.snapshot() as snapshot:
            assert dict(snapshot.scan()) == CONTENT
    assert len(begun) == 80
    assert len(set(begun)) == 1


def test_a_reader_that_fails_at_its_end_is_not_used_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[SQLiteReader] = []
    end = SQLiteReader.end

    def fail_once(reader: SQLiteReader) -> None:
        if not failed:
            failed.append(reader)
            raise sqlite3.OperationalError("disk I/O error")
        assert reader is not failed[0]
        end(reader)

    monkeypatch.setattr(SQLiteReader, "end", fail_once)
    with pytest.raises(StoreUnavailableError, match=r"reading: disk I/O error; look at the disk"):
        backend.get(b"00")
    assert backend.get(b"00") == b"v"
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        failed[0].count()


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(errno.ENOSPC, "no space"), StoreFullError),
        (OSError(errno.ENOENT, "gone"), StoreMissingError),
        (OSError(errno.EIO, "broken"), StoreUnavailableError),
        (sqlite3.OperationalError("locked"), StoreUnavailableError),
        (ZeroDivisionError("a mistake of the author"), ZeroDivisionError),
    ],
)
def test_errors_of_the_system_and_the_library_are_told_apart(
    backend: Backend,
    told: list[StoreUnavailableError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    kind: type[Exception],
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(SQLiteDatabase, "write", fail)
    with pytest.raises(kind, match=str(raised)[-5:]) as caught:
        backend.write(Batch([(b"k", b"v")]))
    assert type(caught.value) is kind
    assert told == ([caught.value] if kind is StoreMissingError else [])
    if isinstance(caught.value, StoreUnavailableError):
        assert caught.value.path == tmp_path / "store"
        assert caught.value.remedy


@pytest.mark.parametrize("call", ["flush", "close"])
def test_a_store_that_was_deleted_is_noticed(
    backend: Backend, told: list[StoreUnavailableError], tmp_path: Path, call: str
) -> None:
    (tmp_path / "store" / "data.db").unlink()
    with pytest.raises(StoreMissingError, match="deleted or replaced"):
        getattr(backend, call)()
    assert len(told) == 1
    if call == "flush":
        with pytest.raises(StoreMissingError):
            backend.close()


def test_a_copy_that_fails_leaves_nothing(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(database: SQLiteDatabase, directory: Path) -> None:
        (directory / "half").write_text("")
        raise sqlite3.DatabaseError("malformed")

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteDatabase, "copy", fail)
        patch.setattr(SQLiteEngine, "error_class", lambda *_: StoreCorruptError)
        with pytest.raises(StoreCorruptError, match="copying to"):
            backend.checkpoint(tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    backend.checkpoint(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "store"]
