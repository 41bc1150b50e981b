"""Any history of a topic against a service that reads it: :func:`table_machine`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import hypothesis
from hypothesis.stateful import RuleBasedStateMachine

from statestore.backends import find_engine
from statestore.entity import model_of
from statestore.errors import ConfigError
from statestore.fields.windows import DeclaredWindow, Window, find_window
from statestore.runtime.text import bounded_repr
from statestore.settings import SettingsArgument
from statestore.testing.machine.plan import Check, Plan, Rows, Subject, Values, rows_of_bytes, rows_of_entity
from statestore.testing.machine.rules import TableMachine

MOST_WINDOWS = 3
MOST_STEPS = 15
"""Steps of an example, unless the test's settings say otherwise."""
_REMEDIES = {
    "subject": "give what makes the service of a StoreManager, such as its class",
    "check": "give a function of the service and of the rows that there should be",
}
REBUILD: Mapping[str, Any] = MappingProxyType({"defaults": {"on_missing": "rebuild"}})


def table_machine(
    entity_or_topic: type[Any] | str,
    *,
    subject: Subject | None = None,
    check: Check | None = None,
    window: DeclaredWindow | None = None,
    fields: Mapping[str, Values] = MappingProxyType({}),
    backend: str = "memory",
    partitions: int = 2,
    settings: SettingsArgument = None,
    max_age: float = 0,
    topic_loss: bool = False,
) -> type[RuleBasedStateMachine]:
    """Return a Hypothesis state machine that looks for a history after which rows are read that are wrong.

    >>> TestOrders = table_machine(Order, subject=OrderCache).TestCase

    It runs a :class:`TestDriver`: other programs write, delete, commit and abort transactions, the topic is
    compacted, time passes, the process ends and is killed. Of what fails the fewest steps are
    raised that fail in the same way; the error has them as a script in a note, which test reports show.
    ``TestCase.settings`` leave out Hypothesis' own shrinking, which takes minutes.

    ``subject`` makes of a manager what is tested, by default the table itself. Of these methods those that it
    has are called: ``get(*key)`` (the row or ``None``), ``all()`` or ``to_list()`` (the rows in any order),
    ``add(entity)``, ``delete(*key)``, ``update(*key, change)`` (``change(row)`` gives the new row),
    ``snapshot()`` (what it returns is read by ``get`` and ``all`` or ``to_list``, and closed by ``close()``),
    and ``close()``, before the process ends. ``check(subject, rows)`` is called now and then with the rows
    that there should be, in the order of their keys; it raises, or returns ``False``, where something is
    wrong.

    ``window`` says which window's table is meant, where the class has several. ``fields`` are strategies of
    single fields, by name. ``backend``, ``partitions`` and ``settings`` are the driver's. Reads may lag by
    ``max_age`` seconds, but never behind what the subject wrote or read before. With ``topic_loss`` the topic
    is also recreated, and loses its end: for tables with ``on_missing="rebuild"``, which is set where
    ``settings`` are not given.

    Raises ``ConfigError`` for what does not fit.
    """
    name = entity_or_topic if isinstance(entity_or_topic, str) else model_of(entity_or_topic).name
    about = f"table_machine({name}, …)"
    for given, value in (("subject", subject), ("check", check)):
        if value is not None and not callable(value):
            raise ConfigError(f"{about}: {given}={bounded_repr(value)} cannot be called: {_REMEDIES[given]}")
    if not 0 <= max_age < math.inf:
        raise ConfigError(f"{about}: max_age={bounded_repr(max_age)}: give seconds, from 0 on")
    find_engine(backend)  # raises where there is none of this name
    if settings is None and topic_loss:
        settings = REBUILD
    driver = {"partitions": partitions, "backend": backend, "settings": settings}
    usual = {"partitions": 1, "backend": "memory", "settings": None}
    plan = Plan(
        entity_or_topic,
        _rows(entity_or_topic, about, window, fields),
        _window(entity_or_topic, about, window),
        subject,
        check,
        {key: value for key, value in driver.items() if value != usual[key]},
        max_age,
        topic_loss,
    )
    machine: Any = type(
        "TableMachine", (TableMachine,), {"plan": plan, "failures": {}, "__doc__": f"The machine of {name}."}
    )
    # Shrinking takes minutes, and the machine has its own way; the script explains what fails.
    left_out = (hypothesis.Phase.shrink, hypothesis.Phase.explain)
    phases = [one for one in hypothesis.settings().phases if one not in left_out]
    machine.TestCase.settings = hypothesis.settings(
        machine.TestCase.settings, stateful_step_count=MOST_STEPS, phases=phases
    )
    return machine  # type: ignore[no-any-return]


def _window(entity_or_topic: type[Any] | str, about: str, given: DeclaredWindow | None) -> Window | None:
    """Return the window that is meant, the smallest one unless it is given."""
    windows = () if isinstance(entity_or_topic, str) else model_of(entity_or_topic).windows
    if not windows:
        if given is not None:
            raise ConfigError(f"{about}: window={bounded_repr(given)}, but it has no windows: leave it out")
        return None
    found = windows[0] if given is None else find_window(given, windows)
    if found is None:
        labels = ", ".join(one.label for one in windows)
        raise ConfigError(f"{about} has no window {bounded_repr(given)}; declared: {labels}")
    if found.is_session:
        raise ConfigError(f"{about}: sessions are not drawn: write their records with a TestDriver")
    return found


def _rows(
    entity_or_topic: type[Any] | str,
    about: str,
    window: DeclaredWindow | None,
    fields: Mapping[str, Values],
) -> Rows:
    fields_of = () if isinstance(entity_or_topic, str) else model_of(entity_or_topic).record_type.fields
    names = {one.name for one in fields_of if one.window is None}
    unknown = sorted(fields.keys() - names)
    if unknown:
        listed = ", ".join(map(repr, unknown))
        raise ConfigError(f"{about}: fields= has {listed}; there are: {', '.join(sorted(names)) or 'none'}")
    if isinstance(entity_or_topic, str):
        return rows_of_bytes()
    chosen, windowing = _window(entity_or_topic, about, window), model_of(entity_or_topic).windowing
    most = MOST_WINDOWS
    if chosen is not None and windowing is not None:  # in so many windows no row ends before another one
        most = min(most, max(1, windowing.retention // chosen.size))
    return rows_of_entity(entity_or_topic, chosen, most, fields)
