"""What an aggregate knows, as bytes: msgpack, in the types that the declaration gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from statestore.core import OpenWindows
from statestore.entity import EntityModel
from statestore.errors import ConfigError, DecodeError, EncodeError
from statestore.expressions.aggregates import Aggregate, aggregate_type
from statestore.fields.types import FieldType, scalar_type, type_name
from statestore.runtime.text import bounded_repr
from statestore.serde.formats import FieldValueError
from statestore.serde.msgpack import field_codec
from statestore.windowing.parts import Parts

_FORMAT = 1
_PLAIN = (type(None), bool, int, float, str, bytes)
_Convert = Callable[[Sequence[Any]], list[Any]]


class Saved:
    """Writes and reads the open windows of the aggregate of one class, and what its gap bars need."""

    def __init__(self, model: EntityModel, source: EntityModel, parts: Parts) -> None:
        self._name = model.name
        self._definition = _definition(model, source)
        self._has_one_key = len(model.key_fields) == 1
        self._key_out, self._key_in = _converters([field.type for field in model.key_fields])
        self._state_out, self._state_in = _converters(parts.types)
        prices = parts.price_types
        self._prices = list(prices)
        self._price_out, self._price_in = _converters(list(prices.values()))

    def dump(
        self,
        counts: Mapping[str, Any],
        event_times: Mapping[int, int],
        scopes: Iterable[tuple[Any, OpenWindows]],
    ) -> bytes:
        """Return all of it as bytes. Raises ``EncodeError`` for a state of another type than is declared."""
        try:
            windows = [
                [None if key is None else self._write_key(key), self._write(scope)] for key, scope in scopes
            ]
            return msgspec.msgpack.encode(
                {
                    "format": _FORMAT,
                    "definition": self._definition,
                    "counts": counts,
                    "event_times": list(event_times.items()),
                    "windows": windows,
                }
            )
        except (FieldValueError, msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise EncodeError(
                f"{self._name}: an open window cannot be saved: {error}. The state of a reducer must be what "
                "msgpack can write (lists, not tuples; ints of 64 bits), and a value of the type that its "
                "field declares"
            ) from error

    def load(
        self, state: bytes, opened: Callable[[int], OpenWindows]
    ) -> tuple[dict[str, Any], dict[int, int], list[tuple[Any, OpenWindows]]]:
        """Return what was given to ``dump``. ``opened(partition)`` makes windows to fill.

        Raises ``DecodeError`` for other bytes, and ``ConfigError`` for those of another declaration.
        """
        if not isinstance(state, bytes | bytearray | memoryview):
            raise TypeError(
                f"{self._name}: state= is {type(state).__name__} {bounded_repr(state)}: give the bytes that "
                "state() returned"
            )
        try:
            saved = msgspec.msgpack.decode(state)
            if saved["format"] != _FORMAT:
                raise DecodeError(
                    f"{self._name}: the saved state has format {saved['format']!r}, and this version reads "
                    f"{_FORMAT}: use the version that saved it, or begin without state"
                )
            self._compare(saved["definition"])
            windows = [
                (None if key is None else self._read_key(key), self._read(scope, opened))
                for key, scope in saved["windows"]
            ]
            return saved["counts"], dict(saved["event_times"]), windows
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, FieldValueError) as error:
            if isinstance(error, ConfigError | DecodeError):
                raise
            raise DecodeError(
                f"{self._name}: these {len(state)} bytes are not what state() returned ({error}): give "
                "those, or begin without state"
            ) from error

    def _compare(self, saved: Mapping[str, str]) -> None:
        """Raise ``ConfigError`` if the state is of another declaration."""
        ours = self._definition
        differing = [name for name in {**saved, **ours} if saved.get(name) != ours.get(name)]
        if differing:
            raise ConfigError(
                [
                    f"{self._name}: {name} was {saved.get(name, 'not there')} when the state was saved, and "
                    f"is {ours.get(name, 'not there')}: restore the declaration, or begin without state, "
                    "which loses the open windows"
                    for name in differing
                ]
            )

    def _write(self, scope: OpenWindows) -> dict[str, Any]:
        written: dict[str, Any] = {
            "partition": scope.partition,
            "event_time": scope.event_time,
            "buckets": [
                [
                    [start, [[self._write_key(key), self._state_out(state)] for key, state in states.items()]]
                    for start, states in buckets.items()
                ]
                for buckets in scope.buckets
            ],
        }
        if scope.seen is not None:
            written["seen"] = [[self._write_key(key), *span] for key, span in scope.seen.items()]
            written["next_starts"] = scope.notes.next_starts
            written["closes"] = [
                [place, self._write_key(key), self._price_out([found.get(node) for node in self._prices])]
                for (place, key), found in scope.notes.closes.items()
            ]
        return written

    def _read(self, written: Mapping[str, Any], opened: Callable[[int], OpenWindows]) -> OpenWindows:
        scope = opened(written["partition"])
        scope.event_time = written["event_time"]
        scope.buckets = [
            {
                start: {self._read_key(key): self._state_in(state) for key, state in states}
                for start, states in buckets
            }
            for buckets in written["buckets"]
        ]
        if scope.seen is not None:
            scope.seen = {self._read_key(key): [first, last] for key, first, last in written["seen"]}
            scope.notes.next_starts = written["next_starts"]
            for place, key, prices in written["closes"]:
                found = zip(self._prices, self._price_in(prices), strict=True)
                scope.notes.closes[place, self._read_key(key)] = {
                    node: price for node, price in found if price is not None
                }
        return scope

    def _write_key(self, key: Any) -> list[Any]:
        return self._key_out([key] if self._has_one_key else key)

    def _read_key(self, written: list[Any]) -> Any:
        key = self._key_in(written)
        return key[0] if self._has_one_key else tuple(key)


def _definition(model: EntityModel, source: EntityModel) -> dict[str, str]:
    """Return what a saved state depends on, by a name for people."""
    windowing = model.windowing
    assert windowing is not None
    names = {field.name: type_name(field.type) for field in source.record_type.fields}
    parts = {
        f"the aggregate of {name}": f"{one!r} of {source.name}{_input_type(one, source)}"
        for name, one in windowing.aggregates.items()
    }
    time = source.event_time
    return {
        "the event time": "that of the record" if time is None else f"{source.name}.{time.name}",
        "the key": ", ".join(f"{field.name}: {names[field.name]}" for field in model.key_fields),
        "windows=": ", ".join(window.label for window in windowing.windows),
        "grace=": str(windowing.grace),
        "scope=": windowing.scope,
        "gap=": windowing.gap,
        **parts,
    }


def _input_type(aggregate: Aggregate, source: EntityModel) -> str:
    if aggregate.of is None:
        return ""
    type_ = aggregate_type(Aggregate("first", aggregate.of), [], source.record_type)
    return "" if type_ is None else f" ({type_name(type_)})"


def _converters(types: Sequence[FieldType | None]) -> tuple[_Convert, _Convert]:
    """Return what writes values of these types as msgpack can, and what reads them; ``None``: a reducer's.

    What msgpack has a type for is written as it is: most values of most windows.
    """
    codecs = [None if one is None else field_codec(one) for one in types]
    writers = [
        (place, _plain if codec is None else codec.write)
        for place, (codec, type_) in enumerate(zip(codecs, types, strict=True))
        if codec is None or scalar_type(type_) not in _PLAIN
    ]
    readers = [
        (place, _plain if codec is None else codec.read)
        for place, codec in enumerate(codecs)
        if codec is None or codec.read is not None
    ]
    members = tuple(Any if codec is None else codec.type for codec in codecs)
    row: Any = tuple.__class_getitem__(members)

    def write(values: Sequence[Any]) -> list[Any]:
        written = list(values)
        for place, convert in writers:
            written[place] = convert(written[place])
        msgspec.convert(written, row, builtin_types=(bytes,))  # raises for what could not be read
        return written

    def read(written: Sequence[Any]) -> list[Any]:
        values = list(msgspec.convert(written, row, builtin_types=(bytes,)))
        for place, convert in readers:
            if convert is not None:
                values[place] = convert(values[place])
        return values

    return write, read


def _plain(state: Any) -> Any:
    """Return the state of a reducer if msgpack gives back what is written."""
    if type(state) is list:
        for item in state:
            _plain(item)
    elif type(state) is dict:
        for key, item in state.items():
            _plain(key)
            _plain(item)
    elif type(state) not in _PLAIN:
        raise TypeError(f"a {type(state).__name__}, {bounded_repr(state)}, in the state of a reducer")
    return state
