"""Hypothesis strategies: entities and keys by their annotations, histories of a topic, and times.

>>> @given(history=histories(Order))
... def test_the_service_survives_any_history(history: History[Order]) -> None:
...     with TestDriver(entities=[Order], partitions=history.partitions) as driver:
...         history.play(driver)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

from hypothesis import strategies as st

from statestore.entity import model_of
from statestore.errors import ConfigError
from statestore.fields.attributes import DAYS, EPOCHS, Precision
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType, Scalar
from statestore.runtime.times import microseconds, time_at
from statestore.testing.driver import START, DriverTransaction, TestDriver

T = TypeVar("T")
Values = st.SearchStrategy[Any]

MOST_KEYS = 4
"""Keys of a history: few, so that most records meet an earlier one of their key."""
MOST_STEPS = 12
MOST_PARTITIONS = 3

_FIRST, _LAST = datetime(1000, 1, 1), datetime(9999, 12, 31)
_FIRST_EVENT, _LAST_EVENT = datetime(1970, 1, 2), datetime(2100, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
_GAPS = st.one_of(st.just(0), st.integers(1, 1000), st.integers(0, 100 * 86_400_000))
"""Milliseconds from one instant to the next."""
_SEPARATORS = st.shared(st.sampled_from(["", "|", ":", "-", "_", "/", ""]), key="statestore.keys")
"""What is in the texts of keys; ``""``: anything."""
_NOTHING = ("None", "null", "")
"""Texts that are taken for no text."""
_AT = int(START.timestamp() * 1000)
"""The timestamp of a record of which a history says none."""
_TIMES = st.integers(0, 20).map(lambda number: _AT + number)
"""Timestamps of records: few, so that some are the same."""


def entities(cls: type[T], **given: Values) -> st.SearchStrategy[T]:
    """Draw entities of ``cls`` as it declares its fields: precision, lengths, formats, ``None``, nested ones.

    What is drawn is what is read back: times are in UTC, and as exact as the field's ``Format``. ``given``
    are strategies of single fields, by name; fields that a window fills must be among them. Raises
    ``ConfigError`` for a field that the class does not have, or that must be given.
    """
    model = model_of(cls)
    unknown = sorted(given.keys() - {one.name for one in model.record_type.fields})
    if unknown:
        listed = ", ".join(map(repr, unknown))
        raise ConfigError(f"entities({model.name}, …): the class has no stored field {listed}")
    return _built(model.record_type, given)


def keys(cls: type[Any], **given: Values) -> st.SearchStrategy[tuple[Any, ...]]:
    """Draw the values of the key fields of ``cls``, as ``table.get(*key)`` takes them; ``given`` as above.

    Where several fields are texts, they often are such that two keys look the same when they are joined.
    """
    fields = model_of(cls).key_fields
    if not fields:
        raise ConfigError(f"keys({cls.__name__}): the class has no key fields")
    values = {one.name: _values_of(one) for one in fields if one.name not in given}
    texts = [
        one for one in fields if one.name in values and isinstance(one.type, Scalar) and one.type.type is str
    ]
    if len(texts) > 1:
        values.update({one.name: _joinable(values[one.name], one.type) for one in texts})
    return st.tuples(*(values.get(one.name, given.get(one.name)) for one in fields))


def _joinable(otherwise: Values, type_: FieldType) -> Values:
    """Draw texts of a separator and one letter; the separator is the same in all keys of an example."""
    assert isinstance(type_, Scalar)
    most = min(2, type_.max_length or 2)
    return _SEPARATORS.flatmap(lambda one: st.text([one, one, "a"], max_size=most) if one else otherwise)


def clocks(start: datetime = START, *, most: int = 10) -> st.SearchStrategy[list[datetime]]:
    """Draw up to ``most`` instants from ``start`` on, none before the one before it: what a clock shows.

    The gaps are from nothing to months, in whole milliseconds: ``driver.advance(instant - driver.now)``.
    """

    @st.composite  # so that Hypothesis prints the instants, and not the gaps
    def instants(draw: st.DrawFn) -> list[datetime]:
        found = [start]
        for gap in draw(st.lists(_GAPS, max_size=most - 1)):
            found.append(found[-1] + gap * _MILLISECOND)
        return found

    return instants()


# Histories


@dataclass(frozen=True, slots=True, repr=False)
class _Printed:
    """Steps are printed as they are written in Python, without what has its default."""

    def __repr__(self) -> str:
        given = []
        for one in fields(self):
            value = getattr(self, one.name)
            if one.default is MISSING:
                given.append(repr(value))
            elif value != one.default:
                given.append(f"{one.name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Print it for Hypothesis, which would otherwise show how it was drawn."""
        printer.text(repr(self))


