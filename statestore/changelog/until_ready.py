"""Waiting until tables are ready."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from statestore.changelog.status import Status
from statestore.errors import ReadyTimeoutError
from statestore.runtime.futures import all_or_first_error
from statestore.runtime.interrupts import TimeOverError, shielded
from statestore.runtime.steps import Steps


def readied(tables: Sequence[Status], timeout: float | None) -> Steps[None]:
    """Wait until all of ``tables`` are ready.

    Raises at once the failure of a failed table, ``StoreClosedError`` for a closed and ``StoreNotReadyError``
    for a stopped one; when the time is up, ``ReadyTimeoutError`` naming each table that is not ready.
    """
    while missing := [one for one in tables if not one.ready]:
        waits: list[tuple[Status, Future[None]]] = []
        try:
            waits += [(one, one.becomes_ready()) for one in missing]
            futures = [future for _, future in waits]
            # Several are joined on another thread: a signal handler that raises would be lost in a callback.
            yield futures[0] if len(futures) == 1 else shielded(partial(all_or_first_error, futures))
        except TimeOverError:
            late = [one for one in tables if not one.ready] or missing
            lags = [one.lag for one in late]
            known = [lag for lag in lags if lag is not None]
            raise ReadyTimeoutError(
                f"not ready after {timeout or 0.0:g} s: " + "; ".join(one.describe() for one in late),
                lag=sum(known) if len(known) == len(lags) else None,
                reason=late[0].reason,
            ) from None
        finally:
            for one, future in waits:
                one.forget_ready(future)
    for one in tables:
        one.check_open()
