"""``StoreManager``: owns a data directory, and opens, binds and closes what is in it."""

from statestore.manager.manager import StoreManager

__all__ = ["StoreManager"]
