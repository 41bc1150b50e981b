"""Ranges of keys: native and in Python they are the same values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.core import pure

native = pytest.importorskip("statestore._native")

keys = st.binary(max_size=3) | st.sampled_from([b"\xff", b"\xff\xff", b"a\xff"])
bounds = st.none() | keys
KINDS: list[Any] = [native.KeyRange, pure.KeyRange]


class Bytes(bytes):
    """A subclass, of which a copy is kept."""


def holds(one: Any, key: bytes) -> bool:
    return (one.start is None or key >= one.start) and (one.stop is None or key < one.stop)


@pytest.mark.parametrize("kind", KINDS)
@given(start=bounds, stop=bounds, prefix=bounds, key=keys)
def test_a_range_holds_the_keys_between_its_bounds_that_begin_with_its_prefix(
    kind: Any, start: bytes | None, stop: bytes | None, prefix: bytes | None, key: bytes
) -> None:
    expected = (start is None or key >= start) and (stop is None or key < stop)
    assert holds(kind(start, stop, prefix), key) == (expected and key.startswith(prefix or b""))


@pytest.mark.parametrize("kind", KINDS)
@given(start=bounds, stop=bounds, key=keys, namespace=keys, other=keys)
def test_a_range_within_a_namespace_holds_its_keys_there_and_no_others(
    kind: Any, start: bytes | None, stop: bytes | None, key: bytes, namespace: bytes, other: bytes
) -> None:
    inner = kind(start, stop, namespace=namespace)
    assert holds(inner, namespace + key) == holds(kind(start, stop), key)
    assert other.startswith(namespace) or not holds(inner, other)


@given(start=bounds, stop=bounds, prefix=bounds, namespace=keys)
def test_both_say_the_same(
    start: bytes | None, stop: bytes | None, prefix: bytes | None, namespace: bytes
) -> None:
    for more in ((), (namespace,)):
        ours, twin = (kind(start, stop, prefix, *more) for kind in KINDS)
        assert (ours.start, ours.stop, repr(ours)) == (twin.start, twin.stop, repr(twin))


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_is_a_value(kind: Any) -> None:
    assert kind(b"a", b"b") == kind(prefix=b"a") != kind(b"a")
    assert kind() != (None, None)
    assert len({kind(b"a", b"b"), kind(prefix=b"a"), kind()}) == 2
    assert [type(bound) for bound in (kind(Bytes(b"a")).start, kind(prefix=Bytes(b"a")).start)] == [bytes] * 2
    with pytest.raises(AttributeError):
        kind().start = b"a"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["start", "stop", "prefix"])
@pytest.mark.parametrize("bound", ["a", 7, bytearray(b"a")])
def test_a_bound_of_another_type_is_refused_by_its_name(kind: Any, name: str, bound: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be bytes, not {type(bound).__name__}"):
        kind(**{name: bound})
