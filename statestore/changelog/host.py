"""What a binding asks of the manager's binder, which knows the bindings; they do not know it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from statestore.changelog.lane import Lane, LaneMember
from statestore.changelog.status import Connection
from statestore.runtime.worker import Worker
from statestore.settings import Defaults

B_contra = TypeVar("B_contra", contravariant=True)


class Host(Protocol[B_contra]):
    """The threads and the connection that all bindings of a manager share."""

    defaults: Defaults
    changed: threading.Condition
    connection: Connection
    restoring: Lane
    following: Lane
    supervisor: Worker
    events: Worker

    def connect(self, binding: B_contra, run: int) -> None:
        """Find out where the partitions begin and end, and have the binding start to read. Any thread."""

    def forget(self, binding: B_contra) -> None:
        """Ask the broker nothing more about a closed binding."""

    def lane_of(self, binding: LaneMember) -> Lane:
        """Return the lane that the binding is in, ``following`` where it is in none."""
        ...

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait on ``changed`` until ``done()``; tell whether it became true."""
        ...
