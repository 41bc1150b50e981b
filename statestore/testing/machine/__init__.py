"""Any history of a topic against a service that reads it: :func:`table_machine`."""

from __future__ import annotations

from statestore.testing.machine.making import table_machine

__all__ = ["table_machine"]
