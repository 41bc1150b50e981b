"""The KSQL translator: entities and queries as statements that ksqlDB accepts.

Pure: it knows fields, expressions, entities and query values, and nothing of stores, Kafka and servers.
A file imports only from files above it::

    lexis.py           names and literals, quoted and escaped
    statements.py      Statement: one statement, and what a deployer must know of it
"""
