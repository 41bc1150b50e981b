"""Each candidate does what the workloads ask of it: otherwise its speed would mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from statestore.bench.candidates import Candidate, Kind, Opening, backend
from statestore.bench.options import BenchOptions
from statestore.bench.references import REFERENCES, installed_references
from statestore.errors import ConfigError

KINDS = [backend(name) for name in ("rocksdb", "lmdb", "memory")]
KINDS += [REFERENCES[name] for name in installed_references() if "records" in REFERENCES[name].stores]
PAIRS = [(b"%08d" % number, b"value %d" % number) for number in range(50)]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def opened(kind: Kind, tmp_path: Path) -> Iterator[Callable[..., Candidate]]:
    """Open the candidate; what was open before is closed first."""
    last: list[Candidate] = []
    (tmp_path / "home").mkdir()

    def open_(durable: bool = False) -> Candidate:
        while last:
            last.pop().close()
        last.append(kind.open(Opening(tmp_path / "home", durable)))
        return last[0]

    yield open_
    while last:
        last.pop().close()


def test_what_is_written_is_read_deleted_and_there_after_a_reopen(
    kind: Kind, opened: Callable[..., Candidate]
) -> None:
    candidate = opened()
    candidate.write(PAIRS)
    candidate.put(b"00000003", b"other")
    candidate.delete(b"00000004")
    candidate.delete(b"absent")
    for _ in range(2):
        assert candidate.get(b"00000002") == b"value 2"
        assert candidate.get(b"00000003") == b"other"
        assert candidate.get(b"00000004") is None
        assert candidate.get(b"00000001x") is None
        assert candidate.scan(None, None) == 49
        if kind.abilities.ordered:
            assert candidate.scan(b"00000040", 5) == 5
            assert candidate.scan(b"00000040", 100) == 10
        candidate.flush()
        candidate.compact()
        if not kind.abilities.files:
            return
        candidate = opened(durable=True)
    candidate.put(b"00000005", b"durable")
    candidate.delete(b"00000006")
    candidate.write([(b"00000007", b"durable")])
    assert [candidate.get(b"0000000%d" % number) for number in (5, 6, 7)] == [b"durable", None, b"durable"]


def test_a_snapshot_is_held_under_writes(kind: Kind, opened: Callable[..., Candidate]) -> None:
    candidate = opened()
    candidate.write(PAIRS)
    if not kind.abilities.snapshots:
        with pytest.raises(NotImplementedError):
            candidate.snapshot()
        return
    held = candidate.snapshot()
    candidate.write(PAIRS)
    candidate.put(b"00000003", b"other")
    assert candidate.get(b"00000003") == b"other"
    held.close()


def names(**options: str) -> list[str]:
    return [one.name for one in BenchOptions(**options).candidates()]  # type: ignore[arg-type]


def test_a_backend_is_followed_by_the_reference_on_the_same_library() -> None:
    found = names(backends="lmdb,memory")
    assert found[:4] == ["lmdb", "py-lmdb", "memory", "dict"]
    assert "rocksdict" not in found
    assert {"rocksdb", "lmdb", "memory", "sqlite3"} <= set(names())
    assert names(backends="memory", references="none") == ["memory"]
    assert names(backends="memory", references="rocksdict") == ["memory", "rocksdict"]


def test_what_only_reads_topics_is_measured_where_one_is_restored() -> None:
    assert "discard" in names(workload="restore,read")
    assert "discard" not in names(workload="read,window,entity")


def test_a_name_that_nothing_has_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'redis'.*rocksdb"):
        names(backends="redis")
    with pytest.raises(ConfigError, match=r"--references berkeley: .*sqlite3"):
        names(references="berkeley")
    for several in ("all,sqlite3", "none, dict"):
        with pytest.raises(ConfigError, match=f"--references {several}: all and none are given alone"):
            names(references=several)


def test_a_reference_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statestore.bench.references.find_spec", lambda _: None)
    assert installed_references() == ["dict", "discard"]
    with pytest.raises(ConfigError, match="--references plyvel: it is not installed here"):
        names(references="plyvel")
