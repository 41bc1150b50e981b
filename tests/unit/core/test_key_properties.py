"""The key codec by property: order, round trip, prefixes, canonical bytes, and both implementations alike."""

from __future__ import annotations

from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from statestore.errors import DecodeError, EncodeError

# The machines of CI stall now and then; a stall is no defect of a codec.
UNHURRIED = settings(deadline=None)

# Every code point but the surrogates; st.text() would first build its table of Unicode categories (2 s).
CHARACTERS = st.integers(0, 0x10F7FF).map(lambda point: chr(point if point < 0xD800 else point + 0x800))
# Few distinct letters, the two that escaping is about among them, so that near misses are common.
TEXTS = st.one_of(
    st.lists(st.sampled_from("\0\x01aÿ\U0001f600"), max_size=4).map("".join),
    st.lists(CHARACTERS, max_size=20).map("".join),
)
BLOBS = st.one_of(
    st.lists(st.sampled_from([0, 1, 0x61, 0xFE, 0xFF]), max_size=4).map(bytes), st.binary(max_size=20)
)
INTS = st.one_of(
    st.integers(-2, 2), st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), 2**63 - 1, 255, 256])
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": INTS,
    "str": TEXTS,
    "bytes": BLOBS,
    "uuid": st.uuids(),
    "datetime": st.datetimes(timezones=st.just(UTC)),
    "date": st.dates(),
}
# Wrong in every way a caller can be wrong, beside some that fit.
ANYTHING = st.one_of(
    *VALUES.values(),
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.datetimes(),
    st.sampled_from(["\ud800", "a\udfff"]),
)
KINDS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4)


def tuples(kinds: list[str]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*(VALUES[kind] for kind in kinds))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[str], tuple[Any, ...], tuple[Any, ...]]:
    """Two tuples of one type list, often sharing their first components."""
    kinds = draw(KINDS)
    left = draw(tuples(kinds))
    right = draw(tuples(kinds))
    shared = draw(st.integers(0, len(kinds)))
    return kinds, left, left[:shared] + right[shared:]


@UNHURRIED
@given(pair=pairs())
@example(pair=(["str", "str"], ("a", "\0b"), ("a\0", "b")))
@example(pair=(["str", "str"], ("", "a"), ("a", "")))
@example(pair=(["bytes", "int"], (b"a", 0), (b"a\0", -(2**63))))
@example(pair=(["bytes", "bytes"], (b"a", b"\xff"), (b"a\0", b"")))
def test_byte_order_is_value_order_and_no_two_tuples_meet(
    core: ModuleType, pair: tuple[list[str], tuple[Any, ...], tuple[Any, ...]]
) -> None:
    kinds, left, right = pair
    codec = core.KeyCodec(kinds)
    left_key, right_key = codec.encode(left), codec.encode(right)
    assert (left_key < right_key) == (left < right)
    assert (left_key == right_key) == (left == right)


@UNHURRIED
@given(st.data())
def test_round_trip(core: ModuleType, data: st.DataObject) -> None:
    kinds = data.draw(KINDS)
    values = data.draw(tuples(kinds))
    codec = core.KeyCodec(kinds)
    decoded = codec.decode(codec.encode(values))
    assert decoded == values
    assert [type(value) for value in decoded] == [type(value) for value in values]


@UNHURRIED
@given(pair=pairs(), length=st.integers(0, 3))
@example(pair=(["str", "str", "int"], ("a", "b", 0), ("a", "bc", 0)), length=2)
@example(pair=(["bytes", "bytes"], (b"a", b""), (b"a\0", b"")), length=1)
def test_a_prefix_finds_exactly_the_keys_with_these_values(
    core: ModuleType, pair: tuple[list[str], tuple[Any, ...], tuple[Any, ...]], length: int
) -> None:
    kinds, left, right = pair
    length = min(length, len(kinds) - 1)
    codec = core.KeyCodec(kinds)
    prefix = codec.encode_prefix(left[:length])
    assert codec.encode(right).startswith(prefix) == (right[:length] == left[:length])


@UNHURRIED
@given(kinds=KINDS, data=BLOBS)
@example(kinds=["datetime"], data=bytes.fromhex("80e03b5f3b35f1c0"))
def test_what_decodes_is_canonical(core: ModuleType, kinds: list[str], data: bytes) -> None:
    codec = core.KeyCodec(kinds)
    try:
        values = codec.decode(data)
    except DecodeError:
        return
    assert codec.encode(values) == data


@UNHURRIED
@given(pair=pairs(), cut=st.integers(0, 40), byte=st.integers(0, 255), drop=st.integers(0, 3))
def test_damaged_keys_never_decode_to_the_same_tuple(
    core: ModuleType,
    pair: tuple[list[str], tuple[Any, ...], tuple[Any, ...]],
    cut: int,
    byte: int,
    drop: int,
) -> None:
    kinds, values, _ = pair
    codec = core.KeyCodec(kinds)
    key = codec.encode(values)
    cut = min(cut, len(key))
    damaged = key[:cut] + bytes([byte]) + key[cut + drop :]
    try:
        decoded = codec.decode(damaged)
    except DecodeError:
        return
    assert codec.encode(decoded) == damaged
    assert (decoded == values) == (damaged == key)


def outcome(call: Any, *arguments: object) -> tuple[object, object]:
    """What a call gives, comparable: its result, or its error's class and text."""
    try:
        return None, call(*arguments)
    except (EncodeError, DecodeError, TypeError) as error:
        return type(error), str(error)


@UNHURRIED
@given(kinds=KINDS, values=st.lists(ANYTHING, max_size=4).map(tuple))
def test_both_refuse_the_same_values_with_the_same_words(
    native: ModuleType, pure: ModuleType, kinds: list[str], values: tuple[object, ...]
) -> None:
    ours, twin = native.KeyCodec(kinds), pure.KeyCodec(kinds)
    assert outcome(ours.encode, values) == outcome(twin.encode, values)
    assert outcome(ours.encode_prefix, values) == outcome(twin.encode_prefix, values)


@UNHURRIED
@given(pair=pairs(), noise=BLOBS, keep=st.integers(0, 40))
def test_both_decode_alike(
    native: ModuleType,
    pure: ModuleType,
    pair: tuple[list[str], tuple[Any, ...], tuple[Any, ...]],
    noise: bytes,
    keep: int,
) -> None:
    kinds, values, _ = pair
    ours, twin = native.KeyCodec(kinds), pure.KeyCodec(kinds)
    key = ours.encode(values)
    assert key == twin.encode(values)
    for data in (key, noise, key[:keep] + noise):
        assert outcome(ours.decode, data) == outcome(twin.decode, data)


def test_instants_before_1970_are_ordered_by_the_microsecond(core: ModuleType) -> None:
    codec = core.KeyCodec(["datetime"])
    instants = [datetime(1969, 12, 31, 23, 59, 59, us, tzinfo=UTC) for us in (0, 1, 999_998, 999_999)]
    assert [codec.decode(codec.encode((at,)))[0] for at in instants] == instants
    assert sorted(codec.encode((at,)) for at in instants) == [codec.encode((at,)) for at in instants]
