"""Reading a bound topic."""

from statestore.query.table import BytesTable, Table

__all__ = ["BytesTable", "Table"]
