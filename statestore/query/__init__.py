"""Running queries, the values of ``statestore.relational``: what finds their rows in a store.

A file imports only from files above it::

    rows.py            the rows of a range of keys, in the order of the keys' values
    source.py          EntitySource: what rows are read from, and decoded with
    constants.py       constants as programs take them
    compile.py         conditions and aggregates as programs over stored pairs
    grouping.py        aggregates over rows
    key_ranges.py      what a condition says of the key fields
    by_index.py        what a condition says of indexed fields, and the order of an index
    reading.py         TableRead: how the rows of one table are found and filtered
    index_rows.py      the rows that an index finds
    table_rows.py      a TableRead carried out on a store
    joining.py         the partners of each row in another table
    plan.py            Plan: how the tables of a query are read and joined
    explain.py         a plan as text
    ordering.py        order_by: sort keys, and the least rows of many
    run.py             a plan on its stores: an iterator of rows
    arrow.py           types and values as Arrow has them; only here pyarrow is imported
    columns.py         the rows of a query as batches of columns
    facade.py          the same clauses on a table or a snapshot, and what gives results
"""
