"""Plans: the statements of one application, in order, as a value and as a file that is read in a diff."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

from statestore.deploy.text import is_replacing, sha256_of, statement_fault, subject_of
from statestore.errors import ConfigError
from statestore.ksql.statements import Action, SourceColumn, Statement
from statestore.runtime.text import bounded_repr

FORMAT = 1
"""The format of a plan file."""

_APPLICATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SOURCE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_KEY = " KEY"
"""Marks the columns of the key, after the type."""
_STATED = "stated_sha256"
_CREATES = ("create stream", "create table")
_DEPLOYED = (*_CREATES, "insert into")


@dataclass(frozen=True, slots=True)
class PlannedStatement:
    """One statement of a plan."""

    name: str
    """The stream or table that it makes or fills, as the server knows it."""
    action: Action
    text: str
    sha256: str
    """Of the normal form of ``text``; it tells a text that was altered by hand."""
    reads: tuple[str, ...] = ()
    columns: tuple[SourceColumn, ...] = ()
    """The columns that it is to have; none: they are not compared."""
    topic: str | None = None
    is_persistent: bool = False

    @classmethod
    def of(cls, statement: Statement) -> PlannedStatement:
        return cls(
            statement.name,
            statement.action,
            statement.text,
            sha256_of(statement.text),
            tuple(statement.reads),
            tuple(statement.columns),
            statement.topic,
            statement.is_persistent,
        )

    @property
    def creates(self) -> bool:
        """Whether the statement makes a stream or table; ``INSERT INTO`` only fills one."""
        return self.action in _CREATES

    @property
    def replaces(self) -> bool:
        """Whether a change is made in place: ``CREATE OR REPLACE``."""
        return self.creates and is_replacing(self.text)


@dataclass(frozen=True, slots=True)
class Plan:
    """The statements of one application, each after those whose streams and tables it reads."""

    application: str
    statements: tuple[PlannedStatement, ...]
    created: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0), compare=False)
    statestore: str = field(default="", compare=False)
    """The version of the library that made the plan."""

    @classmethod
    def of(cls, application: str, statements: Iterable[Statement]) -> Plan:
        """Return the plan of ``statements``; raises ``ConfigError`` with all faults of them."""
        plan = cls(
            application, tuple(PlannedStatement.of(one) for one in statements), statestore=library_version()
        )
        plan.validate()
        return plan

    def validate(self) -> None:
        """Raise ``ConfigError`` with every fault that shows without a server."""
        if faults := list(_faults(self)):
            raise ConfigError(faults)

    def to_json(self) -> str:
        """Return the text of the plan's file, the same for the same plan."""
        content = {
            "format": FORMAT,
            "application": self.application,
            "statestore": self.statestore,
            "created": self.created.isoformat(),
            "statements": [_content(one) for one in self.statements],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str = "plan") -> Plan:
        """Return the plan in ``text``, validated. ``place`` is what errors call it."""
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                found = bounded_repr(content.get("format") if isinstance(content, dict) else content)
                raise ConfigError(
                    f"{place}: format is {found}, but this version reads format {FORMAT}: write the plan "
                    "again with 'statestore ksql plan print … --out FILE'"
                )
            application, statements = content["application"], content["statements"]
            if not isinstance(statements, list):
                raise TypeError("its statements are no list")
            plan = cls(
                application,
                tuple(map(_planned, statements)),
                datetime.fromisoformat(content["created"]),
                content.get("statestore", ""),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ConfigError(
                f"{place} is not a plan: {what}; write it with 'statestore ksql plan print'"
            ) from error
        if faults := [*_faults(plan), *_altered(statements)]:
            raise ConfigError([f"{place}: {fault}" for fault in faults])
        return plan

    def save(self, path: str | Path) -> None:
        """Write the plan's file."""
        try:
            Path(path).write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan's file; raises ``ConfigError`` with every fault, a statement altered by hand
        included."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        return cls.from_json(text, str(path))


def _content(one: PlannedStatement) -> dict[str, Any]:
    """Return a statement as a file has it: its text by lines, each column on one."""
    content = {
        "name": one.name,
        "action": one.action,
        "text": one.text.split("\n"),
        "sha256": one.sha256,
        "reads": one.reads,
        "columns": {column.name: column.type + _KEY * column.is_key for column in one.columns},
        "topic": one.topic,
        "is_persistent": one.is_persistent,
    }
    return content | {_STATED: _sha256_of_stated(content)}


def _sha256_of_stated(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a file states beside the text of a statement, whose hash is part of it."""
    stated = {name: value for name, value in content.items() if name not in ("text", _STATED)}
    return sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _altered(statements: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for one in statements:
        if one.get(_STATED) != _sha256_of_stated(one):
            yield (
                f"statement {one['name']}: what is stated beside its text (name, action, sha256, reads, "
                "columns, topic, is_persistent) was altered after the plan was made; change the Python "
                "declaration and write the plan again"
            )


def _planned(content: Mapping[str, Any]) -> PlannedStatement:
    columns = tuple(
        SourceColumn(name, text.removesuffix(_KEY), text.endswith(_KEY))
        for name, text in content["columns"].items()
    )
    known = {name: content[name] for name in ("name", "action", "sha256", "topic", "is_persistent")}
    reads, text = content["reads"], "\n".join(content["text"])
    if wrong := [name for name in ("name", "action", "sha256") if not isinstance(known[name], str)]:
        raise TypeError(f"{', '.join(wrong)} of a statement is no text")
    if not isinstance(reads, list) or not all(isinstance(one, str) for one in reads):
        raise TypeError(f"reads of {known['name']} is no list of names")
    if not isinstance(known["topic"], str | None) or not isinstance(known["is_persistent"], bool):
        raise TypeError(f"topic or is_persistent of {known['name']} is neither text nor null, true nor false")
    text.encode()  # half a pair of surrogates is no text
    return PlannedStatement(**known, text=text, reads=tuple(reads), columns=columns)


def _faults(plan: Plan) -> Iterator[str]:
    if not isinstance(plan.application, str) or not _APPLICATION.fullmatch(plan.application):  # type: ignore[redundant-expr]
        yield (
            f"application {bounded_repr(plan.application)}: give 1 to 100 letters, digits, '.', '_' or "
            "'-', as application of [ksql] or with --application"
        )
    made_at = {one.name: place for place, one in enumerate(plan.statements) if one.creates}
    for one in plan.statements:
        for fault in _statement_faults(one):
            yield f"statement {one.name or bounded_repr(one.text)}: {fault}"
    yield from _order_faults(plan.statements, made_at)
    yield from _twice(plan.statements)


def _statement_faults(one: PlannedStatement) -> Iterator[str]:
    if one.sha256 != sha256_of(one.text):
        yield (
            f"its text has SHA-256 {sha256_of(one.text)[:12]}…, but {one.sha256[:12]}… is stated: it was "
            "altered after the plan was made; change the Python declaration and write the plan again"
        )
    if one.action not in get_args(Action) or one.action in ("select", "drop stream", "drop table"):
        yield (
            f"{one.action} is not deployed by a plan, which only creates: run a SELECT as a query, and "
            "remove what was deployed with 'statestore ksql retire NAME'"
        )
    if not _SOURCE_NAME.fullmatch(one.name):
        yield "a stream or table is named with letters, digits, '_' and '-'"
    if (fault := statement_fault(one.text)) is not None:
        yield fault
    elif one.action in _DEPLOYED and (found := subject_of(one.text)) != (one.action, one.name):
        yield (
            f"it is stated to {one.action} {one.name}, but its text is to {' '.join(found)}: write the plan "
            "again with 'statestore ksql plan print … --out FILE'"
        )


def _order_faults(statements: Sequence[PlannedStatement], made_at: Mapping[str, int]) -> Iterator[str]:
    for place, one in enumerate(statements):
        needed = [*one.reads, *([] if one.creates else [one.name])]
        for name in dict.fromkeys(needed):
            if made_at.get(name, -1) >= place:
                verb = (
                    "reads itself"
                    if name == one.name and one.creates
                    else f"comes before {name}, which it needs"
                )
                yield f"statement {one.name}: {verb}: put each statement after those that it reads"


def _twice(statements: Sequence[PlannedStatement]) -> Iterator[str]:
    names: set[str] = set()
    inserts: set[tuple[str, str]] = set()
    topics: dict[str, str] = {}
    for one in statements:
        if one.creates:
            if one.name in names:
                yield f"{one.name} is created twice: give one of the two another name (ksql_name=…)"
            names.add(one.name)
            topic = one.topic if one.is_persistent else None
            if topic is not None and (other := topics.setdefault(topic, one.name)) != one.name:
                yield f"{other} and {one.name} both write to topic {topic!r}: give one another topic"
        elif (one.name, one.sha256) in inserts:
            yield f"the same INSERT INTO {one.name} is there twice: its rows would be written twice"
        else:
            inserts.add((one.name, one.sha256))


def library_version() -> str:
    """Return the version of the library; empty where its metadata are not there, as in a frozen program."""
    try:
        return version("statestore")
    except PackageNotFoundError:
        return ""
