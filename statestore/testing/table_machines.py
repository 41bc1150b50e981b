"""Any history of a topic against a service that reads it: :func:`table_machine`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import hypothesis
from hypothesis.stateful import RuleBasedStateMachine

from statestore.entity import model_of
from statestore.errors import ConfigError
from statestore.fields.windows import DeclaredWindow, Window, find_window
from statestore.runtime.text import bounded_repr
from statestore.settings import SettingsArgument
from statestore.testing.table_plan import Check, Plan, Subject, Values, rows_of_bytes, rows_of_entity
from statestore.testing.table_rules import TableMachine

MOST_WINDOWS = 3
MOST_STEPS = 15
"""Steps of an example, unless the test's settings say otherwise."""
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
    compacted, time passes, the process ends and is killed. What fails is shrunk to a few steps; the error has
    them as a script in a note, which test reports show.

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
    model = None if isinstance(entity_or_topic, str) else model_of(entity_or_topic)
    chosen: Window | None = None
    most = MOST_WINDOWS
    if model is not None and model.windowing is not None:
        chosen = model.windows[0] if window is None else find_window(window, model.windows)
        if chosen is None or chosen.is_session:
            raise ConfigError(f"table_machine({model.name}, window={bounded_repr(window)})")
        most = min(most, max(1, model.windowing.retention // chosen.size))
    rows = (
        rows_of_bytes()
        if isinstance(entity_or_topic, str)
        else rows_of_entity(entity_or_topic, chosen, most, fields)
    )
    if settings is None and topic_loss:
        settings = REBUILD
    driver: dict[str, Any] = {}
    if partitions != 1:
        driver["partitions"] = partitions
    if backend != "memory":
        driver["backend"] = backend
    if settings is not None:
        driver["settings"] = settings
    plan = Plan(entity_or_topic, rows, chosen, subject, check, driver, max_age, topic_loss)
    name = entity_or_topic if isinstance(entity_or_topic, str) else entity_or_topic.__name__
    machine: Any = type("TableMachine", (TableMachine,), {"plan": plan, "__doc__": f"The machine of {name}."})
    # An example takes milliseconds a step, and its script explains it.
    phases = [one for one in hypothesis.settings().phases if one is not hypothesis.Phase.explain]
    usual = machine.TestCase.settings
    machine.TestCase.settings = hypothesis.settings(usual, stateful_step_count=MOST_STEPS, phases=phases)
    return machine  # type: ignore[no-any-return]
