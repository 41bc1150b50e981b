"""What a deployment did, or would do: for people, as JSON and as counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from statestore.runtime.health_report import HealthReport

Outcome = Literal["created", "replaced", "inserted", "found", "skipped", "retired", "failed", "pending"]
"""``found``: it was on the server, as declared, and was only written into the history. ``pending``: not done,
since this was a dry run or an earlier statement failed."""

APPLIED = frozenset({"created", "replaced", "inserted", "found", "retired"})


@dataclass(frozen=True, slots=True)
class StepReport:
    """One statement of a report."""

    object: str
    action: str
    """What is or was to be done: create stream, create table, replace, insert into, skip, retire."""
    outcome: Outcome
    statement: str
    sha256: str = ""
    version: int = 1
    seconds: float = 0.0
    """How long it took, the look-ups included."""
    message: str = ""
    """What the server said, or why it failed."""


@dataclass(frozen=True, slots=True)
class DeployMetrics(HealthReport):
    """The counts of a deployer since it was made: ``dict(metrics)`` is a plain mapping of numbers."""

    applied: int = 0
    """Statements carried out, or found carried out."""
    skipped: int = 0
    """Statements that the history had."""
    failed: int = 0
    """Statements that failed."""
    seconds: float = 0.0
    """How long the applied and failed statements took together."""
    longest: float = 0.0
    """How long the longest of them took, in seconds."""

    def __str__(self) -> str:
        return self._line(*self)

    def counted(self, step: StepReport) -> DeployMetrics:
        """Return the counts with one more statement."""
        if step.outcome == "pending":
            return self
        applied, failed = step.outcome in APPLIED, step.outcome == "failed"
        took = step.seconds if applied or failed else 0.0
        return DeployMetrics(
            self.applied + applied,
            self.skipped + (step.outcome == "skipped"),
            self.failed + failed,
            self.seconds + took,
            max(self.longest, took),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What ``apply`` or ``retire`` did. ``str`` gives a line for each statement, and the steps that
    remain."""

    application: str
    dry_run: bool
    steps: tuple[StepReport, ...] = ()
    remaining: tuple[str, ...] = ()
    """What is left to people: readers to be moved to a new version, old versions to be retired."""
    server: dict[str, str] = field(default_factory=dict)
    """Version, cluster and service of the ksqlDB server."""

    @property
    def ok(self) -> bool:
        return not any(one.outcome == "failed" for one in self.steps)

    @property
    def counts(self) -> dict[str, int]:
        """How many statements had each outcome."""
        counts: dict[str, int] = {}
        for one in self.steps:
            counts[one.outcome] = counts.get(one.outcome, 0) + 1
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that ``json.dumps`` takes."""
        return {**asdict(self), "ok": self.ok, "counts": self.counts}

    def __str__(self) -> str:
        lines = [
            f"{one.outcome}: {one.object}" + (f": {one.message}" if one.message else "") for one in self.steps
        ]
        return "\n".join([*lines, *(f"remaining: {one}" for one in self.remaining)])


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """One stream or table: what the plan, the history and the server say of it."""

    object: str
    state: Literal["current", "pending", "changed", "missing", "different", "superseded"]
    """``current``: applied as planned. ``pending``: not applied yet. ``changed``: another statement was
    applied. ``missing``: applied, and gone from the server. ``different``: the server has other columns.
    ``superseded``: an older version, or not in the plan any more."""
    version: int
    applied: str = ""
    """When, in ISO 8601; empty: never."""
    user: str = ""
    detail: str = ""
