"""Directories that cannot be opened: one error each, with the path and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from statestore.backends import StoreOptions, find_engine
from statestore.backends.contract import Backend, Batch, KeyRange
from statestore.errors import (
    StoreCorruptError,
    StoreFormatError,
    StoreMissingError,
    StoreUnavailableError,
)

Opener = Callable[..., Backend]

BUDGET = 16 << 20


def data_file(directory: Path) -> Path:
    """Return the one file that holds the data of a closed store."""
    (file,) = [*directory.rglob("*.sst"), *directory.rglob("data.mdb")]
    return file


@pytest.fixture
def closed(open_store: Opener, directory: Path) -> Path:
    """The directory of a closed store with some content."""
    with open_store() as store:
        store.write(Batch([(b"%04d" % number, b"x" * 400) for number in range(2000)]))
        store.flush()
    return directory


def test_the_directory_of_somebody_else_is_left_alone(open_store: Opener, directory: Path) -> None:
    directory.mkdir()
    (directory / "letter.txt").write_text("Dear")
    with pytest.raises(StoreCorruptError, match=r"letter\.txt.*another one") as caught:
        open_store()
    assert caught.value.path == directory
    assert [file.name for file in directory.iterdir()] == ["letter.txt"]


def test_an_empty_directory_is_a_new_store(open_store: Opener, directory: Path) -> None:
    directory.mkdir()
    assert list(open_store().scan()) == []


def test_a_file_where_the_directory_should_be(open_store: Opener, directory: Path) -> None:
    directory.write_text("Dear")
    with pytest.raises(StoreUnavailableError, match="move it away") as caught:
        open_store()
    assert caught.value.path == directory
    with pytest.raises(StoreUnavailableError, match="move it away"):
        open_store(directory / "below")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Be nobody for a while where the tests run as root, to whom nothing is forbidden."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_no_permission(open_store: Opener, closed: Path) -> None:
    closed.chmod(0o500)
    try:
        with (
            without_privileges(),
            pytest.raises(StoreUnavailableError, match="give this process the right") as caught,
        ):
            open_store()
    finally:
        closed.chmod(0o700)
    assert str(closed) in str(caught.value)


def test_an_immutable_place(open_store: Opener) -> None:
    with pytest.raises(StoreUnavailableError, match="/proc/statestore"):
        open_store(Path("/proc/statestore"))


@pytest.mark.parametrize("content", [b"Dear", b"\x00" * 16384])
def test_a_data_file_with_other_content(open_store: Opener, closed: Path, content: bytes) -> None:
    data_file(closed).write_bytes(content)
    with pytest.raises(StoreCorruptError, match="restore the directory from a backup"):
        open_store()


def test_a_missing_data_file(open_store: Opener, closed: Path) -> None:
    data_file(closed).unlink()
    with pytest.raises(StoreMissingError, match="restore the directory from a backup"):
        open_store()


def test_a_newer_format(open_store: Opener, closed: Path, name: str) -> None:
    file = data_file(closed)
    with file.open("r+b") as content:
        # RocksDB: the format version is 12 bytes before the end. LMDB: in both meta pages, after the magic.
        for place in (file.stat().st_size - 12,) if name == "rocksdb" else (20, 4096 + 20):
            content.seek(place)
            content.write((99).to_bytes(4, sys.byteorder))
    with pytest.raises(StoreFormatError, match="install a newer"):
        open_store()


def test_another_process_has_it_open(open_store: Opener, closed: Path, name: str) -> None:
    store = open_store()
    program = (
        "import sys; from pathlib import Path; from statestore.backends import StoreOptions, find_engine\n"
        "from statestore.errors import StoreUnavailableError\n"
        "try: find_engine(sys.argv[1])(1 << 20).open(Path(sys.argv[2]), StoreOptions(changelog=True))\n"
        "except StoreUnavailableError as error: print(error)"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, name, str(closed)],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert str(closed) in ended.stdout
    assert "open already" in ended.stdout
    assert store.get(b"0000") == b"x" * 400


def test_a_damaged_block_in_the_middle_ends_no_scan_early(open_store: Opener, closed: Path) -> None:
    file = data_file(closed)
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2 // 4096 * 4096)
        content.write(b"\xff" * 4096)
    store = open_store()
    for reverse in (False, True):
        pairs = store.scan(reverse=reverse)
        with pytest.raises(StoreCorruptError, match="scanning: ") as caught:
            list(pairs)
        assert caught.value.path == closed
    with pytest.raises(StoreCorruptError, match="scanning: "), store.snapshot() as snapshot:
        list(snapshot.scan())
    assert store.get(b"0000") == b"x" * 400
    assert len(list(store.scan(KeyRange(stop=b"0010")))) == 10


def test_damage_is_reported_by_point_reads(open_store: Opener, closed: Path) -> None:
    file = data_file(closed)
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2 // 4096 * 4096)
        content.write(b"\xff" * 4096)
    store = open_store()
    keys = [b"%04d" % number for number in range(2000)]
    with pytest.raises(StoreCorruptError, match="reading: "):
        store.get_many(keys)
    with pytest.raises(StoreCorruptError, match="reading: "):
        for key in keys:
            store.get(key)
    with pytest.raises(StoreCorruptError, match="reading: "), store.snapshot() as snapshot:
        snapshot.get_many(keys)


@pytest.mark.parametrize("other", [".DS_Store", "lost+found", ".nfs0001"])
def test_what_is_nobodys_is_not_in_the_way(open_store: Opener, closed: Path, other: str) -> None:
    (closed / other).mkdir()
    assert open_store().get(b"0000") == b"x" * 400


@pytest.mark.parametrize("changelog", [True, False])
@pytest.mark.parametrize("doing", ["remove", "replace", "empty"])
def test_files_that_go_under_an_open_store_are_noticed(
    open_store: Opener, directory: Path, changelog: bool, doing: str
) -> None:
    store = open_store(changelog=changelog)
    store.write(Batch([(b"a", b"1")]))
    store.flush()
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    if doing == "empty":
        for entry in directory.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    else:
        shutil.rmtree(directory)
    if doing == "replace":
        copy.rename(directory)
    with pytest.raises(StoreMissingError, match="restore"):
        store.flush()
    if not changelog:
        with pytest.raises(StoreMissingError):
            store.write(Batch([(b"b", b"2")]))
    with pytest.raises(StoreMissingError):
        store.close()
    store.close()
    if doing == "replace":  # the remedy: a backup in its place
        assert open_store().get(b"a") == b"1"


def test_a_removed_store_can_be_destroyed(open_store: Opener, directory: Path) -> None:
    store = open_store()
    store.write(Batch([(b"a", b"1")]))
    shutil.rmtree(directory)
    store.destroy()
    assert list(open_store().scan()) == []


def test_the_owner_learns_of_damage_that_a_reader_meets(directory: Path) -> None:
    """Of RocksDB: LMDB has no checksums, and a damaged page may even end the process."""
    told: list[StoreUnavailableError] = []

    def damaged(error: StoreUnavailableError) -> StoreUnavailableError:
        told.append(error)
        return type(error)(error.path, error.cause, "call the owner")

    kind = find_engine("rocksdb")
    with kind(BUDGET).open(directory, StoreOptions(changelog=True, damaged=damaged)) as store:
        store.write(Batch([(b"%04d" % number, b"x" * 400) for number in range(2000)]))
        store.flush()
    file = data_file(directory)
    content = bytearray(file.read_bytes())
    start, stop = len(content) // 4, len(content) // 2
    content[start:stop] = bytes(stop - start)
    file.write_bytes(content)
    options = kind.options_type()
    reads: list[Callable[[Backend], object]] = [
        lambda store: [store.get(b"%04d" % number) for number in range(2000)],
        lambda store: store.get_many([b"%04d" % number for number in range(2000)]),
        lambda store: list(store.scan()),
        lambda store: list(store.scan(reverse=True)),
        lambda store: [store.snapshot().get(b"%04d" % number) for number in range(2000)],
        lambda store: store.snapshot().get_many([b"%04d" % number for number in range(2000)]),
        lambda store: list(store.snapshot().scan()),
    ]
    for read in reads:
        told.clear()
        with kind(BUDGET, options).open(directory, StoreOptions(changelog=True, damaged=damaged)) as store:
            with pytest.raises(StoreCorruptError, match="call the owner"):
                read(store)
            assert told
            assert "restore the directory" in told[0].remedy
