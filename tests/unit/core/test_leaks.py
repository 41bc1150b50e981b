"""What the native core is given it gives back: calls in great number, errors among them, keep no memory."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import msgspec
import pytest
from confluent_kafka import KafkaError

from statestore.errors import DecodeError, EncodeError
from statestore.serde.scalars import DECIMAL_CONTEXT
from tests.unit.core.messages import Message

CALLS = 20_000
MOST_CALLS = 1_000_000
KEPT_BLOCKS = 400
"""Blocks of Python's allocator that may be kept: one lost by a call in fifty shows."""
KEPT_BYTES = 4 << 20
"""Resident memory that may be kept; most inputs are so large that one lost in a hundred calls shows."""
SHARED = 100_000
"""References of an object that Python itself shares: it starts those far beyond this one."""

EXPECTED = (EncodeError, DecodeError, TypeError, ValueError, OverflowError, ZeroDivisionError)

Call = Callable[[], object]

pytestmark = pytest.mark.usefixtures("resident_memory")


def resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the greatest it ever was tells of growth, too
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def refuse(*_: object) -> None:
    raise ZeroDivisionError


def assert_nothing_is_kept(calls: list[Call], count: int, given: list[object]) -> None:
    """Run ``calls`` in turn, ``count`` in all; compare memory, and the references to what was ``given``.

    What is ``given`` must be the test's own: Python's constants (an interned ``"key"``, a small integer) get
    and lose references wherever else the interpreter uses them.
    """

    def run(times: int) -> None:
        for call in islice(cycle(calls), times):
            with contextlib.suppress(*EXPECTED):
                call()

    run(max(200, count // 20))  # what is made once and kept for good
    references = [sys.getrefcount(one) for one in given]
    assert max(references) < SHARED, "the test was given an object that Python shares"
    blocks, resident = sys.getallocatedblocks(), resident_bytes()
    run(count)
    assert sys.getallocatedblocks() - blocks < KEPT_BLOCKS
    assert resident_bytes() - resident < KEPT_BYTES
    assert [sys.getrefcount(one) for one in given] == references


def key_codec(native: ModuleType) -> tuple[list[Call], list[object]]:
    kinds = ("str", "bytes", "uuid", "datetime", "date", "int")
    codec, bare = native.KeyCodec(kinds), native.KeyCodec(["str"])
    long = "ä\0" * 5_000  # does not fit the buffer on the stack
    instant = datetime(2024, 2, 29, 1, 2, 3, 4, UTC)
    elsewhere = instant.astimezone(timezone(timedelta(hours=3)))
    fits = ("a key", b"raw\0", UUID(int=7), instant, date(2024, 2, 29), 2**40)
    large = (long, long.encode(), UUID(int=2**127), elsewhere, date(1, 1, 1), -(2**63))
    misfits = [
        (long, b"x" * 50_000, UUID(int=7), instant, date(2024, 2, 29), 2**70),
        (long, b"x", UUID(int=7), instant.replace(tzinfo=None), date(2024, 2, 29), 1),
        (long, "text", UUID(int=7), instant, date(2024, 2, 29), 1),
        (long + "\ud800", b"x", UUID(int=7), instant, date(2024, 2, 29), 1),
        (long, b"x", 7, instant, instant, True),
        ("too", "few"),
    ]
    keys = [codec.encode(fits), codec.encode(large)]
    key = keys[1]
    damaged = [key[:-1], key + b"x", key[: len(key) // 2], b"\0\1" + key, b"\xff\0\0" + key, b"", b"\0\0"]
    calls: list[Call] = [partial(codec.encode, values) for values in (fits, large, *misfits)]
    calls += [partial(codec.encode_prefix, large[:length]) for length in range(7)]
    calls += [partial(codec.decode, data) for data in (*keys, *damaged)]
    calls += [lambda: bare.decode(b"\xff\xfe"), lambda: bare.decode(b"fine"), lambda: codec.decode("text")]
    calls += [lambda: codec.encode(["a", "list"]), lambda: codec.encode_prefix((1,) * 9)]
    calls += [lambda: native.KeyCodec(kinds), lambda: native.KeyCodec(("int", "float"))]
    return calls, [fits, *fits[:5], large, *large[:5], *misfits, *keys, long]


def window_key(native: ModuleType) -> tuple[list[Call], list[object]]:
    key = b"k" * 20_000
    data = native.window_key(key, 2**50)
    calls: list[Call] = [
        lambda: native.window_key(key, 2**50),
        lambda: native.window_key(key, 2**70),
        lambda: native.window_key(key, "1"),
        lambda: native.window_key("text", 1),
        lambda: native.split_window_key(data),
        lambda: native.split_window_key(b"short"),
        lambda: native.split_window_key(None),
    ]
    return calls, [key, data]


class Failing:
    """A message of which one method raises."""

    def __init__(self, message: Message, method: str) -> None:
        self._message, self._method = message, method

    def __getattr__(self, name: str) -> Any:
        return refuse if name == self._method else getattr(self._message, name)


def fold(native: ModuleType) -> tuple[list[Call], list[object]]:
    value = b"v" * 20_000
    messages = [
        Message("t", 0, 1, b"a", value, timestamp=(1, 1000), leader_epoch=3),
        Message("t", 0, 2, b"a", None, timestamp=(1, 1000)),
        Message("t", 0, 3, None, value, timestamp=(0, 0)),
        Message("t", 0, 3, b"stale", value, timestamp=(1, 1000)),
        Message("t", 1, 1, b"b", b"", timestamp=(1, 1000)),
        Message("other", 0, 1, b"c", value, timestamp=(1, 1000)),
        Message("t", 0, 4, error=KafkaError(KafkaError._PARTITION_EOF)),
        Message("t", 0, 5, b"d", value, timestamp=(1, 2000)),
    ]
    positions = {("t", 0): 0, ("t", 1): 0}

    def failing(method: str) -> Call:
        return lambda: native.fold([*messages[:7], Failing(messages[7], method)], positions, b"\x01")

    methods = ("error", "topic", "partition", "offset", "key", "value", "timestamp", "leader_epoch")
    calls: list[Call] = [lambda: native.fold(messages, positions, b"\x01"), *map(failing, methods)]
    calls += [
        lambda: native.fold(messages, {("t", 0): "0"}, b"\x01"),
        lambda: native.fold(None, positions, b"\x01"),
    ]
    return calls, [value, positions, *messages]


def run_of_writes(native: ModuleType) -> tuple[list[Call], list[object]]:
    value = b"v" * 5_000
    keys = [b"%04d" % number for number in range(10)]

    def filled() -> Any:
        run = native.WriteRun(b"\x01")
        for number, key in enumerate(keys):
            run.write(key, value, number)
            run.write(key, None if number % 3 else value, number)
        return run

    calls: list[Call] = [
        lambda: (filled().puts(), filled().deletes()),
        lambda: filled().feed(lambda *_: None, lambda *_: None),
        lambda: filled().feed(refuse, lambda *_: None),
        lambda: filled().feed(lambda *_: None, refuse),
        lambda: filled().write("text", value, 0),
        lambda: filled().write(b"key", 7, 0),
        lambda: filled().write(b"key", value, 2**70),
    ]
    return calls, [value, *keys]


Pair = tuple[bytes, bytes]
Source = Callable[[], Iterator[Pair]]


def fresh(pairs: list[Pair]) -> Iterator[Pair]:
    """Pairs that nobody else has, whose parts are changed in place."""
    for key, value in pairs:
        yield bytes(bytearray(key)), bytes(bytearray(value))


def failing(pairs: list[Pair]) -> Iterator[Pair]:
    yield from fresh(pairs)
    refuse()


def scan(native: ModuleType) -> tuple[list[Call], list[object]]:
    value = b"v" * 5_000
    pairs = [(b"\1%04d" % number, value) for number in range(10)]
    tiny = [(b"\1", b""), (b"\1k", b"12345678"), (b"\1k", b"123456789")]
    misfits = [(1, 2), (b"three", b"of", b"them"), b"none", ("text", value)]
    guard, ends = native.CallGuard(), b"\1\xff"

    class Queue(native.PairQueue):  # type: ignore[misc, name-defined]
        def __init__(self, filled: list[Pair]) -> None:
            self.filled = filled

        def _fill(self) -> None:
            if not self.filled:
                raise StopIteration
            self._pairs, self.filled = list(fresh(self.filled)), []

    class Guarded(native.GuardedPairs):  # type: ignore[misc, name-defined]
        def __init__(self, source: Iterator[Any], left: int = -1, stop: bytes = ends) -> None:
            self._guard, self._source, self._left, self._stop = guard, source, left, stop

        def _failed(self, error: Exception) -> None:
            raise DecodeError("translated") from error

        def release(self) -> None:
            self._source = iter(())

    def of_misfit(misfit: object) -> object:
        return list(native.Pairs(iter([misfit]), 1, 8))

    calls: list[Call] = [
        lambda: list(native.Pairs(iter(pairs), 1, 8)),
        lambda: list(native.Pairs(fresh(pairs), 1, 8)),
        lambda: list(native.Pairs(fresh(pairs), 1, 0)),
        lambda: list(native.Pairs(fresh(tiny), 1, 8)),
        lambda: list(native.Pairs(failing(pairs), 1, 8)),
        lambda: next(native.Pairs(fresh(pairs), 1, 8)),  # and no more of it
        lambda: native.Pairs(7, 1, 8),
        *[partial(of_misfit, misfit) for misfit in misfits],
        lambda: list(native.Pairs(Queue(pairs), 1, 8)),
        lambda: next(Queue(pairs)),
        lambda: list(native.Pairs(Guarded(fresh(pairs)), 1, 8)),
        lambda: list(native.Pairs(Guarded(fresh(pairs), left=3), 1, 8)),
        lambda: list(native.Pairs(Guarded(fresh(pairs), stop=pairs[5][0]), 1, 8)),
        lambda: list(native.Pairs(Guarded(failing(pairs)), 1, 8)),
        lambda: list(native.Pairs(Guarded(iter(misfits)), 1, 8)),
        lambda: next(Guarded(fresh(pairs))),
        lambda: native.count_pairs(fresh(pairs)),
        lambda: native.count_pairs(failing(pairs)),
        lambda: native.mean_size(pairs),
        lambda: native.mean_size([*pairs, None]),
        lambda: native.read_pairs(lambda: bytes(2_000), lambda: bytes(2_000), lambda: None, 10),
        lambda: native.read_pairs(lambda: bytes(2_000), lambda: bytes(2_000), refuse, 10),
    ]
    return calls, [value, ends, guard, *pairs, *misfits]


def rows(native: ModuleType) -> tuple[list[Call], list[object]]:
    """Of a class with slots, of one without, and of one that raises when it is called."""
    kinds = {"id": None, "count": "int", "text": "str", "price": "decimal", "at": "datetime", "day": "date"}
    kinds |= {"raw": "bytes", "share": "float", "flag": "bool", "other": "uuid", "half": "float32"}
    limits = {"price": (5, 1), "raw": (5_000, 0)}
    slotted: Any = make_dataclass("Slotted", kinds, slots=True)
    plain: Any = make_dataclass("Plain", kinds)

    class Refusing:
        def __init__(self, *_: object) -> None:
            refuse()

    def decoder(cls: type, is_plain: bool) -> Any:
        fields = [
            (
                name,
                msgspec.msgpack.encode(name),
                kind,
                name == "text",
                limits.get(name, (0, 0))[0],
                limits.get(name, (0, 0))[1],
                inspect.getattr_static(cls, name, None),
            )
            for name, kind in kinds.items()
        ]
        return native.Decoder(
            cls, native.KeyCodec(["str"]), fields, is_plain, is_plain and cls is slotted, DECIMAL_CONTEXT
        )

    key, text, raw = b"a key" * 1_000, "\u00e4" * 5_000, b"r" * 5_000
    written = {"count": 2**60, "text": text, "price": "12.5", "at": 2**50, "day": 20_000}
    written |= {"raw": raw, "share": 0.5, "flag": True, "other": bytes(16), "half": 0.25}
    pack = msgspec.msgpack.encode
    payload = pack(written)
    fits = [payload, pack(written | {"text": None})]
    others = {
        "count": 2**64 - 1,
        "price": "much",
        "at": 2**62,
        "day": 2**40,
        "flag": None,
        "other": b"short",
        "half": 0.1,
    }
    misfits = [pack(written | {name: value}) for name, value in others.items()]
    misfits += [
        payload[:-1],
        payload[:7_000],
        payload + b"x",
        payload.replace(text.encode(), b"\xff" * 10_000),
    ]
    calls: list[Call] = []
    for one in (decoder(slotted, True), decoder(plain, True), decoder(slotted, False)):
        assert all(one.decode(key, data) is not None for data in fits)
        assert all(one.decode(key, data) is None for data in misfits)
        calls += row_calls(one, key, fits, misfits)
    calls += row_calls(decoder(Refusing, False), key, fits, misfits)
    calls += [partial(decoder, slotted, True), lambda: native.Decoder(slotted, None, [], True, True, None)]
    return calls, [key, text, raw, *fits, *misfits, written, slotted, plain]


def row_calls(decoder: Any, key: bytes, fits: list[bytes], misfits: list[bytes]) -> list[Call]:
    payloads = [*fits, *misfits, b""]
    pairs = [(b"\1" + key, bytes(8) + payload) for payload in payloads]
    calls: list[Call] = [partial(decoder.decode, key, payload) for payload in payloads]
    calls += [
        lambda: decoder.decode(b"\xff" + key, fits[0]),
        lambda: decoder.decode("text", fits[0]),
        lambda: list(decoder.rows(iter(pairs), 1, 8, lambda *_: None)),
        lambda: list(decoder.rows(fresh(pairs), 1, 8, lambda *_: None)),
        lambda: list(decoder.rows(fresh(pairs), 1, 8, refuse)),
        lambda: list(decoder.rows(failing(pairs), 1, 8, lambda *_: None)),
        lambda: next(decoder.rows(fresh(pairs), 1, 8, refuse)),  # and no more of it
        lambda: list(decoder.rows(iter([("text", 7)]), 1, 8, refuse)),
    ]
    return calls


def scanned(native: ModuleType) -> tuple[Any, list[Pair], list[object]]:
    """A decoder, pairs of which it reads the first three, and what the test gave it."""
    kinds: dict[str, Any] = {"id": None, "count": "int", "text": "str", "price": "decimal", "share": "float"}
    cls: Any = make_dataclass("Scanned", kinds, slots=True)
    fields = [
        (name, msgspec.msgpack.encode(name), kind, name == "text", 0, 0, inspect.getattr_static(cls, name))
        for name, kind in kinds.items()
    ]
    decoder = native.Decoder(cls, native.KeyCodec(["str"]), fields, True, True, DECIMAL_CONTEXT)
    text = "\u00e4" * 5_000
    written = {"count": 7, "text": text, "price": "12.5", "share": 0.5}
    others: list[dict[str, Any]] = [
        {},
        {"text": None, "price": "-3"},
        {"count": 2**62, "share": -1.5},
        {"price": "1234567890123456789012.5"},
        {"price": "NaN"},
        {"count": "none"},
    ]
    payloads = [msgspec.msgpack.encode(written | other) for other in others]
    pairs = [(b"\1key %d" % number, bytes(8) + payload) for number, payload in enumerate(payloads)]
    return decoder, pairs, [decoder, text, cls, *payloads, *pairs]


def program_of(native: ModuleType, decoder: Any, large: bytes) -> Any:
    """A program that adds, compares, looks for ``large`` and in lists; its condition is node 9."""
    nodes = [
        ("field", 1, -1, None, "int"),
        ("constant", -1, -1, 2, "int"),
        ("+ ints", 0, 0, None, "int"),  # of the third row beyond 64 bits
        ("compare ints", 2, 1, ">", "bool"),
        ("field", 2, -1, None, "str"),
        ("constant", -1, -1, large, "str"),
        ("contains", 4, 5, None, "bool"),
        ("in texts", 4, -1, [large[:-1], large], "bool"),
        ("field", 3, -1, None, "decimal"),
        ("|", -1, -1, [3, 6, 7], "bool"),
        ("field", 4, -1, None, "float"),
    ]
    return native.Program(decoder, nodes, 9)


def programs(native: ModuleType) -> tuple[list[Call], list[object]]:
    decoder, pairs, given = scanned(native)
    large = b"l" * 5_000
    program = program_of(native, decoder, large)
    measures = [("count", None), ("sum", 0), ("sum", 8), ("min", 4), ("max", 8), ("min", 8), ("max", 10)]
    found = ["a group", 2**70, 2**70, Decimal("1.5"), "text", Decimal("NaN"), Decimal(1), 0.5]

    def groups(source: Iterator[Pair], judge: Any, values_of: Any) -> object:
        made = native.Groups(program, [4], measures, [0] * len(measures), DECIMAL_CONTEXT.add)
        made.read(source, 1, 8, judge, bool, values_of)
        return list(made.results()), made.start()

    def judge(key: bytes, payload: bytes) -> object:
        return key, payload

    def scans(source: Source, asked: Any) -> list[Call]:
        return [
            lambda: list(program.rows(source(), 1, 8, asked, bool)),
            lambda: program.count_rows(source(), 1, 8, asked, bool, -1),
            lambda: groups(source(), asked, refuse if asked is refuse else lambda _: list(found)),
        ]

    def faulty(*nodes: tuple[Any, ...]) -> Call:
        return lambda: native.Program(decoder, [("field", 1, -1, None, "int"), *nodes], 0)

    calls: list[Call] = [lambda: program_of(native, decoder, large)]
    calls += [
        faulty(("&", -1, -1, [0, 9], "bool")),
        faulty(("in ints", 0, -1, [1, "2"], "bool")),
        faulty(("- int", 0, 7, None, "int")),
    ]
    for asked in (judge, refuse):
        calls += scans(partial(iter, pairs), asked)
        calls += scans(partial(fresh, pairs), asked)
        calls += scans(partial(failing, pairs), asked)
    calls += [
        lambda: next(program.rows(fresh(pairs), 1, 8, judge, refuse)),  # and no more of it
        lambda: program.count_rows(fresh(pairs), 1, 8, judge, refuse, 1),
        lambda: groups(fresh(pairs), judge, lambda _: ["too few"]),
        lambda: native.Groups(program, [99], measures, [], refuse),
        lambda: native.Groups(program, [4], [("sum", None)], [], refuse),
    ]
    assert len(groups(iter(pairs), judge, lambda _: found)[0]) == 3  # type: ignore[index]
    return calls, [*given, large, program, *found[1:3]]


def columns(native: ModuleType) -> tuple[list[Call], list[object]]:
    decoder, pairs, given = scanned(native)
    program = program_of(native, decoder, b"l" * 5_000)
    wanted = [(0, "str", False, 0, 0), (1, "int", False, 0, 0), (2, "str", True, 0, 0)]
    wanted += [(3, "decimal", True, 38, 2), (4, "float", False, 0, 0)]
    values = ("key" * 1_000, 2**40, None, bytes(16), 0.5)
    misfits: list[Any] = [
        (),
        (*values, 1),
        (7, *values[1:]),
        (*values[:3], b"short", 0.5),
        (None, *values[1:]),
    ]

    def filled(source: Iterator[Pair], judge: Any, most: int = 1_000, chosen: Any = None) -> object:
        reader = native.ColumnReader(decoder, wanted, source, 1, 8, judge, chosen)
        batches = []
        while (batch := reader.fill(most, 1 << 20)) is not None:
            batches.append([[None if one is None else bytes(one) for one in made] for made in batch[1]])
        return batches

    def fills(source: Source, chosen: Any) -> list[Call]:
        return [
            lambda: filled(source(), lambda *_: values, chosen=chosen),
            lambda: filled(source(), lambda *_: None, 1, chosen),
            lambda: filled(source(), refuse, chosen=chosen),
        ]

    def of_misfit(misfit: object) -> object:
        return filled(fresh(pairs), lambda *_: misfit)

    calls: list[Call] = [partial(of_misfit, misfit) for misfit in misfits]
    for chosen in (None, program):
        calls += fills(partial(iter, pairs), chosen)
        calls += fills(partial(fresh, pairs), chosen)
        calls += fills(partial(failing, pairs), chosen)
    calls += [
        lambda: native.ColumnReader(decoder, [(99, "int", False, 0, 0)], iter(pairs), 1, 8, refuse),
        lambda: native.ColumnReader(decoder, [*wanted, wanted[0]], iter(pairs), 1, 8, refuse),
    ]
    assert len(filled(iter(pairs), lambda *_: values)[0]) == len(wanted)  # type: ignore[index]
    return calls, [*given, program, *values[:2], *misfits[1:]]


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Freed late is kept, too: a cycle of objects can hold a whole batch until the collector comes."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=[CALLS, pytest.param(MOST_CALLS, marks=pytest.mark.soak)])
def count(request: pytest.FixtureRequest) -> int:
    calls: int = request.param
    return calls


@pytest.mark.parametrize("part", [key_codec, window_key, fold, run_of_writes, scan, rows, programs, columns])
def test_a_part_keeps_nothing(
    native: ModuleType, part: Callable[[ModuleType], tuple[list[Call], list[object]]], count: int
) -> None:
    calls, given = part(native)
    assert_nothing_is_kept(calls, count, given)


def test_what_is_kept_shows() -> None:
    kept: list[object] = []
    wanted = object()

    def knot() -> None:
        ends: list[object] = []
        ends.append(ends)

    leaks: list[Call] = [
        lambda: kept.append(bytes(200)),
        lambda: kept.append(wanted),
        lambda: kept.append(bytearray(4096)),
        knot,
    ]
    for leak in leaks:
        with pytest.raises(AssertionError):
            assert_nothing_is_kept([leak], CALLS, [wanted])
