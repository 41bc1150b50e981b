"""What a machine of tables is made of: how keys and rows are drawn, and what is tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import strategies as st

from statestore.entity import EntityModel, model_of
from statestore.fields.attributes import WindowEnd, WindowSize, WindowStart
from statestore.fields.types import Field, Scalar
from statestore.fields.windows import Window
from statestore.manager import StoreManager
from statestore.runtime.times import milliseconds, time_at
from statestore.testing.driver.driver import START
from statestore.testing.machine.model import Key
from statestore.testing.strategies import values as drawn

Subject = Callable[[StoreManager], Any]
"""Makes what is tested."""
Check = Callable[[Any, list[Any]], Any]
"""Looks at what is tested, given the rows that there should be."""
Values = st.SearchStrategy[Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """How the rows of the table are drawn, and what they are in a script."""

    keys: Values
    """The values of a key."""
    values: Values
    """The other fields by name; of a table of bytes the value."""
    singles: Mapping[str, Values]
    """The fields that a change may set."""
    compared: tuple[str, ...]
    """The fields that a condition may compare."""


def rows_of_bytes() -> Rows:
    return Rows(st.tuples(st.binary(min_size=1, max_size=2)), st.binary(max_size=2), {}, ())


def rows_of_entity(cls: type[Any], window: Window | None, most: int, given: Mapping[str, Values]) -> Rows:
    model = model_of(cls)
    fields = [one for one in model.record_type.fields if not one.is_key and one.window is None]
    values = {one.name: drawn.values_of(one, given) for one in fields}
    keys = drawn.keys(cls, **{name: one for name, one in given.items() if name in _key_names(model)})
    if window is not None:
        starts = st.integers(0, most - 1).map(partial(_start, model, window))
        keys = st.tuples(keys, starts).map(lambda found: (*found[0], found[1]))
    singles = {one.name: values[one.name] for one in fields if not one.is_event_time}
    compared = tuple(one.name for one in fields if isinstance(one.type, Scalar))
    return Rows(keys, st.fixed_dictionaries(values), singles, compared)


def _key_names(model: EntityModel) -> list[str]:
    return [one.name for one in model.key_fields]


def _start(model: EntityModel, window: Window, number: int) -> Any:
    """Return the start of a window of the past, as the class has it."""
    apart = window.size if window.advance is None else window.advance
    now = int(START.timestamp() * 1000)
    field = next(one for one in model.record_type.fields if one.window is WindowStart)
    return _time(field, window.start_of(now) - number * (apart // timedelta(milliseconds=1)))


def _time(field: Field, at: int) -> Any:
    return at if isinstance(field.type, Scalar) and field.type.type is int else time_at(at * 1000)


@dataclass(frozen=True, slots=True)
class Plan:
    """What :func:`table_machine` was given."""

    target: type[Any] | str
    rows: Rows
    window: Window | None
    subject: Subject | None
    check: Check | None
    driver: Mapping[str, Any]
    """Arguments of the driver."""
    max_age: float
    topic_loss: bool

    def entity(self, key: Key, values: Mapping[str, Any]) -> Any:
        """Return the entity with this key and these values."""
        assert isinstance(self.target, type)
        model = model_of(self.target)
        names = _key_names(model)
        given = {**dict(zip(names, key, strict=False)), **values}
        if self.window is not None:
            begun = key[len(names)]
            start = begun if isinstance(begun, int) else milliseconds(begun)
            size = self.window.size_ms
            parts = {WindowStart: start, WindowEnd: start + size}
            for one in model.record_type.fields:
                if one.window is WindowSize:
                    given[one.name] = size
                elif one.window is not None:
                    given[one.name] = _time(one, parts[one.window])
        return self.target(**given)


def listing(reader: Any) -> str | None:
    """Return the method of a subject or a snapshot that gives all rows."""
    names = ("to_list", "all")
    return next((name for name in names if callable(getattr(reader, name, None))), None)


# What the rules draw, of the plan and the keys of the machine that runs.
the_machine = st.runner()
some_key = the_machine.flatmap(lambda machine: st.sampled_from(machine.pool))
some_values = the_machine.flatmap(lambda machine: machine.plan.rows.values)
some_writes = st.lists(
    st.tuples(some_key, st.one_of(some_values, some_values, st.none())), min_size=1, max_size=3
)
some_change = the_machine.flatmap(
    lambda machine: st.one_of(
        [st.tuples(st.just(name), one) for name, one in machine.plan.rows.singles.items()]
    )
)
some_names = the_machine.flatmap(
    lambda machine: st.lists(st.sampled_from(machine.plan.rows.compared), min_size=1, max_size=2, unique=True)
)
any_number = st.integers(0, 1 << 16)
"""Picks one of those that there are, modulo their number."""
