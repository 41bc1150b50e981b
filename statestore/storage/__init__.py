"""Stores on disk: the data directory, keys and values, positions, rows that end by age."""
