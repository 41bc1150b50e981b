"""The formats of keys: ``docs/key-format.md``."""
