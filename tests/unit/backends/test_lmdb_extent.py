"""A data file of LMDB that is shorter than what it holds is an error at open, not the end of the process."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import lmdb
import pytest

from statestore.backends import Batch, StoreOptions, find_engine
from statestore.backends.lmdb import extent
from statestore.errors import StoreCorruptError, StoreMissingError

PAGE = 4096


def open_store(directory: Path) -> object:
    return find_engine("lmdb")(1 << 20).open(directory, StoreOptions())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The data file of a closed store, with values that have pages of their own."""
    with find_engine("lmdb")(1 << 20).open(tmp_path / "store", StoreOptions()) as store:
        store.write(Batch([(b"%04d" % number, b"x" * (number % 3 * 2500)) for number in range(600)]))
    return tmp_path / "store" / "000001" / "data.mdb"


@pytest.mark.parametrize(
    "size", [1, 100, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 1, -1, -PAGE, -3 * PAGE]
)
def test_a_file_cut_short_is_corrupt(file: Path, size: int) -> None:
    os.truncate(file, size if size > 0 else file.stat().st_size + size)
    with pytest.raises(
        StoreCorruptError, match=r"data\.mdb (has only|was cut short to) \d+.*restore"
    ) as caught:
        open_store(file.parents[1])
    assert caught.value.path == file.parent


def test_an_empty_file_is_missing(file: Path) -> None:
    os.truncate(file, 0)
    with pytest.raises(StoreMissingError):
        open_store(file.parents[1])


def test_a_meta_page_that_names_pages_beyond_the_file_is_corrupt(file: Path) -> None:
    size = file.stat().st_size
    at = 16 + 24 + 2 * 48  # of the last page's number
    with file.open("r+b") as content:
        for meta in (0, PAGE):
            content.seek(meta + at - 8)  # the root of the rows
            content.write(struct.pack("=2Q", size // PAGE + 5, size // PAGE + 10))
    with pytest.raises(StoreCorruptError, match="cut short to"):
        open_store(file.parents[1])


def test_a_file_is_whole_that_lacks_free_pages_only(tmp_path: Path) -> None:
    """LMDB leaves such files behind, and a kill would."""
    chance, short = random.Random(1), 0
    for attempt in range(20):
        home = tmp_path / str(attempt)
        with lmdb.open(str(home), map_size=1 << 28, sync=False) as environment:
            for _ in range(20):
                with environment.begin(write=True) as changes:
                    for _ in range(chance.choice((10, 200, 1000))):
                        key = b"%04d" % chance.randrange(1000)
                        if chance.random() < 0.5:
                            changes.delete(key)
                        else:
                            changes.put(key, b"x" * chance.choice((10, 500, 3000, 9000)))
                    for number in range(1000 if chance.random() < 0.3 else 0):
                        changes.delete(b"%04d" % number)
                assert extent.lacking(home / "data.mdb") is None
                pages = environment.info()["last_pgno"] + 1
                short += (home / "data.mdb").stat().st_size < pages * PAGE
    assert short


def test_what_is_none_of_lmdbs_is_left_to_lmdb(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(bytes(3 * PAGE))
    assert extent.lacking(tmp_path / "data.mdb") is None
