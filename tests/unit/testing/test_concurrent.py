"""A log of concurrent operations is explained by an order of them, or the first that fits none is named."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.testing import InconsistentHistoryError, Operation, check_history


def read(value: Any, began: float, ended: float) -> Operation:
    return Operation("k", "read", value, began, ended)


def write(value: Any, began: float, ended: float | None) -> Operation:
    return Operation("k", "write", value, began, ended)


SOUND: dict[str, list[Operation]] = {
    "one after the other": [
        read(None, 0, 1),
        write(1, 2, 3),
        read(1, 4, 5),
        write(None, 6, 7),
        read(None, 8, 9),
    ],
    "beside a write both are right": [write(1, 0, 9), read(None, 1, 2), read(1, 3, 4)],
    "writes end in another order": [write(1, 0, 5), write(2, 1, 2), read(1, 6, 7)],
    "a write without an answer was made": [write(1, 0, None), read(None, 1, 2), read(1, 8, 9)],
    "or never": [write(1, 0, None), read(None, 8, 9)],
    "other keys": [write(1, 0, 1), Operation("other", "read", None, 2, 3)],
}
BROKEN: dict[str, list[Operation]] = {
    "stale read": [write(1, 0, 1), read(None, 2, 3)],
    "what was seen is missed later": [write(1, 0, 9), read(1, 1, 2), read(None, 3, 4)],
    "lost update": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "never written": [write(1, 0, 1), read(7, 0, 1)],
    "comes back": [write(1, 0, 1), write(None, 2, 3), read(1, 4, 5)],
    "two clients see two orders": [
        write(1, 0, 9),
        write(2, 0, 9),
        read(1, 10, 11),
        read(2, 12, 13),
    ],
}


@pytest.mark.parametrize("log", SOUND.values(), ids=SOUND)
def test_what_an_order_explains_is_sound(log: list[Operation]) -> None:
    check_history(log)
    check_history(reversed(log))


@pytest.mark.parametrize("log", BROKEN.values(), ids=BROKEN)
def test_what_none_explains_is_named(log: list[Operation]) -> None:
    with pytest.raises(InconsistentHistoryError, match="key 'k' is not linearizable") as caught:
        check_history(log)
    assert caught.value.unexplained in log
    assert str(caught.value.unexplained) in str(caught.value)


def test_a_key_may_have_a_value_before() -> None:
    check_history([read([1], 0, 1)], initial={"k": [1]})
    with pytest.raises(InconsistentHistoryError):
        check_history([read(None, 0, 1)], initial={"k": [1]})


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "write"]), st.integers(0, 3), st.integers(0, 5), st.integers(0, 5)
        ),
        max_size=40,
    )
)
def test_a_register_is_linearizable_and_a_stale_answer_is_not(
    drawn: list[tuple[Literal["read", "write"], int, int, int]],
) -> None:
    value: int | None = None
    log = []
    for at, (kind, given_value, before, after) in enumerate(drawn):
        value = given_value if kind == "write" else value
        log.append(Operation("k", kind, value, at - before, at + after + 0.5))
    check_history(log)
    end = len(drawn) + 10.0
    with pytest.raises(InconsistentHistoryError):
        check_history([*log, write(99, end, end + 1), read(value, end + 2, end + 3)])


def test_a_long_log_is_checked_soon() -> None:
    log = [
        operation
        for at in range(500)
        for operation in (write(at, at, at + 3.5), read(at, at + 0.5, at + 3.9))
    ]
    check_history(log)


@pytest.mark.parametrize(
    ("kind", "began", "ended", "said"),
    [
        ("delete", 0, 1, "kind='delete': give 'read' or 'write'; a deletion writes None"),
        ("wrte", 0, 1, "kind='wrte': give 'read' or 'write'"),
        (
            "write",
            2,
            1,
            "began=2, ended=1: an operation ends after it began, and both are times of one clock",
        ),
        ("read", float("nan"), 1, "began=nan, ended=1: an operation ends after it began"),
    ],
)
def test_what_is_no_operation_is_refused(kind: Any, began: float, ended: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Operation("k", kind, None, began, ended)
