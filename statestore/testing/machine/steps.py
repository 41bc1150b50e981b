"""The steps of a machine of tables. Where one fails, the fewest steps that fail in the same way are told.

Hypothesis would take minutes for that: it shrinks what it has drawn, and each draw of a state machine shifts
those that follow. Steps that were drawn are run again without drawing, in milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, TypeVar

from hypothesis.errors import HypothesisException
from hypothesis.stateful import rule

from statestore.testing.machine import scripts
from statestore.testing.machine.reducing import reduced

Method = TypeVar("Method", bound=Callable[..., None])

MOST_REPLAYS = 200
MOST_SECONDS = 20.0
_NO = ("at_once", "read", "kill", "tombstones", "reverse")
_NONE = ("seen", "between", "start", "stop", "limit")
PLAIN: Mapping[str, Any] = MappingProxyType(
    {"commit": True, **dict.fromkeys(_NO, False), **dict.fromkeys(_NONE)}
)
"""The values of arguments that make a step shorter."""


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that was run, and with what."""

    method: Callable[..., None]
    arguments: Mapping[str, Any]

    def failure(self, machine: Any) -> Exception | None:
        """Run the step; return what it raised."""
        try:
            self.method(machine, **self.arguments)
        except HypothesisException:  # such as assume(False)
            raise
        except Exception as error:  # noqa: BLE001 - of whatever the subject raises
            return error
        return None

    def given(self, name: str, value: Any) -> Step:
        return replace(self, arguments={**self.arguments, name: value})


class Kind(NamedTuple):
    """What failures have in common that are taken for the same."""

    error: type[Exception]
    file: str
    line: int
    fault: str


class Failure(NamedTuple):
    """What is raised, as it was raised at first."""

    error: Exception
    traceback: TracebackType | None


def step(**strategies: Any) -> Callable[[Method], Method]:
    """Make a rule of a method. Where it fails, what the fewest steps raise that fail so is raised."""

    def made(method: Method) -> Method:
        @wraps(method)
        def run(machine: Any, **arguments: Any) -> None:
            machine.steps.append(Step(method, arguments))
            error = machine.steps[-1].failure(machine)
            if error is not None:
                raise _fewest(machine, error)

        found: Any = rule(**strategies)
        return found(run)  # type: ignore[no-any-return]

    return made


def _fewest(machine: Any, error: Exception) -> Exception:
    """Return what the fewest steps raise; the same each time, since Hypothesis runs what failed once more."""
    kind = _kind(machine, error)
    if kind not in machine.failures:
        least = _least(type(machine), machine.steps, kind) or error
        machine.failures[kind] = Failure(least, least.__traceback__)
    found: Failure = machine.failures[kind]
    return found.error.with_traceback(found.traceback)


def _least(make: Callable[[], Any], steps: list[Step], kind: Kind) -> Exception | None:
    replays = _Replays(make, kind)
    if replays.fail(steps):  # otherwise it is not the same each time
        steps = reduced(steps, replays.fail)
        for at in range(len(steps)):
            for plainer in _plainer(steps, at, replays.fail):
                steps = plainer
        reduced(steps, replays.fail)
    return replays.error


def _plainer(steps: list[Step], at: int, fail: Callable[[list[Step]], bool]) -> Iterator[list[Step]]:
    """Yield the steps with less and less in one of them, as long as they fail."""

    def with_one(name: str, value: Any) -> list[Step]:
        return [*steps[:at], steps[at].given(name, value), *steps[at + 1 :]]

    def fails_with(name: str, value: Any) -> bool:
        return value != [] and fail(with_one(name, value))

    for name, value in steps[at].arguments.items():
        if isinstance(value, list):
            steps = with_one(name, reduced(value, partial(fails_with, name)))
            yield steps
        elif value != PLAIN.get(name, value) and fails_with(name, PLAIN[name]):
            steps = with_one(name, PLAIN[name])
            yield steps


class _Replays:
    """Runs steps on new machines, and keeps the last failure of one kind. At most so many, and so long."""

    def __init__(self, make: Callable[[], Any], kind: Kind) -> None:
        self._make, self._kind = make, kind
        self._left, self._until = MOST_REPLAYS, time.monotonic() + MOST_SECONDS
        self.error: Exception | None = None

    def fail(self, steps: list[Step]) -> bool:
        """Whether steps fail in the same way."""
        if not self._left or time.monotonic() > self._until:
            return False
        self._left -= 1
        try:
            machine = self._make()
        except Exception:  # noqa: BLE001 - the subject's, where there cannot be several
            return False
        try:
            machine.follow()
            failures = (one.failure(machine) for one in steps)
            error = next((one for one in failures if one is not None), None)
        finally:
            machine.teardown()
        if error is None or _kind(machine, error) != self._kind:
            return False
        self.error = error
        return True


def _kind(machine: Any, error: Exception) -> Kind:
    """Return the kind of a failure: where it is from, and what the machine says of it."""
    file, line, here = "", 0, error.__traceback__
    while here is not None:
        if here.tb_frame.f_code.co_filename != scripts.__file__:  # which runs and fails for all
            file, line = here.tb_frame.f_code.co_filename, here.tb_lineno
        here = here.tb_next
    return Kind(type(error), file, line, machine.fault)
