"""What an ``apply`` is to do: each statement of a plan, with its version, given what was applied before.

Pure: from a plan and the records of the history to steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from statestore.deploy.history import HistoryRecord
from statestore.deploy.plan import Plan, PlannedStatement
from statestore.deploy.text import renamed, sha256_of

StepKind = Literal["skip", "create", "replace", "insert"]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement as it is to be sent, or was."""

    planned: PlannedStatement
    kind: StepKind
    object: str
    """The stream or table on the server, with its version: ``TOTALS_V2``."""
    version: int
    text: str
    sha256: str
    reads: tuple[str, ...]
    topic: str | None
    replaces: HistoryRecord | None = None
    """What was applied before under an earlier version, or is replaced in place."""
    record: HistoryRecord | None = None
    """Of a statement to skip: what the history has."""


@dataclass(frozen=True, slots=True)
class Decision:
    """All steps of a plan, and what the history has besides."""

    steps: tuple[Step, ...]
    superseded: tuple[HistoryRecord, ...]
    """What was applied, is live, and has a newer version or is not in the plan any more."""
    faults: tuple[str, ...] = ()
    inserts: tuple[HistoryRecord, ...] = ()
    """Applied INSERT INTO that is not in the plan any more, and writes to what the plan makes or fills."""


class _Versions:
    """The version of each object of a plan, while it is decided."""

    def __init__(self, plan: Plan, records: Mapping[tuple[str, str], HistoryRecord]) -> None:
        self.plan = plan
        self.live = [one for one in records.values() if one.state == "applied"]
        self.all = list(records.values())
        self.made = {one.name for one in plan.statements if one.creates}
        self.writers = {one.topic: one.name for one in plan.statements if one.creates and one.is_persistent}
        """The query that writes each topic."""
        self.latest = self._latest()
        self.version = {name: record.version for name, record in self.latest.items()}
        self.bumped: set[str] = set()

    def _latest(self) -> dict[str, HistoryRecord]:
        found: dict[str, HistoryRecord] = {}
        for one in self.live:
            if not one.action.startswith("create") or one.base not in self.made:
                continue
            if one.base not in found or one.version >= found[one.base].version:
                found[one.base] = one
        return found

    def object_name(self, base: str) -> str:
        return versioned(base, self.version.get(base, 1)) if base in self.made else base

    def text(self, one: PlannedStatement) -> str:
        """Return the statement over the versions as they are now."""
        sources = dict.fromkeys((one.name, *one.reads))
        names = {name: self.object_name(name) for name in sources if self.object_name(name) != name}
        topics = self._topics(one)
        return renamed(one.text, names, topics) if names or topics else one.text

    def topic(self, one: PlannedStatement) -> str | None:
        topics = self._topics(one)
        return one.topic if topics is None else topics[1]

    def _topics(self, one: PlannedStatement) -> tuple[str, str] | None:
        """Return the topic of what a query makes, old and new: two versions must not write to one topic.

        A stream that is declared over such a topic has it, too.
        """
        if not one.creates or one.topic is None:
            return None
        writer = one.name if one.is_persistent else self.writers.get(one.topic)
        version = 1 if writer is None else self.version.get(writer, 1)
        return None if version == 1 else (one.topic, versioned(one.topic, version))

    def reads(self, one: PlannedStatement) -> tuple[str, ...]:
        return tuple(map(self.object_name, one.reads))

    def bump(self, base: str) -> None:
        """Give ``base`` the next version that nothing has."""
        taken = [one.version for one in self.all if one.base == base]
        version = max([self.version.get(base, 1), *taken]) + 1
        others = {one.object for one in self.all if one.base != base} | (self.made - {base})
        while versioned(base, version) in others:
            version += 1
        self.version[base] = version
        self.bumped.add(base)

    def is_breaking(self, one: PlannedStatement) -> bool:
        """Whether what makes an object is another statement than the one that was applied."""
        before = self.latest.get(one.name)
        if before is None or one.name in self.bumped:
            return False
        if one.replaces:  # in place, unless it reads something else now
            return before.reads != self.reads(one)
        return before.sha256 != sha256_of(self.text(one))


def versioned(name: str, version: int) -> str:
    """Return the name of a version: ``TOTALS``, ``TOTALS_V2``; ``totals-by-day_v2`` where it has small
    letters."""
    if version == 1:
        return name
    return f"{name}_{'V' if name == name.upper() else 'v'}{version}"


