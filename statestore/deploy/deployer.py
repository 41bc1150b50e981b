"""The deployer: a plan, the history and the server made one.

Only a statement that the history does not have is sent, and only after the server was asked for what it
makes. So an ``apply`` that stopped, wherever that was, is followed by one that goes on there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Literal

from statestore.deploy.answers import Description, ServerInfo
from statestore.deploy.client import KsqlClient, LostAnswerError
from statestore.deploy.diff import step_difference
from statestore.deploy.history import History, HistoryRecord, latest
from statestore.deploy.inserts import Inserts
from statestore.deploy.plan import Plan
from statestore.deploy.recorder import Recorder
from statestore.deploy.report import APPLIED, DeployMetrics, ObjectStatus, Outcome, Report, StepReport
from statestore.deploy.schema import differences
from statestore.deploy.steps import Decision, Step, decide
from statestore.deploy.text import emits_final
from statestore.errors import ConfigError, DeployError, KsqlServerError, StateStoreError
from statestore.ksql.lexis import quoted

log = logging.getLogger("statestore.ksql")

EMIT_FINAL = "ksql.suppress.enabled"
"""The server's property that allows EMIT FINAL."""
_FIRST_WITH_FINAL = {True: (0, 28), False: (7, 3)}
"""The first version with EMIT FINAL in its documentation, of ksqlDB's own numbers (0.x) and of
Confluent's."""
_OFFSET_RESET = "ksql.streams.auto.offset.reset"

OnStep = Callable[[StepReport], None]


