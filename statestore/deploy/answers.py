"""What ksqlDB answers, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from statestore.ksql.statements import SourceColumn

PENDING = frozenset({"QUEUED", "PARSING", "EXECUTING"})
"""States of a statement that the server has taken and not carried out yet."""

_PSEUDO = frozenset({"ROWTIME", "ROWPARTITION", "ROWOFFSET", "WINDOWSTART", "WINDOWEND"})
_TYPES = {"INT": "INTEGER", "VARCHAR": "STRING"}
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Which server answers: of ``/info``."""

    version: str
    cluster: str
    """The id of the Kafka cluster."""
    service: str
    """The id of the ksqlDB service, which has its own streams and tables."""

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number; ``(0, 0)`` where the version has none."""
        found = _VERSION.search(self.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True, slots=True)
class ServerSource:
    """A stream or table as the server lists it."""

    name: str
    kind: str
    """``STREAM`` or ``TABLE``."""
    topic: str


@dataclass(frozen=True, slots=True)
class Description:
    """A stream or table as the server describes it."""

    name: str
    kind: str
    topic: str
    columns: tuple[SourceColumn, ...]
    written_by: tuple[str, ...]
    """The ids of the queries that write it."""
    read_by: tuple[str, ...]
    """The ids of the queries that read it."""


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What became of a statement."""

    status: str
    """``SUCCESS``, or a state of ``PENDING``; empty where the server only warned."""
    message: str
    command: str = ""
    """The id to ask for the status with."""
    sequence: int = -1
    query: str = ""
    """The id of the query that it started."""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join([self.message, *(f"warning: {one}" for one in self.warnings)])


def server_info(answer: Mapping[str, Any]) -> ServerInfo:
    info = answer.get("KsqlServerInfo", answer)
    return ServerInfo(
        str(info.get("version", "")), str(info.get("kafkaClusterId", "")), str(info.get("ksqlServiceId", ""))
    )


def server_sources(answers: list[Mapping[str, Any]]) -> Iterator[ServerSource]:
    for answer in answers:
        for kind in ("streams", "tables"):
            for one in answer.get(kind) or ():
                yield ServerSource(one["name"], kind[:-1].upper(), one.get("topic", ""))


def server_properties(answers: list[Mapping[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """Iterate over the server's properties: old servers give a mapping, later ones a list of objects."""
    for answer in answers:
        given = answer.get("properties") or ()
        for one in (
            given.items() if isinstance(given, Mapping) else ((x["name"], x.get("value")) for x in given)
        ):
            yield one[0], None if one[1] is None else str(one[1])


def descriptions(answers: list[Mapping[str, Any]]) -> Description | None:
    """Return the first description among the answers."""
    return next(
        (_description(one["sourceDescription"]) for one in answers if "sourceDescription" in one), None
    )


def _description(found: Mapping[str, Any]) -> Description:
    return Description(
        found["name"].strip("`"),
        found.get("type", ""),
        found.get("topic", ""),
        tuple(_column(one) for one in found.get("fields") or () if one["name"] not in _PSEUDO),
        tuple(one["id"] for one in found.get("writeQueries") or ()),
        tuple(one["id"] for one in found.get("readQueries") or ()),
    )


def command_answer(answer: Mapping[str, Any]) -> CommandAnswer:
    status = answer.get("commandStatus") or {}
    sequence = answer.get("commandSequenceNumber")
    return CommandAnswer(
        str(status.get("status", "")),
        str(status.get("message") or answer.get("message") or ""),
        str(answer.get("commandId") or ""),
        -1 if sequence is None else int(sequence),
        str(status.get("queryId") or ""),
        tuple(str(one.get("message", one)) for one in answer.get("warnings") or ()),
    )


def command_status(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of a statement, and what the server says of it."""
    return str(answer.get("status", "")), str(answer.get("message", ""))


def _column(field: Mapping[str, Any]) -> SourceColumn:
    return SourceColumn(field["name"], type_text(field["schema"]), field.get("type") == "KEY")


def type_text(schema: Mapping[str, Any]) -> str:
    """Return the type of a described column as KSQL writes it."""
    kind = str(schema.get("type", ""))
    if kind == "DECIMAL" and (given := schema.get("parameters")):
        return f"DECIMAL({given['precision']}, {given['scale']})"
    if kind == "ARRAY":
        return f"ARRAY<{type_text(schema['memberSchema'])}>"
    if kind == "MAP":  # the type of its keys is not told
        return f"MAP<STRING, {type_text(schema['memberSchema'])}>"
    if kind == "STRUCT":
        inner = ", ".join(f"`{one['name']}` {type_text(one['schema'])}" for one in schema.get("fields") or ())
        return f"STRUCT<{inner}>"
    return kind


def comparable_type(text: str) -> str:
    """Return a type as it can be compared: one name for each type, no blanks, no quotes where none are
    needed."""
    found = re.findall(r"`(?:[^`]|``)*`|[A-Za-z0-9_]+|[^\sA-Za-z0-9_]", text)
    words = []
    for word in found:
        if word.startswith("`"):
            words.append(word[1:-1] if re.fullmatch(r"[A-Z_][A-Z0-9_]*", word[1:-1]) else word)
        else:
            words.append(_TYPES.get(word.upper(), word.upper()))
    return " ".join(words)
