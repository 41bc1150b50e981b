"""Many stores in a process that may have few files open."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from statestore.backends import descriptors
from statestore.backends.descriptors import Descriptors
from statestore.errors import StoreUnavailableError

MANY = """
import resource, sys
from pathlib import Path
from statestore.backends import StoreOptions, find_engine
from statestore.backends.contract import Batch

backend, directory, soft, hard, count = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
engine = find_engine(backend)(16 << 20)
stores = []
try:
    for number in range(count):
        store = engine.open(directory / str(number), StoreOptions(changelog=True))
        stores.append(store)
        store.write(Batch([(b"a", b"b")]))
        store.flush()
except Exception as error:
    print(type(error).__name__, error)
    with open("/dev/null"):  # some are left for the program
        pass
print(len(stores), [store.get(b"a") for store in stores] == [b"b"] * len(stores))
for store in stores:
    store.close()
"""


def many(backend: str, directory: Path, soft: int, hard: int, count: int) -> list[str]:
    command = [sys.executable, "-c", MANY, backend, str(directory), str(soft), str(hard), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_the_soft_limit_is_raised_for_stores(backend: str, tmp_path: Path) -> None:
    assert many(backend, tmp_path, 64, 4096, 30) == ["30 True"]


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_too_many_for_the_hard_limit_are_refused_in_time(backend: str, tmp_path: Path) -> None:
    error, opened = many(backend, tmp_path, 64, 128, 60)
    assert error.startswith(f"StoreUnavailableError {tmp_path}")
    assert "may have 128" in error
    assert "ulimit -Hn" in error
    count, intact = opened.split()
    assert 10 <= int(count) < 60
    assert intact == "True"


def test_what_a_store_gets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits = {"soft": 1024, "hard": 1 << 19}
    monkeypatch.setattr(descriptors, "_in_use", lambda: 50)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["soft"], limits["hard"]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.update(soft=pair[0], hard=pair[1]))
    stores = [type("Store", (), {})() for _ in range(30)]
    enough = Descriptors("rocksdb", 8)
    for store in stores[:10]:
        assert enough.take(tmp_path, 256) == 256
        enough.given(store, 256)
    assert 10 * 264 < limits["soft"] < 3000
    limits.update(soft=1024, hard=1024)
    short = Descriptors("rocksdb", 8)
    shares = []
    for store in stores:
        shares.append(short.take(tmp_path, 256))
        short.given(store, shares[-1])
    assert shares[0] == 256  # there is enough for one
    assert shares[-1] == 20
    assert shares == sorted(shares, reverse=True)
    assert Descriptors("rocksdb", 8).take(tmp_path, -1) == -1
    monkeypatch.setattr(descriptors, "_in_use", lambda: 1010)
    with pytest.raises(StoreUnavailableError, match="has 1,010 files open and may have 1,024"):
        short.take(tmp_path, 256)
