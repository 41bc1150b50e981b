"""The files of an ``open()`` store say whose they are; those of another store are not served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore import (
    ConfigError,
    StoreClosedError,
    StoreCorruptError,
    StoreIdentityError,
    StoreManager,
    StoreMissingError,
)
from statestore.backends import Batch, StoreOptions, find_engine
from statestore.storage.directory import StoreDirectory, StoreFile
from statestore.storage.identity import identify
from statestore.storage.layout import IDENTITY

Follow = Callable[[Path, str], None]
SELDOM = {"defaults": {"catch_up": 600.0}}


@pytest.fixture(params=["rocksdb", "lmdb"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def filled(place: Path, backend: str, *names: str) -> list[Path]:
    """Make stores with a row each; return where their files are."""
    with StoreManager(place, backend=backend) as stores:
        for name in names:
            stores.open(name).put(b"name", name.encode())
    return [place / name / "g000001" for name in names]


def begin_anew(place: Path, backend: str, name: str, remedy: str) -> None:
    """Follow the remedy: move what is left of the store elsewhere, and begin without its rows."""
    assert remedy.endswith('elsewhere and open it with on_missing="empty" to begin without its rows')
    (place / name).rename(place.with_name("elsewhere"))
    with StoreManager(place, backend=backend) as stores:
        with pytest.raises(StoreMissingError, match='on_missing="empty"'):
            stores.open(name)
        assert dict(stores.open(name, on_missing="empty").items()) == {}
        stores.open(name).put(b"name", b"again")
    with StoreManager(place, backend=backend) as stores:
        assert stores.open(name, on_missing="empty").get(b"name") == b"again"


def test_swapped_files_are_told(tmp_path: Path, backend: str) -> None:
    place = tmp_path / "state"
    left, right = filled(place, backend, "left", "right")
    left.rename(tmp_path / "kept")
    right.rename(left)
    (tmp_path / "kept").rename(right)
    with StoreManager(place, backend=backend) as stores:
        for name, other in (("left", "right"), ("right", "left")):
            with pytest.raises(StoreIdentityError, match=f"logical '{other}', not '{name}'") as failure:
                stores.open(name)
    begin_anew(place, backend, "left", failure.value.remedy)


def test_files_of_a_store_of_the_same_name_are_told(tmp_path: Path, backend: str) -> None:
    (mine,) = filled(tmp_path / "state", backend, "rows")
    (others,) = filled(tmp_path / "other", backend, "rows")
    shutil.rmtree(mine)
    shutil.copytree(others, mine)
    with StoreManager(tmp_path / "state", backend=backend) as stores:
        for _ in range(2):
            with pytest.raises(StoreIdentityError, match="another store of this name"):
                stores.open("rows")
    shutil.rmtree(mine.parent)
    shutil.copytree(others.parent, mine.parent)  # a whole store, with its store.json, is a backup of it
    with StoreManager(tmp_path / "state", backend=backend) as stores:
        assert stores.open("rows").get(b"name") == b"rows"


def test_a_reader_is_told_of_the_files_of_another_store(tmp_path: Path, backend: str) -> None:
    (mine,) = filled(tmp_path / "state", backend, "rows")
    (others,) = filled(tmp_path / "other", backend, "rows")
    shutil.rmtree(mine)
    shutil.copytree(others, mine)
    with StoreManager(tmp_path / "state", backend=backend, role="reader") as stores:
        for _ in range(2):
            with pytest.raises(StoreIdentityError, match="another store of this name"):
                stores.open("rows")


def test_a_reader_does_not_read_on_when_the_files_become_those_of_another_store(tmp_path: Path) -> None:
    place = tmp_path / "state"
    filled(place, "rocksdb", "rows")
    with StoreManager(place, backend="rocksdb", role="auto", settings=SELDOM) as owner:
        written = owner.open("rows")
        with StoreManager(place, backend="rocksdb", role="reader", settings=SELDOM) as reader:
            rows = reader.open("rows")
            assert rows.get(b"name") == b"rows"
            identity = json.loads(written._backend.get(IDENTITY) or b"")
            changed = json.dumps(identity | {"store_id": "of another"}).encode()
            written._backend.write(Batch([(IDENTITY, changed)]))
            for _ in range(2):
                with pytest.raises(StoreIdentityError, match="another store of this name"):
                    rows.follow()
            with pytest.raises(StoreClosedError):
                rows.get(b"name")


def test_files_of_another_engine_are_told(tmp_path: Path, backend: str) -> None:
    (mine,) = filled(tmp_path / "state", backend, "rows")
    (others,) = filled(tmp_path / "other", "lmdb" if backend == "rocksdb" else "rocksdb", "rows")
    shutil.rmtree(mine)
    shutil.copytree(others, mine)
    with (
        StoreManager(tmp_path / "state", backend=backend) as stores,
        pytest.raises(StoreCorruptError) as failure,
    ):
        stores.open("rows")
    begin_anew(tmp_path / "state", backend, "rows", failure.value.remedy)


def test_the_store_is_opened_as_it_was_made_or_by_another_name(tmp_path: Path, backend: str) -> None:
    """The remedies for another backend, followed."""
    filled(tmp_path, backend, "rows")
    other = "lmdb" if backend == "rocksdb" else "rocksdb"
    with StoreManager(tmp_path, backend=other) as stores:
        says = f"open it with backend='{backend}', or give this store another name"
        with pytest.raises(StoreIdentityError, match=says):
            stores.open("rows")
        assert stores.open("rows", backend=backend).get(b"name") == b"rows"
        assert stores.open("rows_2").get(b"name") is None


def cut_manifest(files: Path) -> None:
    """Cut off what RocksDB notes of its files, as a copy that was interrupted does: it opens what is left."""
    (manifest,) = files.glob("MANIFEST-*")
    manifest.write_bytes(manifest.read_bytes()[: manifest.stat().st_size // 2])


def empty(files: Path, backend: str) -> None:
    """Put an empty store of the engine in the place of the files."""
    shutil.rmtree(files)
    find_engine(backend)(16 << 20, None).open(files, StoreOptions()).close()


@pytest.mark.parametrize(("backend", "how"), [("rocksdb", "cut"), ("rocksdb", "empty"), ("lmdb", "empty")])
def test_files_without_their_rows_are_no_new_store(tmp_path: Path, backend: str, how: str) -> None:
    (files,) = filled(tmp_path / "state", backend, "rows")
    if how == "empty":
        empty(files, backend)
    else:  # LMDB's length is checked by its engine
        cut_manifest(files)
    says = "cut short or replaced by empty ones"
    with (
        StoreManager(tmp_path / "state", backend=backend) as stores,
        pytest.raises(StoreCorruptError, match=says) as failure,
    ):
        stores.open("rows")
    begin_anew(tmp_path / "state", backend, "rows", failure.value.remedy)


def test_a_store_that_an_earlier_version_made_is_completed(tmp_path: Path, backend: str) -> None:
    (files,) = filled(tmp_path, backend, "rows")
    with StoreManager(tmp_path, backend=backend) as stores:
        stores.open("rows")._backend.write(Batch([], [IDENTITY]))
    description = files.parent / "store.json"
    content = json.loads(description.read_text())
    for name in ("store_id", "damage", "rebuilding"):
        content.pop(name, None)
    description.write_text(json.dumps(content))
    for _ in range(2):
        with StoreManager(tmp_path, backend=backend) as stores:
            rows = stores.open("rows")
            assert rows.get(b"name") == b"rows"
            assert len(rows) == 1
            identity = json.loads(rows._backend.get(IDENTITY) or b"")
            assert identity["store_id"] == json.loads(description.read_text())["store_id"]
    description.write_text(json.dumps(content))  # an older store.json put back knows its files by their names
    with StoreManager(tmp_path, backend=backend) as stores:
        assert stores.open("rows").get(b"name") == b"rows"
    assert json.loads(description.read_text())["store_id"] == identity["store_id"]


def test_an_earlier_store_is_whole_where_its_completion_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror in RocksDB: what is not flushed is lost with the process."""
    made = StoreFile("rows", "rocksdb", "timestamped", "msgpack", "topic")
    directory = StoreDirectory(tmp_path / "rows", made)
    directory.path.mkdir()
    engine = find_engine("rocksdb")(8 << 20)
    backend = engine.open(directory.generation_path, StoreOptions(changelog=True))
    backend.write(Batch([(b"\x01key", b"row")]))
    backend.flush()
    update = StoreDirectory.update

    def update_and_die(own: StoreDirectory, **changes: object) -> None:
        update(own, **changes)
        shutil.copytree(own.path, tmp_path / "found")

    monkeypatch.setattr(StoreDirectory, "update", update_and_die)
    identify(backend, directory, is_complete=True)
    backend.close()
    found = StoreDirectory(tmp_path / "found", directory.file)
    (found.generation_path / "LOCK").unlink(missing_ok=True)
    backend = engine.open(found.generation_path, StoreOptions(changelog=True))
    identify(backend, found, is_complete=True)
    assert backend.get(b"\x01key") == b"row"
    backend.close()
    engine.close()


def test_an_unknown_way_to_begin_is_refused(tmp_path: Path) -> None:
    says = "on_missing='rebuild': choose 'fail' or 'empty'"
    with StoreManager(tmp_path, backend="memory") as stores, pytest.raises(ConfigError, match=says):
        stores.open("rows", on_missing="rebuild")  # type: ignore[arg-type]
