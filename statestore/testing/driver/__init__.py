"""A service's tables without a broker: :class:`TestDriver`, and the cluster in memory under it."""

from __future__ import annotations

from statestore.testing.driver.driver import START, DriverTransaction, TestDriver

__all__ = ["DriverTransaction", "START", "TestDriver"]