class Deployer:
    """Deploys plans to one ksqlDB server. Used by one thread at a time.

    ``on_step`` is called with each statement's report as it comes. ``properties`` go with each statement; a
    query reads its topics from their beginning unless they say otherwise
    (``ksql.streams.auto.offset.reset``).
    """

    def __init__(
        self,
        client: KsqlClient,
        history: History,
        *,
        on_step: OnStep = lambda _: None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._history = history
        self._on_step = on_step
        self._properties = {_OFFSET_RESET: "earliest", **(properties or {})}
        self._metrics = DeployMetrics()
        self._server = ServerInfo("", "", "")

    @property
    def metrics(self) -> DeployMetrics:
        """The counts of all that this deployer did."""
        return self._metrics

    # Looking

    def status(self, plan: Plan) -> list[ObjectStatus]:
        """Return what the history and the server say of each object of ``plan`` and of old versions."""
        _, decision, lost = self._looked(plan)
        gone = {(one.object, one.action != "insert into") for one in lost}
        found = [
            self._status_of(step, (step.object, step.planned.creates) in gone) for step in decision.steps
        ]
        return found + [
            ObjectStatus(one.object, "superseded", one.version, one.time, one.user)
            for one in decision.superseded
        ]

    def diff(self, plan: Plan) -> str:
        """Return how the plan's statements differ from those that were applied, as a unified diff."""
        _, decision, _ = self._looked(plan)
        return "".join(step_difference(step) for step in decision.steps)

    # Acting

    def apply(self, plan: Plan, *, dry_run: bool = True, allow_destructive: bool = False) -> Report:
        """Have the server carry out what it has not carried out of ``plan`` yet; in a dry run only say what.

        Raises ``ConfigError``, before anything is sent, for a plan that this server cannot carry out, and
        ``DeployError`` where a statement fails: those before it are applied and in the history.
        """
        there, decision, lost = self._looked(plan)
        self._check(decision, there, allow_destructive or dry_run)
        remaining = (*_remaining(decision), *_of_inserts(decision))
        if dry_run:
            foreseen = [_foreseen(step, step.object in there) for step in decision.steps]
            return self._report(plan.application, True, foreseen, remaining)
        recorder = Recorder(self._history, self._server, plan.application)
        recorder.clear_intents()
        for one in lost:
            if one.action == "insert into":  # its query is gone with the stream, and is needed again
                recorder.write(replace(one, state="retired"))
        reports: list[StepReport] = []
        for step in decision.steps:
            began = time.monotonic()
            try:
                outcome, message = self._carried_out(step, recorder)
            except StateStoreError as error:
                reports.append(self._reported(step, "failed", str(error), time.monotonic() - began))
                applied = sum(one.outcome in APPLIED for one in reports)
                reports += [
                    _step_report(one, "skipped" if one.kind == "skip" else "pending")
                    for one in decision.steps[len(reports) :]
                ]
                raise DeployError(
                    f"{step.object}: {error}; {applied} statements were applied before it: apply again "
                    "when the cause is gone, and the deployment goes on there",
                    self._report(plan.application, False, reports, remaining),
                ) from error
            reports.append(self._reported(step, outcome, message, time.monotonic() - began))
        return self._report(plan.application, False, reports, remaining)

    def retire(
        self, application: str, name: str, *, dry_run: bool = True, allow_destructive: bool = False
    ) -> Report:
        """End what writes to a stream or table that was deployed, and drop it; its topic stays.

        Refused where something reads it. Only with ``allow_destructive=True``, unless in a dry run.
        """
        self._server = self._client.info()
        history = self._history.read()
        records = latest(history, application, self._server.service)
        mine = [one for one in records.values() if one.object == name and one.state == "applied"]
        if not mine:
            known = sorted({one.object for one in records.values() if one.state == "applied"})
            raise ConfigError(
                f"{name} was not deployed by application {application!r}; deployed are: "
                f"{', '.join(known) or 'none'}"
            )
        others = _applications(history, name, self._server.service) - {application}
        found = None if others else self._client.describe(name)
        if found is not None and found.read_by:
            raise ConfigError(
                f"{name} is read by {', '.join(found.read_by)}: retire the streams and tables of these "
                f"queries first, or end them on the server (TERMINATE {found.read_by[0]};)"
            )
        statements = [] if found is None else _removal(found)
        if not dry_run and not allow_destructive:
            raise ConfigError(
                f"retire {name} is destructive ({' '.join(statements) or 'it is gone from the server'}): "
                "allow it with allow_destructive=True, --allow-destructive on the command line"
            )
        began = time.monotonic()
        if not dry_run:
            for statement in statements:
                self._client.execute(statement, lambda: self._is_removed(name, statement))  # noqa: B023 - called at once
            recorder = Recorder(self._history, self._server, application)
            for one in mine:
                recorder.write(replace(one, state="retired"))
        remaining = [f"topic {mine[0].topic or name} stays: delete it when nothing reads it"]
        if others:
            remaining = [f"{name} stays, since application {', '.join(sorted(others))} has it, too"]
        step = StepReport(
            name,
            "retire",
            "pending" if dry_run else "retired",
            " ".join(statements),
            mine[0].sha256,
            mine[0].version,
            time.monotonic() - began,
        )
        self._count(step)
        return self._report(application, dry_run, [step], remaining)

    # Before anything is sent

    def _looked(self, plan: Plan) -> tuple[set[str], Decision, list[HistoryRecord]]:
        """Return what the server has, what is to be done, and what was applied and is gone from the
        server."""
        plan.validate()
        self._server = self._client.info()
        there = set(self._client.sources())
        done = latest(self._history.read(), plan.application, self._server.service)
        applied = [one for one in done.values() if one.state == "applied"]
        running = self._running({one.object for one in applied if one.queries} & there)
        lost = [
            one
            for one in applied
            if one.object not in there or (one.queries and not running.issuperset(one.queries))
        ]
        for one in lost:
            del done[one.object, one.sha256]
        return there, decide(plan, done), lost

    def _running(self, names: Iterable[str]) -> set[str]:
        """Return the ids of the queries that write to streams and tables."""
        found = [self._client.describe(name) for name in sorted(names)]
        return {query for one in found if one is not None for query in one.written_by}

    def _check(self, decision: Decision, there: set[str], allow_destructive: bool) -> None:
        faults = list(decision.faults)
        to_do = [step for step in decision.steps if step.kind != "skip"]
        made = there | {step.object for step in decision.steps if step.planned.creates}
        for step in to_do:
            needed = [*step.reads, *([] if step.planned.creates else [step.object])]
            faults += [
                f"{step.object} needs {name}, which neither the plan makes nor the server has: declare it "
                "in one of the modules of the plan, or create it first"
                for name in dict.fromkeys(needed)
                if name not in made
            ]
        if final := [step.object for step in to_do if emits_final(step.text)]:
            faults += self._without_final(final)
        if not allow_destructive:
            faults += [
                f"{step.object} is changed in place (CREATE OR REPLACE), and what it was is gone then: "
                "allow it with allow_destructive=True, --allow-destructive on the command line, or "
                "declare it without or_replace, which makes a new version beside it"
                for step in to_do
                if step.kind == "replace"
            ]
        if faults:
            raise ConfigError(faults)

    def _without_final(self, names: Iterable[str]) -> list[str]:
        """Return why the server cannot carry out EMIT FINAL."""
        about = f"{', '.join(names)}: EMIT FINAL"
        instead = "or declare the query with emit='changes'"
        setting = self._client.properties().get(EMIT_FINAL)
        if setting is not None:
            if setting.lower() == "true":
                return []
            return [
                f"{about} is disabled on this server ({EMIT_FINAL}={setting}): have it enabled there, "
                f"{instead}"
            ]
        release = self._server.release
        first = _FIRST_WITH_FINAL[release[0] == 0]
        if release >= first:
            return []
        return [
            f"{about} is not known to this server (version {self._server.version or 'unknown'}): it takes "
            f"version {first[0]}.{first[1]}, {instead}"
        ]

    # One statement

    def _carried_out(self, step: Step, recorder: Recorder) -> tuple[Outcome, str]:
        if step.kind == "skip":
            return self._skipped(step)
        if step.kind == "insert":
            return Inserts(self._client, recorder, self._properties).insert(step)
        if step.kind == "replace":
            return self._replaced(step, recorder)
        return self._created(step, recorder)

    def _skipped(self, step: Step) -> tuple[Outcome, str]:
        # Somebody may have changed it by hand since, or ended its query.
        if step.planned.creates and (found := self._client.describe(step.object)) is not None:
            self._compare(step, found)
        return "skipped", ""

    def _created(self, step: Step, recorder: Recorder) -> tuple[Outcome, str]:
        found = self._client.describe(step.object)
        if found is not None:
            self._check_other(step, recorder)
        outcome: Outcome = "created" if found is None else "found"
        message = "was there already" if found is not None else ""
        if found is None:
            try:
                answer = self._client.execute(
                    step.text,
                    lambda: self._client.describe(step.object) is not None,
                    properties=self._properties,
                )
                message = "the answer was lost, and it is there" if answer is None else str(answer)
            except LostAnswerError:
                raise
            except KsqlServerError as error:  # another deployer may have been faster
                if self._client.describe(step.object) is None:
                    raise
                outcome, message = "found", error.message
                self._check_other(step, recorder)
            found = self._client.describe(step.object)
        self._compare(step, found)
        recorder.write(recorder.record(step, "applied", is_found=outcome == "found"))
        return outcome, message

    def _check_other(self, step: Step, recorder: Recorder) -> None:
        """Raise where what is there was made by another query, of another deployer or application."""
        if not step.planned.is_persistent:
            return
        here = (step.object, recorder.server.service, "applied")
        made = [one for one in recorder.history.read() if (one.object, one.service, one.state) == here]
        creating = [one for one in made if one.action.startswith("create")]
        if creating and all(one.sha256 != step.sha256 for one in creating):
            other = creating[-1]
            remedy = (
                "another deployer was faster: apply again"
                if other.application == recorder.application
                else f"application {other.application!r} has it: declare another name (ksql_name=…)"
            )
            raise ConfigError(
                f"{step.object} was made by another statement ({other.user}, {other.time}: "
                f"{other.statement}); {remedy}"
            )

    def _replaced(self, step: Step, recorder: Recorder) -> tuple[Outcome, str]:
        # To be replaced once more does no harm: whether it was cannot be seen.
        answer = self._client.execute(step.text, lambda: False, properties=self._properties)
        self._compare(step, self._client.describe(step.object))
        recorder.write(recorder.record(step, "applied"))
        if step.replaces is not None:
            recorder.write(replace(step.replaces, state="retired"))
        return "replaced", "" if answer is None else str(answer)

    def _compare(self, step: Step, found: Description | None) -> None:
        if found is None:
            raise ConfigError(
                f"{step.object} is not on the server after it was created: look at the server's log"
            )
        if faults := differences(step, found):
            raise ConfigError(faults)

    def _is_removed(self, name: str, statement: str) -> bool:
        found = self._client.describe(name)
        return found is None or (statement.startswith("TERMINATE") and statement not in _removal(found))

    # Reports

    def _status_of(self, step: Step, is_gone: bool) -> ObjectStatus:
        before = step.replaces
        if is_gone:
            return ObjectStatus(step.object, "missing", step.version)
        if step.kind != "skip":
            if before is None:
                return ObjectStatus(step.object, "pending", step.version)
            return ObjectStatus(step.object, "changed", step.version, before.time, before.user)
        found = self._client.describe(step.object) if step.planned.creates else None
        faults = [] if found is None else differences(step, found)
        state: Literal["different", "current"] = "different" if faults else "current"
        made = step.record
        return ObjectStatus(
            step.object,
            state,
            step.version,
            made.time if made else "",
            made.user if made else "",
            "; ".join(faults),
        )

    def _reported(self, step: Step, outcome: Outcome, message: str, seconds: float) -> StepReport:
        report = _step_report(step, outcome, message, seconds)
        log.info("%s: %s %s", outcome, report.action, step.object)
        self._count(report)
        return report

    def _count(self, report: StepReport) -> None:
        self._metrics = self._metrics.counted(report)
        self._on_step(report)

    def _report(
        self, application: str, dry_run: bool, steps: Iterable[StepReport], remaining: Iterable[str]
    ) -> Report:
        return Report(application, dry_run, tuple(steps), tuple(remaining), asdict(self._server))


def _foreseen(step: Step, is_there: bool) -> StepReport:
    if step.kind == "skip":
        return _step_report(step, "skipped")
    is_found = is_there and step.kind == "create"
    return _step_report(step, "pending", "is there already: it will be compared" if is_found else "")


def _step_report(step: Step, outcome: Outcome, message: str = "", seconds: float = 0.0) -> StepReport:
    action = {"skip": "skip", "replace": "replace"}.get(step.kind, step.planned.action)
    return StepReport(
        step.object, action, outcome, step.text, step.sha256, step.version, round(seconds, 3), message
    )


def _remaining(decision: Decision) -> Iterable[str]:
    """Say what is left to people when new versions stand beside old ones."""
    newest = {step.planned.name: step for step in decision.steps if step.planned.creates}
    for one in reversed(decision.superseded):  # what reads first, then what is read
        step = newest.get(one.base)
        if step is None:
            yield f"{one.object} is not in the plan any more: statestore ksql retire {one.object}"
        else:
            topics = f" and topic {step.topic}" if step.topic != one.topic else ""
            yield (
                f"{step.object} stands beside {one.object}: wait until it has caught up, move the readers "
                f"to {step.object}{topics}, then statestore ksql retire {one.object}"
            )


def _of_inserts(decision: Decision) -> Iterable[str]:
    """Say which queries run on that the plan does not have any more."""
    for one in decision.inserts:
        query = f"TERMINATE {one.queries[0]};" if one.queries else "SHOW QUERIES; TERMINATE …"
        yield (
            f"an INSERT INTO {one.object} of {one.time} is not in the plan any more, and its query still "
            f"writes: end it on the server ({query})"
        )


def _applications(history: Iterable[HistoryRecord], name: str, service: str) -> set[str]:
    """Return the applications that have deployed an object, or found it as they want it."""
    return {
        one.application
        for one in history
        if (one.object, one.service, one.state) == (name, service, "applied")
    }


def _removal(found: Description) -> list[str]:
    return [
        *(f"TERMINATE {query};" for query in found.written_by),
        f"DROP {found.kind} IF EXISTS {quoted(found.name)};",
    ]
