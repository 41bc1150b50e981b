"""The streams, tables and queries of the stand-in for ksqlDB, and what statements do to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from statestore.deploy.text import Token, significant, tokens
from statestore.ksql.statements import SourceColumn, Statement

_VERSION = re.compile(r"_[Vv]\d+$")
BAD_STATEMENT = 40001


class RefusedError(Exception):
    """The server refuses a statement: an error code and a message."""

    def __init__(self, message: str, code: int = BAD_STATEMENT, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status, self.statement = code, status, ""


@dataclass
class Source:
    """A stream or table."""

    name: str
    kind: str
    topic: str
    columns: tuple[SourceColumn, ...]


@dataclass
class RunningQuery:
    """A persistent query."""

    id: str
    sink: str
    sources: tuple[str, ...]
    text: str


@dataclass
class Catalog:
    """What the server has. ``schemas`` tells the columns of what queries make, which no engine derives
    here."""

    sources: dict[str, Source] = field(default_factory=dict)
    queries: dict[str, RunningQuery] = field(default_factory=dict)
    schemas: dict[str, tuple[SourceColumn, ...]] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    """Every statement that changed something, in order."""
    properties: dict[str, str] = field(default_factory=dict)

    def learn(self, statements: Iterable[Statement]) -> None:
        """Know the columns of what ``statements`` make."""
        for one in statements:
            if one.columns:
                self.schemas[one.name] = one.columns

    def run(self, text: str) -> dict[str, Any]:
        """Carry out one statement; return the answer about it."""
        words = significant(text)
        begin = " ".join(token.word for token in words[:2])
        if begin.startswith(("LIST ", "SHOW ")):
            return self._list(begin.split()[1], text)
        if words[0].word == "DESCRIBE":
            return self._describe(words[1].name, text)
        if words[0].word == "CREATE":
            return self._create(words, text)
        if begin == "INSERT INTO":
            target = self._existing(words[2].name)
            return self._started(RunningQuery(self._id("INSERTQUERY"), target.name, self._read(words), text))
        if words[0].word == "TERMINATE":
            return self._terminate(words[1].text, text)
        if words[0].word == "DROP":
            return self._drop(words, text)
        raise RefusedError(f"line 1:1: mismatched input '{words[0].text}'")

    def _list(self, what: str, text: str) -> dict[str, Any]:
        if what in ("STREAMS", "TABLES"):
            listed = [
                {
                    "type": one.kind,
                    "name": one.name,
                    "topic": one.topic,
                    "keyFormat": "KAFKA",
                    "valueFormat": "JSON",
                }
                for one in self.sources.values()
                if one.kind == what[:-1]
            ]
            return {"@type": what.lower(), "statementText": text, what.lower(): listed, "warnings": []}
        listed = [{"name": name, "value": value, "scope": "KSQL"} for name, value in self.properties.items()]
        return {"@type": "properties", "statementText": text, "properties": listed, "warnings": []}

    def _describe(self, name: str, text: str) -> dict[str, Any]:
        one = self.sources.get(name)
        if one is None:
            raise RefusedError(f"Could not find STREAM/TABLE '{name}' in the Metastore")
        described = {
            "name": name,
            "type": one.kind,
            "topic": one.topic,
            "fields": [_field(column) for column in one.columns],
            "readQueries": [_shown(query) for query in self.queries.values() if name in query.sources],
            "writeQueries": [_shown(query) for query in self.queries.values() if query.sink == name],
        }
        return {
            "@type": "sourceDescription",
            "statementText": text,
            "sourceDescription": described,
            "warnings": [],
        }

    def _create(self, words: Sequence[Token], text: str) -> dict[str, Any]:
        place = next(number for number, one in enumerate(words) if one.word in ("STREAM", "TABLE"))
        kind, replacing = words[place].word, words[1].word == "OR"
        tolerant = [one.word for one in words[place + 1 : place + 4]] == ["IF", "NOT", "EXISTS"]
        name = words[place + (4 if tolerant else 1)].name
        if name in self.sources and not replacing:
            message = (
                f"Cannot add {kind.lower()} `{name}`: A {kind.lower()} with the same name already exists"
            )
            if tolerant:
                return {"@type": "warning_entity", "statementText": text, "message": message, "warnings": []}
            raise RefusedError(message)
        read = self._read(words)
        columns = tuple(_columns(words)) if not read else self.schemas.get(_VERSION.sub("", name), ())
        self.sources[name] = Source(name, kind, _topic(words) or name, columns)
        if not read:
            return self._done(text, f"{kind.capitalize()} created")
        for query in [one.id for one in self.queries.values() if one.sink == name and one.id.startswith("C")]:
            del self.queries[query]
        return self._started(RunningQuery(self._id(f"C{kind[0]}AS_{name}"), name, read, text))

    def _terminate(self, query: str, text: str) -> dict[str, Any]:
        if self.queries.pop(query, None) is None:
            raise RefusedError(f"Unknown queryId: {query}")
        return self._done(text, "Query terminated.")

    def _drop(self, words: Sequence[Token], text: str) -> dict[str, Any]:
        name = next(one.name for one in words[2:] if one.word not in ("IF", "EXISTS"))
        if name not in self.sources:
            return self._done(text, f"Source {name} does not exist.")
        if using := [one.id for one in self.queries.values() if name in (one.sink, *one.sources)]:
            raise RefusedError(f"Cannot drop {name}. The following queries use it: [{', '.join(using)}]")
        del self.sources[name]
        return self._done(text, f"Source {name} was dropped.")

    def _read(self, words: Sequence[Token]) -> tuple[str, ...]:
        read = [
            following.name
            for before, here, following in zip(words, words[1:], words[2:], strict=False)
            if here.word in ("FROM", "JOIN") and before.word != "DISTINCT"
        ]
        return tuple(self._existing(name).name for name in read)

    def _existing(self, name: str) -> Source:
        if name not in self.sources:
            raise RefusedError(f"{name} does not exist.")
        return self.sources[name]

    def _id(self, stem: str) -> str:
        return f"{stem}_{len(self.executed)}"

    def _started(self, query: RunningQuery) -> dict[str, Any]:
        self.queries[query.id] = query
        return self._done(query.text, f"Created query with ID {query.id}", query.id)

    def _done(self, text: str, message: str, query: str | None = None) -> dict[str, Any]:
        self.executed.append(text)
        sequence = len(self.executed)
        return {
            "@type": "currentStatus",
            "statementText": text,
            "commandId": f"stream/`{sequence}`/execute",
            "commandStatus": {"status": "SUCCESS", "message": message, "queryId": query},
            "commandSequenceNumber": sequence,
            "warnings": [],
        }


def split(text: str) -> Iterator[str]:
    """Iterate over the statements in a request."""
    statement = ""
    for token in tokens(text):
        statement += token.text
        if token.text == ";":
            yield statement.strip()
            statement = ""
    if statement.strip():
        yield statement.strip()


def _topic(words: Sequence[Token]) -> str:
    for name, _, value in zip(words, words[1:], words[2:], strict=False):
        if name.name.strip("'").upper() == "KAFKA_TOPIC":
            return value.text.strip("'")
    return ""


def _columns(words: Sequence[Token]) -> Iterator[SourceColumn]:
    """Iterate over the columns in the parentheses after the name."""
    begin = next((place for place, one in enumerate(words) if one.text == "("), len(words))
    column: list[Token] = []
    depth = 0
    for one in words[begin:]:
        depth += (one.text in "(<") - (one.text in ")>")
        if (one.text == "," and depth == 1) or depth == 0:
            yield _column(column)
            column = []
        elif depth > 1 or one.text != "(":
            column.append(one)
        if depth == 0:
            return


def _column(words: list[Token]) -> SourceColumn:
    name, *rest = words
    is_key = rest[-1].word == "KEY"
    kind = [one.text for one in rest if one.word not in ("PRIMARY", "KEY")]
    return SourceColumn(
        name.name, re.sub(r"\s*([(<>)])\s*", r"\1", " ".join(kind)).replace(" ,", ","), is_key
    )


def _field(column: SourceColumn) -> dict[str, Any]:
    described: dict[str, Any] = {"name": column.name, "schema": _schema(column.type)}
    return {**described, "type": "KEY"} if column.is_key else described


def _schema(text: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": text, "fields": None, "memberSchema": None}
    if found := re.fullmatch(r"DECIMAL\((\d+), ?(\d+)\)", text):
        schema |= {"type": "DECIMAL", "parameters": {"precision": int(found[1]), "scale": int(found[2])}}
    elif found := re.fullmatch(r"ARRAY<(.*)>", text):
        schema |= {"type": "ARRAY", "memberSchema": _schema(found[1])}
    elif found := re.fullmatch(r"MAP<\w+, ?(.*)>", text):
        schema |= {"type": "MAP", "memberSchema": _schema(found[1])}
    else:
        schema["type"] = {"VARCHAR": "STRING", "INT": "INTEGER"}.get(text, text)
    return schema


def _shown(query: RunningQuery) -> dict[str, Any]:
    return {"id": query.id, "queryString": query.text, "sinks": [query.sink]}
