"""Makes ``tests/contract/golden/format1``: data directories of format 1, to be read for ever.

``python tests/contract/golden/make.py`` writes them anew; it is there to say what they are, and to be copied
for the next format. Those of a format that was released are never made again: the test reads the files that
old versions wrote. ``content.json`` says what must be found in them.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from statestore import StoreManager
from statestore.backends import StoreOptions, find_engine
from statestore.core import WriteRun
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.directory import DataDirectory, StoreFile
from statestore.storage.layout import DATA, Position

GOLDEN = Path(__file__).parent / "format1"
BUDGET = 64 << 20


def content() -> dict[str, Any]:
    """Return what the directories hold; bytes in hex, and a bound value as ``[timestamp ms, payload]``."""
    noise = random.Random(1)
    odd: list[tuple[bytes, bytes]] = [
        (b"", b"the empty key"),
        (b"empty value", b""),
        (b"\x00", b"\x00"),
        (b"\xff\xff", b"\xff"),
        (b"k" * 510, noise.randbytes(5000)),
    ]
    many = [(b"key-%04d" % number, b"value %d" % (number * number)) for number in range(300)]
    pairs = [(key.hex(), value.hex()) for key, value in odd + many]
    stamps = [-1, 0, 1_700_000_000_000, 253_402_300_799_999]
    return {
        "sessions": dict(pairs),
        "orders": {key: [stamps[n % len(stamps)], value] for n, (key, value) in enumerate(pairs)},
        "positions": {"0": [4211, 3, 1_700_000_000_123], "1": [0, -1, 0], "2": [1 << 40, 0, 1]},
    }


def make(directory: Path, backend: str, wanted: dict[str, Any], golden: Path) -> None:
    """Fill ``directory`` in the ways that a manager takes, and copy it to ``golden`` as ``kill -9`` would."""
    make_bound(directory, backend, wanted)
    with StoreManager(directory, backend=backend) as manager:
        sessions = manager.open("sessions")
        pairs = [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in wanted["sessions"].items()]
        for key, value in pairs[::2]:
            sessions[key] = value
        sessions[b"gone"] = b"1"
        sessions.flush()
        for key, value in pairs[1::2]:  # in RocksDB these are in the write-ahead log only
            sessions[key] = value
        del sessions[b"gone"]
        shutil.copytree(directory, golden, ignore=shutil.ignore_patterns("LOG", "LOG.old.*", "lock.mdb"))


def make_bound(directory: Path, backend: str, wanted: dict[str, Any]) -> None:
    """Make the store of the topic ``orders`` as a binding would, without Kafka."""
    data = DataDirectory(directory)
    place = data.store("orders_store", StoreFile("orders_Store", backend, "timestamped", "bytes", "orders"))
    kind = find_engine(backend)
    engine = kind(BUDGET, None)
    opened = engine.open(place.generation_path, StoreOptions(changelog=True))
    store = ChangelogStore("orders_Store", opened, kind.max_key_size)
    first, second = WriteRun(DATA), WriteRun(DATA)
    for number, (key, (stamp, value)) in enumerate(wanted["orders"].items()):
        (second if number % 2 else first).write(bytes.fromhex(key), bytes.fromhex(value), stamp)
    first.write(b"gone", b"", 0)
    second.write(b"gone", None, 0)
    ends = {int(number): Position(*position) for number, position in wanted["positions"].items()}
    store.apply(first, dict.fromkeys(ends, Position(0)))
    store.flush()
    store.apply(second, ends)
    store.flush()
    place.update(topic_id="AAAAAAAAAAAAAAAAAAAAAQ", cluster_id="golden", partitions=3)
    data.remember("orders_store")
    store.close()
    engine.close()
    data.close()


def main() -> None:
    shutil.rmtree(GOLDEN, ignore_errors=True)
    GOLDEN.mkdir()
    wanted = content()
    (GOLDEN / "content.json").write_text(json.dumps(wanted, indent=1) + "\n")
    for backend in ("rocksdb", "lmdb"):
        with tempfile.TemporaryDirectory() as scratch:
            make(Path(scratch) / "state", backend, wanted, GOLDEN / backend)


if __name__ == "__main__":
    main()