@dataclass(frozen=True, slots=True, repr=False)
class Write(_Printed):
    """An entity is written; ``partition=None``: where its key belongs. ``timestamp`` in ms since 1970."""

    entity: Any
    partition: int | None = None
    timestamp: int = _AT


@dataclass(frozen=True, slots=True, repr=False)
class Tombstone(_Printed):
    """The entity with these values of the key fields is deleted."""

    key: tuple[Any, ...]
    partition: int | None = None
    timestamp: int = _AT


@dataclass(frozen=True, slots=True, repr=False)
class Unkeyed(_Printed):
    """A record without a key, which tables leave out: as one from before the topic was compacted."""

    value: bytes
    partition: int = 0
    timestamp: int = _AT


@dataclass(frozen=True, slots=True, repr=False)
class Together(_Printed):
    """A transaction, committed or aborted."""

    steps: tuple[Write | Tombstone, ...]
    commit: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Compaction(_Printed):
    """The topic is compacted."""


Step = Write | Tombstone | Unkeyed | Together | Compaction


@dataclass(frozen=True, slots=True, repr=False)
class History(Generic[T]):
    """What happens to the topic of ``cls``, in order."""

    cls: type[T]
    partitions: int
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        return f"History({self.cls.__name__}, {self.partitions}, {self.steps!r})"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Print it as it is written in Python, a step a line: for ``@example(History(…))``."""
        steps = [f"{step!r}," for step in self.steps]
        with printer.group(4, f"History({self.cls.__name__}, {self.partitions}, ("):
            for step in steps:
                printer.break_()
                printer.text(step)
        if steps:
            printer.break_()
        printer.text("))")

    def play(self, driver: TestDriver) -> None:
        """Do all of it in a driver, whose topic has as many partitions."""
        for step in self.steps:
            self.play_step(driver, step)

    def play_step(self, driver: TestDriver, step: Step) -> None:
        """Do one of ``steps``, for a test that looks at the tables between two of them."""
        match step:
            case Write() | Tombstone():
                self._written(driver, step)
            case Unkeyed(value, partition, timestamp):
                driver._records.unkeyed(self.cls, value, partition, timestamp)  # noqa: SLF001 - of this package
            case Together(steps, commit):
                with driver.transaction() as tx:
                    for one in steps:
                        self._written(tx, one)
                    if not commit:
                        tx.abort()
            case Compaction():
                driver.compact(self.cls)

    def _written(self, to: TestDriver | DriverTransaction, step: Write | Tombstone) -> None:
        where: dict[str, Any] = {"partition": step.partition, "timestamp": step.timestamp}
        if isinstance(step, Write):
            to.add(step.entity, **where)
        else:
            to.delete(self.cls, *step.key, **where)


def histories(
    cls: type[T],
    *,
    partitions: int | None = None,
    strays: bool = True,
    null_keys: bool = True,
    compaction: bool = True,
    **given: Values,
) -> st.SearchStrategy[History[T]]:
    """Draw what may happen to the topic of ``cls``: updates, tombstones, transactions, compaction.

    Some records lie in another partition than their key's (``strays``), some have no key, and some have the
    timestamp of another one or an earlier one. ``partitions`` are 1 to 3 by default; ``given`` as for
    :func:`entities`.
    """
    pools = st.lists(keys(cls, **given), min_size=1, max_size=MOST_KEYS, unique_by=repr)
    shape = model_of(cls).record_type
    others = [one for one in shape.fields if not one.is_key]
    values = {one.name: values_of(one, given) for one in others}
    # Keys and partitions are drawn as numbers, which are reduced to those that there are: so that all
    # strategies are made once, and not for each example.
    rows = st.fixed_dictionaries(values)
    places = st.none() | st.integers(0, MOST_PARTITIONS - 1) if strays else st.none()
    keyed = st.builds(_Keyed, st.integers(0, MOST_KEYS - 1), st.one_of(rows, rows, st.none()), places, _TIMES)
    drawn: list[st.SearchStrategy[_Keyed | Step | tuple[list[_Keyed], bool]]] = [keyed, keyed, keyed]
    drawn.append(st.tuples(st.lists(keyed, min_size=1, max_size=3), st.booleans()))
    if null_keys:
        drawn.append(st.builds(Unkeyed, st.binary(max_size=4), st.integers(0, MOST_PARTITIONS - 1), _TIMES))
    if compaction:
        drawn.append(st.just(Compaction()))
    counts = st.integers(1, MOST_PARTITIONS) if partitions is None else st.just(partitions)
    steps = st.lists(st.one_of(drawn), max_size=MOST_STEPS)
    return st.tuples(counts, pools, steps).map(lambda found: _history(cls, *found))


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A record of a key, by numbers that may be greater than there are keys and partitions."""

    key: int
    values: dict[str, Any] | None
    """All fields but those of the key; ``None``: a tombstone."""
    partition: int | None
    timestamp: int

    def step(self, cls: type[Any], pool: list[tuple[Any, ...]], count: int) -> Write | Tombstone:
        key = pool[self.key % len(pool)]
        partition = None if self.partition is None else self.partition % count
        if self.values is None:
            return Tombstone(key, partition, self.timestamp)
        names = [field.name for field in model_of(cls).key_fields]
        entity = cls(**dict(zip(names, key, strict=True)), **self.values)
        return Write(entity, partition, self.timestamp)


