"""No space left: one error, nothing of the batch, and a way on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from statestore import StoreFullError
from statestore.backends import Batch, StoreOptions, find_engine

PROGRAM = """
import os, resource, signal, sys
from pathlib import Path
from statestore.backends import StoreOptions, find_engine
from statestore.backends.contract import Batch
from statestore.errors import StoreFullError

name, directory, changelog = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "True"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that write() fails, as it does on a full disk
kind = find_engine(name)
options = kind.options_type(**({"max_write_buffer": 65536} if name == "rocksdb" else {}))
store = kind(16 << 20, options).open(directory, StoreOptions(changelog=changelog))
store.write(Batch([(b"first", b"1")]))
store.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
written = 0
try:
    for number in range(1, 200):
        batch = Batch([(b"n", b"%d" % number), *((os.urandom(8), os.urandom(400)) for _ in range(20))])
        store.write(batch)
        written = number
except StoreFullError as error:
    assert str(directory) in str(error), error
    assert "free space" in error.remedy, error
else:
    sys.exit("never full")
assert int(store.get(b"n") or 0) == written, "something of the batch is there"
assert len(list(store.scan())) == 1 + (written > 0) + 20 * written
for call in (store.flush, store.compact):
    try:
        call()
    except StoreFullError:
        pass

resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if name == "rocksdb":  # which has to be opened again, as the error says
    try:
        store.close()
        closed_well = True
    except StoreFullError:
        closed_well = False
    # What is in a write-ahead log needs no flush; without one the topic has the records.
    assert closed_well is not changelog
    store = kind(16 << 20, options).open(directory, StoreOptions(changelog=changelog))
store.write(batch)
store.close()
store = kind(16 << 20, options).open(directory, StoreOptions(changelog=changelog))
assert store.get(b"first") == b"1"
assert store.get(b"n") == batch.puts[0][1]
expected = 2 + 20 * (1 if changelog and name == "rocksdb" else written + 1)
assert len(list(store.scan())) == expected, (len(list(store.scan())), expected)
store.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("changelog", [False, True])
def test_a_full_disk(name: str, directory: Path, changelog: bool) -> None:
    arguments = [name, str(directory), str(changelog)]
    ended = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


class FullDatabase:
    """RocksDB whose disk is full, and then its files stay in their error."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.error = "IO error: No space left on device: While appending to file: 000004.log"

    def write(self, *_: object) -> None:
        raise Exception(self.error)

    def close(self) -> None:
        self._database.close()
        raise Exception(self.error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def test_a_file_that_stays_in_its_error_is_a_full_disk_still(directory: Path) -> None:
    """What RocksDB says depends on which file it comes to first: whatever it is, closing loses nothing."""
    engine = find_engine("rocksdb")(16 << 20, None)
    store: Any = engine.open(directory, StoreOptions())
    store.write(Batch([(b"k", b"1")]))
    store._database = FullDatabase(store._database)
    with pytest.raises(StoreFullError):
        store.write(Batch([(b"k", b"2")]))
    store._database.error = "IO error: Writer has previous error."
    with pytest.raises(
        StoreFullError, match="free space on the disk or raise the quota, then close the store"
    ):
        store.write(Batch([(b"k", b"2")]))
    store.close()
    again = engine.open(directory, StoreOptions())
    assert again.get(b"k") == b"1"
    again.close()
