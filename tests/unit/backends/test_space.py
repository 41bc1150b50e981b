"""No space left: one error, nothing of the batch, and a way on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    except StoreFullError:
        pass
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
