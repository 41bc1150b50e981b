"""The KSQL translator: entities and queries as statements that ksqlDB accepts.

Pure: it knows fields, expressions, entities and query values, and nothing of stores, Kafka and servers.
A file imports only from files above it::

    lexis.py           names and literals, quoted and escaped
    scope.py           Scope: what an expression is translated over, and where its faults go
    expressions.py     expressions, conditions and their types
    aggregates.py      aggregates, and their types
    statements.py      Statement: one statement, and what a deployer must know of it
"""
