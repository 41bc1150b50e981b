"""``F`` and ``agg``: expressions over the fields of an entity, their types and their values.

A file imports only from files above it::

    nodes.py           the tree that an expression is: plain values
    expr.py            F and the operators that build it
    type_checking.py   names and types of an expression, against the fields of an entity
    evaluation.py      the value of an expression for an entity
    aggregates.py      agg: how a window's records make a field of a bar
"""