def decide(plan: Plan, records: Mapping[tuple[str, str], HistoryRecord]) -> Decision:
    """Return what is to be done to have ``plan`` on the server.

    ``records`` are the last ones of each object and hash. A statement that is another one than what was
    applied gets the next version, and so does all that reads it, until nothing changes.
    """
    versions = _Versions(plan, records)
    faults: dict[str, None] = {}
    is_settled = False
    while not is_settled:
        is_settled = True
        for one in plan.statements:
            if one.creates and versions.is_breaking(one):
                versions.bump(one.name)
                is_settled = False
        for target in _changed_inserts(versions):
            if target in versions.made:
                versions.bump(target)
                is_settled = False
            else:
                faults[
                    f"an INSERT INTO {target} changed, and the plan does not make {target}: both queries "
                    "would write to it; terminate the old one (SHOW QUERIES; TERMINATE …) and 'statestore "
                    f"ksql retire' {target}, or insert into another stream"
                ] = None
    steps = tuple(_step(one, versions, records) for one in plan.statements)
    wanted = {step.object for step in steps}
    stated = {(step.object, step.sha256) for step in steps}
    left = [one for one in versions.live if one.action == "insert into" and one.object in wanted]
    return Decision(
        steps,
        _superseded(steps, versions),
        (*faults, *_written_twice(steps, versions)),
        tuple(one for one in left if (one.object, one.sha256) not in stated),
    )


def _written_twice(steps: Sequence[Step], versions: _Versions) -> Iterator[str]:
    """Say which topics a new query would write to beside one that runs."""
    writers = {one.topic: one for one in versions.live if one.action.startswith("create") and one.reads}
    for step in steps:
        before = writers.get(step.topic) if step.planned.is_persistent and step.planned.creates else None
        if before is not None and step.kind == "create" and before.object != step.object:
            yield (
                f"{step.object} would write to topic {step.topic!r} beside the query of {before.object}, "
                f"which is not in the plan any more: give {step.object} another topic, or end the other "
                f"first (statestore ksql retire {before.object})"
            )
    filled = {one.object for one in versions.live if one.action == "insert into"}
    changed = {step.planned.name: step for step in steps if step.kind == "create"}
    for name in dict.fromkeys(step.object for step in steps if step.kind == "insert"):
        target = next((one for one in changed.values() if one.object == name), None)
        before = None if target is None else target.replaces
        if target is None or target.planned.is_persistent or before is None or before.object not in filled:
            continue
        yield (
            f"{name} is a stream over the topic of {before.object}, to which an INSERT INTO {before.object} "
            f"writes still, so that both would write to topic {target.topic!r}: declare it with another "
            f"name and topic, or end the old query first (statestore ksql retire {before.object})"
        )


def _changed_inserts(versions: _Versions) -> list[str]:
    """Return the streams into which another query would write beside the one that it replaces."""
    wanted: dict[str, set[str]] = {}
    for one in versions.plan.statements:
        if not one.creates and one.name not in versions.bumped:
            wanted.setdefault(one.name, set()).add(sha256_of(versions.text(one)))
    changed = []
    for target, hashes in wanted.items():
        applied = {
            one.sha256
            for one in versions.live
            if one.action == "insert into" and one.object == versions.object_name(target)
        }
        if applied - hashes and hashes - applied:
            changed.append(target)
    return changed


def _step(
    one: PlannedStatement, versions: _Versions, records: Mapping[tuple[str, str], HistoryRecord]
) -> Step:
    text, name = versions.text(one), versions.object_name(one.name)
    sha256 = sha256_of(text)
    record = records.get((name, sha256))
    before = versions.latest.get(one.name) if one.creates else None
    kind: StepKind
    if record is not None and record.state == "applied":
        kind, before = "skip", None
    elif not one.creates:
        kind = "insert"
    else:
        kind = "replace" if before is not None and one.name not in versions.bumped else "create"
    version = versions.version.get(one.name, 1) if one.name in versions.made else 1
    return Step(
        one,
        kind,
        name,
        version,
        text,
        sha256,
        versions.reads(one),
        versions.topic(one),
        before,
        record if kind == "skip" else None,
    )


def _superseded(steps: Sequence[Step], versions: _Versions) -> tuple[HistoryRecord, ...]:
    wanted = {step.object for step in steps if step.planned.creates}
    old = [one for one in versions.live if one.action.startswith("create") and one.object not in wanted]
    return tuple(sorted(old, key=lambda one: (one.base, one.version)))
