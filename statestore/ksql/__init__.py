"""The KSQL translator: entities and queries as statements that ksqlDB accepts.

Pure: it knows fields, expressions, entities and query values, and nothing of stores, Kafka and servers.
A file imports only from files above it::

    lexis.py           names and literals, quoted and escaped
    scope.py           Scope: what an expression is translated over, and where its faults go
    terms.py           parts of an expression, put together by precedence
    kinds.py           the types of values, and the numbers that they can have
    values.py          fields and constants
    arithmetic.py      computations
    comparisons.py     comparisons, by type
    texts.py           tests of texts
    conditions.py      conditions, true or false
    expressions.py     expressions and conditions, checked, and their types
    aggregates.py      aggregates, and their types
    statements.py      Statement: one statement, and what a deployer must know of it
    durations.py       lengths of time
    java_times.py      patterns of times, as Java has them
    sources.py         entities: CREATE STREAM, CREATE TABLE, DROP; columns, formats, properties
    windows.py         windows of a query, WITHIN of a join
    reads.py           what a query reads
    joins.py           which joins there are, and the key of their rows
    inference.py       stream or table, the key, and why
    results.py         the columns of a query's rows
    clauses.py         SELECT, FROM, WHERE, GROUP BY …: a function each
    transient.py       SELECT: pull and push queries
    targets.py         what a persistent query makes, and whether its rows fit the class
    making.py          CREATE … AS SELECT, INSERT INTO
    persistent.py      PersistentQuery: the value, and its statements
    bars.py            a class with windows: its whole set of statements
    collect.py         the statements of a program's modules
"""

from statestore.ksql.bars import statements
from statestore.ksql.collect import collect
from statestore.ksql.persistent import PersistentQuery
from statestore.ksql.sources import create, drop
from statestore.ksql.statements import SourceColumn, Statement
from statestore.ksql.transient import select
from statestore.ksql.windows import Sessions

__all__ = [
    "PersistentQuery",
    "Sessions",
    "SourceColumn",
    "Statement",
    "collect",
    "create",
    "drop",
    "select",
    "statements",
]
