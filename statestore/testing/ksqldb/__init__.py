"""A stand-in for a ksqlDB server: :class:`StandInKsqldb`."""

from __future__ import annotations

from statestore.testing.ksqldb.server import Fault, StandInKsqldb

__all__ = ["Fault", "StandInKsqldb"]
