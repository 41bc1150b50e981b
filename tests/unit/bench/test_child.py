"""What the measuring process tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from statestore.bench import child
from statestore.bench.messages import Done, Ended, Job, Message
from statestore.bench.results import Sample


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    messages: list[Message] = []
    monkeypatch.setattr(child, "tell", messages.append)
    return messages


def job(directory: Path, candidate: str, *workloads: str, is_reference: bool = False) -> Job:
    return Job(
        candidate=candidate,
        is_reference=is_reference,
        directory=str(directory),
        workloads=list(workloads),
        keys=500,
        key_size=16,
        value_size="84",
        threads=[1],
        seconds=0.01,
        rate=None,
        durable=False,
        seed=1,
        round=0,
    )


def samples(told: list[Message]) -> dict[str, Sample]:
    return {one.sample.workload: one.sample for one in told if isinstance(one, Done)}


def test_what_is_given_is_what_was_written_by_operations(told: list[Message], tmp_path: Path) -> None:
    child.Session(job(tmp_path / "home", "lmdb", "load-random", "update", "read-hot")).run()
    found = samples(told)
    assert found["load-random"].given == 500 * 100
    assert (found["update"].given or 0) >= 100 * found["update"].operations > 0  # the warm-up writes, too
    assert found["read-hot"].given == 0
    turn = told[-1]
    assert isinstance(turn, Ended)
    assert turn.turn.store == "records"
    assert (turn.turn.compacted or 0) > 0


def test_without_files_nothing_is_written(told: list[Message], tmp_path: Path) -> None:
    child.Session(job(tmp_path / "home", "memory", "load-random")).run()
    (sample,) = samples(told).values()
    assert sample.written is None


def test_a_store_that_cannot_be_filled_is_told_with_its_workload(
    told: list[Message], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statestore.bench.windows.OwnWindows.write", lambda self, rows: None)
    session = child.Session(job(tmp_path / "home", "memory", "window-fetch"))
    with pytest.raises(RuntimeError, match="windows of a key were written, and 0 are there"):
        session.run()
    assert session.workload == "window-fetch"
