"""A plugin of the pytest of ``statestore prove``: tells what happens, in lines of JSON on a pipe.

That pytest has a process of its own. So a backend that ends its process, or never comes back, is a failure of
the test that was under way.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from statestore.backends.contract import Engine
from statestore.testing.conformance import tally

MEMORY_BUDGET = 16 << 20
"""Bytes that each engine of the suite may use."""

VARIABLE = "STATESTORE_PROOF"
"""The variable of the environment that has what was asked for, as JSON."""

chosen: dict[str, Any] = {}
"""``engine`` (``module:attribute``), ``kills``, ``examples``, ``only``, ``limit``, ``done``, ``pipe``."""

GROUPS: Mapping[str, tuple[str, str]] = {
    "ReadingTests": ("reading", "Point reads and scans"),
    "WritingTests": ("writing", "Batches"),
    "RangeTests": ("ranges", "Deleting ranges"),
    "IsolationTests": ("isolation", "Snapshots and scans beside writes"),
    "LifetimeTests": ("lifetime", "Opening, closing, threads, forks"),
    "DurabilityTests": ("durability", "What outlives a close"),
    "LoadingTests": ("loading", "Sorted runs loaded as one"),
    "BackendConformance": ("machine", "Any sequence of calls"),
    "CrashTests": ("crashes", "kill -9, and damaged files"),
    "SharingConformance": ("sharing", "Processes that read beside the owner"),
}
"""The short name and the title of what each class of the suite tests, in the order of reports."""


def load(path: str) -> Any:
    """Return what ``module:attribute`` names. Raises what the import raises, and ``AttributeError``."""
    module, _, attribute = path.partition(":")
    found = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return found


def engine_class() -> type[Engine]:
    found: type[Engine] = load(chosen["engine"])
    return found


def engine_factory() -> Callable[[], Engine]:
    return partial(engine_class(), memory_budget=MEMORY_BUDGET)


def pytest_configure(config: pytest.Config) -> None:
    chosen.update(json.loads(os.environ[VARIABLE]))
    os.set_inheritable(chosen["pipe"], False)
    config.pluginmanager.register(Teller(chosen["pipe"]))


class Teller:
    """Tells what is tested and how it ended."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._ended: dict[str, Any] = {}

    def _tell(self, event: str, **values: Any) -> None:
        line = json.dumps({"event": event, **values}).encode() + b"\n"
        while line:
            line = line[os.write(self._pipe, line) :]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [item for item in items if self._is_wanted(item)]
        self._tell("collected", tests=[described(item) for item in wanted], left=len(items) - len(wanted))
        items[:] = [item for item in wanted if item.name not in chosen["done"]]
        for item in items:
            item.add_marker(pytest.mark.timeout(chosen["limit"]))

    def _is_wanted(self, item: pytest.Item) -> bool:
        name = f"{described(item)['group']}/{item.name}"
        return not chosen["only"] or any(one in name for one in chosen["only"])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        tally.DONE.clear()
        tally.NOT_APPLICABLE.clear()
        self._ended = {"name": name_of(nodeid), "failed": False, "seconds": 0.0, "message": "", "details": ""}
        self._tell("began", name=name_of(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ended["seconds"] += report.duration
        if report.passed or self._ended["failed"]:
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        self._ended |= {
            "failed": True,
            "message": crash.message if crash else report.longreprtext.strip().rpartition("\n")[2],
            "details": "\n".join([report.longreprtext, *(text for _, text in report.sections)]),
        }

    def pytest_runtest_logfinish(self) -> None:
        why = "; ".join(sorted(tally.NOT_APPLICABLE))
        self._tell("ended", **self._ended, done=dict(tally.DONE), why=why)


def name_of(nodeid: str) -> str:
    """Return the name of a test with its variant, ``test_x[True]``."""
    return nodeid.split("::", 2)[2]


def described(item: pytest.Item) -> dict[str, str]:
    """Return what a report says of a test before it has run."""
    assert isinstance(item, pytest.Function)
    cls = item.cls
    assert cls is not None
    owner = next(one for one in cls.__mro__ if item.originalname in vars(one)).__name__
    group, title = GROUPS[owner]
    return {
        "name": item.name,
        "test": item.originalname,
        "group": group,
        "title": title,
        "promise": promise(item.originalname, item.function.__doc__),
    }


def promise(name: str, docstring: str | None) -> str:
    """Return what a test shows, as a sentence: how its docstring begins, else its name."""
    if docstring is not None:
        return docstring.strip().partition("\n")[0].removesuffix(".")
    words = name.removeprefix("test_").replace("_", " ")
    return words[0].upper() + words[1:]