def _history(cls: type[T], count: int, pool: list[tuple[Any, ...]], drawn: list[Any]) -> History[T]:
    steps: list[Step] = []
    for one in drawn:
        match one:
            case _Keyed():
                steps.append(one.step(cls, pool, count))
            case (list() as parts, bool() as commit):
                steps.append(Together(tuple(part.step(cls, pool, count) for part in parts), commit))
            case Unkeyed(value, partition, timestamp):
                steps.append(Unkeyed(value, partition % count, timestamp))
            case _:
                steps.append(one)
    return History(cls, count, tuple(steps))


# Fields


def values_of(field: Field, given: Mapping[str, Values]) -> Values:
    """Return the strategy of a field: the given one, or one by its annotation."""
    return given[field.name] if field.name in given else _values_of(field)


def _built(shape: RecordType, given: Mapping[str, Values]) -> st.SearchStrategy[Any]:
    values = {one.name: values_of(one, given) for one in shape.fields}
    return st.builds(shape.cls, **values)


def _values_of(field: Field) -> Values:
    if field.window is not None:
        raise ConfigError(
            f"the window of a row fills the field {field.name!r}: give its values, as in "
            f"entities(…, {field.name}=st.just(…))"
        )
    values = _of_type(field.type)
    if not field.is_event_time:
        return values
    bare = field.type.item if isinstance(field.type, Nullable) else field.type
    assert isinstance(bare, Scalar)
    if bare.type is int:
        first, last = (int(at.replace(tzinfo=UTC).timestamp() * 1000) for at in (_FIRST_EVENT, _LAST_EVENT))
        return st.integers(first, last)
    return _times(bare, _FIRST_EVENT, _LAST_EVENT)


def _of_type(type_: FieldType) -> Values:
    match type_:
        case Nullable(item):
            values = st.none() | _of_type(item)
            if isinstance(item, Scalar) and item.type is str:
                most = math.inf if item.max_length is None else item.max_length
                values |= st.sampled_from([one for one in _NOTHING if len(one) <= most])
            return values
        case ListOf(item):
            return st.lists(_of_type(item), max_size=3)
        case DictOf(key, item):
            return st.dictionaries(_of_scalar(key), _of_type(item), max_size=3)
        case RecordType():
            return _built(type_, {})
        case Scalar():
            return _of_scalar(type_)


def _of_scalar(scalar: Scalar) -> Values:
    bits = 16 if scalar.is_16_bits else 32 if scalar.is_32_bits else 64
    if scalar.type is int:
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if scalar.type is float:
        width: Any = bits
        return st.floats(width=width, allow_nan=False, allow_infinity=False)
    if scalar.type is Decimal:
        return _decimals(scalar.precision)
    if scalar.type is datetime:
        return _times(scalar, _FIRST, _LAST)
    if scalar.type is date:
        return _dates(scalar.format)
    plain: dict[type, Values] = {bool: st.booleans(), UUID: st.uuids()}
    if scalar.type in plain:
        return plain[scalar.type]
    return (st.text if scalar.type is str else st.binary)(max_size=scalar.max_length)


def _decimals(precision: Precision | None) -> Values:
    if precision is None:
        return st.builds(lambda digits, scale: Decimal(digits).scaleb(-scale), _digits(18), st.integers(0, 6))
    return _digits(precision.digits).map(lambda digits: Decimal(digits).scaleb(-precision.scale))


def _digits(most: int) -> st.SearchStrategy[int]:
    return st.integers(-(10**most) + 1, 10**most - 1)


def _times(scalar: Scalar, first: datetime, last: datetime) -> Values:
    times = st.datetimes(first, last, timezones=st.just(UTC))
    form = scalar.format
    if form is None:
        return times
    if form in EPOCHS:
        unit = EPOCHS[form]
        return times.map(lambda time: time_at(microseconds(time) // unit * unit))
    return times.map(lambda time: _utc(datetime.strptime(time.strftime(form), form)))


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _dates(form: str | None) -> Values:
    dates = st.dates(_FIRST.date(), _LAST.date())
    if form is None or form == DAYS:
        return dates
    return dates.map(lambda day: datetime.strptime(day.strftime(form), form).date())
