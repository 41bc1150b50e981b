"""Names of stores and topics.

A store has a *logical* name, which people read and configure (``Order_Store``), and a *physical* name, the
name of its directory (``order_store``). Two logical names can have the same physical name (``a.b`` and
``a-b``). Code that opens stores must refuse the second one, so that they never share data. Every faulty name
raises ``ConfigError``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from statestore.errors import ConfigError
from statestore.runtime.text import bounded_repr

MAX_TOPIC_NAME = 249
"""Longest topic name Kafka accepts, in characters (all of them ASCII)."""
MAX_FILE_NAME = 255
"""Longest directory name of the usual file systems, in bytes."""
RESERVED_NAMES = frozenset({"lock"})
"""Physical names that equal the data directory's own file ``LOCK`` where case is ignored (macOS)."""

KSQL_RESERVED = frozenset(
    re.findall(
        "[A-Z]+",
        """
        SELECT FROM AS ALL DISTINCT WHERE WITHIN WINDOW GROUP BY HAVING LIMIT AT OR AND IN NOT EXISTS
        BETWEEN LIKE IS NULL TRUE FALSE MILLISECOND YEARS MONTHS DAYS HOURS MINUTES SECONDS MILLISECONDS
        TUMBLING HOPPING SIZE ADVANCE RETENTION CASE WHEN THEN ELSE END JOIN FULL OUTER INNER LEFT RIGHT
        ON WITH VALUES CREATE TABLE TOPIC STREAM STREAMS INSERT DELETE INTO DESCRIBE EXTENDED PRINT CAST
        LIST TOPICS QUERY QUERIES TERMINATE LOAD DROP TO RENAME SAMPLE EXPORT CATALOG PROPERTIES BEGINNING
        UNSET RUN SCRIPT DECIMAL CONNECTOR CONNECTORS NAMESPACE MATERIALIZED VIEW
        """,
    )
)
"""Words that KSQL accepts as names only between backticks."""
KSQL_SYSTEM_COLUMNS = frozenset({"ROWTIME", "ROWPARTITION", "ROWOFFSET", "WINDOWSTART", "WINDOWEND"})
"""Columns that every source has in ksqlDB. No field can have such a name."""

_NOT_KSQL = re.compile(r"[^A-Za-z0-9_-]")
_NOT_PLAIN_KSQL = re.compile(r"[^A-Z0-9_]")
_NOT_PHYSICAL = re.compile(r"[^a-z0-9_]")
_NOT_IN_TOPIC = re.compile(r"[^A-Za-z0-9._-]")


def logical_name(name: str) -> str:
    """Return the logical name of the store of an entity class or, for a table of bytes, of a topic."""
    return f"{name}_Store"


def window_names(logical: str, physical: str, label: str) -> tuple[str, str]:
    """Return the names of the store of one window: ``Candle_5min_Store`` beside ``Candle_Store``."""

    def of(name: str, ending: str) -> str:
        return f"{name.removesuffix(ending)}_{label}{ending if name.endswith(ending) else ''}"

    return of(logical, "_Store"), of(physical, "_store")


def check_logical_name(name: object) -> str:
    """Return ``name`` if it is a logical name: any string but the empty one."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"a store's name must be a non-empty string, not {bounded_repr(name)}")
    return name


def physical_name(logical: object) -> str:
    """Return the directory name of the store ``logical``: lower case, ``_`` for all but ``[a-z0-9_]``."""
    return check_physical_name(_NOT_PHYSICAL.sub("_", check_logical_name(logical).lower()))


def check_physical_name(name: object) -> str:
    """Return ``name`` if it is a physical name."""
    shown = bounded_repr(name)
    if not isinstance(name, str) or not name or _NOT_PHYSICAL.search(name):
        raise ConfigError(
            f"physical name {shown}: the name of a store's directory must consist of a-z, 0-9 and _"
        )
    if len(name) > MAX_FILE_NAME:
        raise ConfigError(
            f"physical name {shown}: {len(name)} bytes, but file systems allow {MAX_FILE_NAME}; "
            "give the store a shorter name"
        )
    if name in RESERVED_NAMES:
        raise ConfigError(
            f"physical name {shown}: reserved for the data directory's own file; choose another"
        )
    return name


def check_topic_name(name: object) -> str:
    """Return ``name`` if it is a topic name that Kafka allows."""
    shown = bounded_repr(name)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"a topic's name must be a non-empty string, not {shown}")
    if name in (".", ".."):
        raise ConfigError(f"topic {shown}: Kafka reserves this name; choose another")
    if len(name) > MAX_TOPIC_NAME:
        raise ConfigError(
            f"topic {shown}: {len(name)} characters, but Kafka allows {MAX_TOPIC_NAME}; choose a shorter name"
        )
    if odd := _NOT_IN_TOPIC.search(name):
        raise ConfigError(
            f"topic {shown}: {odd.group()!r} is not allowed; use letters, digits, '.', '_' and '-' only"
        )
    return name


def ksql_name(topic: str) -> str:
    """Return the name in ksqlDB of the stream or table of a topic, where none is given."""
    return _NOT_PLAIN_KSQL.sub("_", topic.upper())


def window_ksql_name(name: str, label: str) -> str:
    """Return the name in ksqlDB of the table of one window: ``CANDLES_5MIN`` beside ``CANDLES``."""
    return f"{name}_{label.upper()}"


def check_ksql_name(name: object) -> str:
    """Return ``name`` if a stream or table of ksqlDB can have it. Raises ``ConfigError``."""
    shown = bounded_repr(name)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"ksql_name must be a non-empty string, not {shown}")
    if odd := _NOT_KSQL.search(name):
        raise ConfigError(
            f"ksql_name {shown}: {odd.group()!r} is not allowed; names of streams and tables in ksqlDB have "
            "letters, digits, '_' and '-' only, and are upper case by custom"
        )
    return name


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'amount'?)"`` if one of ``known`` resembles ``name``, otherwise ``""``."""
    like = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {like[0]!r}?)" if like else ""
