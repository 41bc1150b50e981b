"""Embedded, crash-safe, queryable mirrors of compacted Kafka topics."""
