"""Whose turn it is, what a turn's clock sees, and what is seen of a process from outside."""

from __future__ import annotations

import gc
import sys
import tempfile
from typing import Any

import pytest

from statestore.bench.processes import WatchedProcess
from statestore.bench.turns import Work, in_pairs, in_turns, seconds_in_pairs


def test_every_second_round_is_backwards() -> None:
    assert list(in_turns("AB", 3)) == [(0, "A"), (0, "B"), (1, "B"), (1, "A"), (2, "A"), (2, "B")]
    assert [side for _, side in in_turns("ABC", 2)] == list("ABCCBA")
    assert list(in_turns("AB", 0)) == []


def test_pairs_are_of_the_same_round() -> None:
    done: list[str] = []

    def side(name: str) -> str:
        done.append(name)
        return f"{name}{done.count(name)}"

    assert in_pairs(lambda: side("a"), lambda: side("b"), 3) == [("a1", "b1"), ("a2", "b2"), ("a3", "b3")]
    assert "".join(done) == "abbaab"


def noted(steps: list[Any], name: str) -> Work:
    """Return work that notes its steps, and whether garbage was collected meanwhile."""

    def prepare() -> str:
        steps.append(f"prepare {name}")
        return "state"

    return Work(
        lambda state: steps.append((name, state, gc.isenabled())),
        prepare,
        lambda state: steps.append(f"finish {name} {state}"),
    )


def test_one_turn_of_each_comes_first_and_does_not_count() -> None:
    steps: list[Any] = []
    found = seconds_in_pairs(noted(steps, "a"), noted(steps, "b"), 2)
    assert [len(pair) for pair in found] == [2, 2]
    assert all(seconds >= 0 for pair in found for seconds in pair)
    once = {name: [f"prepare {name}", (name, "state", False), f"finish {name} state"] for name in "ab"}
    assert steps == [step for name in "baabba" for step in once[name]]
    assert gc.isenabled()


def test_work_that_fails_is_finished_and_leaves_the_collector_on() -> None:
    finished: list[object] = []
    with pytest.raises(ZeroDivisionError):
        Work(lambda _: 1 // 0, lambda: "state", finished.append).seconds()
    assert finished == ["state"]
    assert gc.isenabled()


# A process that is watched

GROWS = """
import sys, time
taken = bytearray(64 << 20)
print("large", flush=True)
sys.stdin.readline()
del taken
print("small", flush=True)
sys.stdin.read()
print("the last", end="", file=sys.stderr)
sys.exit(3)
"""


def test_a_process_is_seen_from_outside_while_it_is_waited_for() -> None:
    with tempfile.TemporaryFile() as complaints:
        with WatchedProcess([sys.executable, "-c", GROWS], complaints) as process:
            if process.look() is None:
                pytest.skip("this system does not tell RssAnon")
            assert process.line() == b"large"
            assert process.look() is not None
            assert process.peak is not None
            assert process.peak > 64 << 20
            process.send(b"\n")
            assert process.line() == b"small"
            assert process.peak > 64 << 20
            process.watch()
            assert process.peak < 64 << 20
            process.end_input()
            assert process.line() is None
            assert process.wait() == 3
        complaints.seek(0)
        assert complaints.read() == b"the last"


def test_leaving_ends_a_process_that_goes_on() -> None:
    command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(999)"]
    with WatchedProcess(command) as process:
        assert process.line() == b"1"
    assert process.wait() < 0
