"""Strategies of histories: what happens to a topic, step by step."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Generic, TypeVar

from hypothesis import strategies as st

from statestore.entity import model_of
from statestore.testing.driver.driver import START, DriverTransaction, TestDriver
from statestore.testing.strategies.values import Values, keys, values_of

T = TypeVar("T")

MOST_KEYS = 4
"""Keys of a history: few, so that most records meet an earlier one of their key."""
MOST_STEPS = 12
MOST_PARTITIONS = 3

_AT = int(START.timestamp() * 1000)
"""The timestamp of a record of which a history says none."""
_TIMES = st.integers(0, 20).map(lambda number: _AT + number)
"""Timestamps of records: few, so that some are the same."""


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
