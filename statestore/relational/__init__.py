"""Queries as plain values, a SELECT in parts, which the local store runs and a translator reads.

A file imports only from files above it::

    results.py         Row, the rows of a select without a class; classes that select fills; dicts
    checking.py        a clause against the fields that it is over: every fault, at the call that adds it
    translation.py     what Query.to_ksql calls: the package ksql, which stands above
    values.py          Query: what is asked for, as a plain value that knows no store
"""
