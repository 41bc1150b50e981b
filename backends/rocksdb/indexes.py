"""Whether the files of an engine's stores are written with an index and a filter in one piece, or in parts.

A read asks the filter of a file and then its index, which are in the block cache as data is. In one piece
they are read fastest, but a piece that is not in the cache is read and unpacked as a whole. So together they
have to be few beside the cache. In parts, a read needs one part of each, for one look-up more in both: about
a tenth of an uncached read. Files are read in either form, so each store begins with pieces, and goes over to
parts when the stores have many rows.
"""

from __future__ import annotations

from rocksdict import BlockBasedIndexType, BlockBasedOptions, Rdict

from statestore.runtime.weak import Living

_PART = 16 << 10
"""Bytes of a part. Smaller ones take more look-ups, larger ones more time to unpack."""
_RESTART = 16
"""Keys of an index in parts of which only the first is written out. It makes the index a third as large, so
that a search of a large one touches less memory; a search of a small one is faster with all of them."""
_CACHE_PER_ROW = 64
"""Bytes of the cache for each row up to which files have pieces. A row takes 1.6 bytes of an index and a
filter when its value has 20 bytes, 4 with 300 and 9 with 1,000: pieces take a sixth of the cache at most, or
half of it with values that are far larger."""
_STEPS = (
    f"{{index_type=kTwoLevelIndexSearch;index_block_restart_interval={_RESTART}}}",
    "{partition_filters=true}",
)
"""What turns an open database over: one after the other, as a file that is begun meanwhile must not have
parts of a filter beside an index in one piece."""


def write_pieces(table: BlockBasedOptions) -> None:
    """Have files written with pieces, and be ready for those with parts."""
    table.set_metadata_block_size(_PART)
    table.set_pin_top_level_index_and_filter(True)


def write_parts(table: BlockBasedOptions) -> None:
    """Have files written with parts."""
    write_pieces(table)
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_index_block_restart_interval(_RESTART)
    table.set_partition_filters(True)


def turn_over(database: Rdict) -> None:
    """Have an open database write files with parts from now on."""
    for step in _STEPS:
        database.set_options({"block_based_table_factory": step})


class RowCount:
    """About how many rows a store has, 0 once it is closed."""

    rows = 0


class Indexes:
    """Counts the rows of all open stores of an engine, which share its cache. Thread-safe."""

    def __init__(self, cache: int) -> None:
        self.cache = cache
        """Bytes."""
        self._counts: Living[RowCount] = Living()

    def count(self) -> RowCount:
        """Return the count of one more store, which keeps it right."""
        made = RowCount()
        self._counts.add(made)
        return made

    def are_large(self) -> bool:
        """Say whether there are too many rows for pieces."""
        return sum(one.rows for one in self._counts) > self.cache // _CACHE_PER_ROW
