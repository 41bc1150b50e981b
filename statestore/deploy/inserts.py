"""INSERT INTO: a query without a name, started once all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from statestore.deploy.client import KsqlClient
from statestore.deploy.recorder import Recorder
from statestore.deploy.report import Outcome
from statestore.deploy.steps import Step
from statestore.errors import ConfigError, KsqlServerError, StateStoreError


class Inserts:
    """Starts the queries that fill streams which others make."""

    def __init__(self, client: KsqlClient, recorder: Recorder, properties: Mapping[str, str]) -> None:
        self._client = client
        self._recorder = recorder
        self._properties = properties

    def insert(self, step: Step) -> tuple[Outcome, str]:
        """Start a query, which is told by the queries that were there before.

        An intent in the history keeps these, and keeps a second deployer from sending the same statement.
        """
        for old in self._recorder.intents(step):
            if fresh := self._new_queries(step, old.queries):
                return self._found(step, fresh[0])
        known = self._queries_into(step.object)
        intent = self._recorder.record(step, "sending", queries=tuple(known))
        try:
            self._recorder.write(intent)
            if self._is_done_by_another(step):
                self._recorder.clear_intents()
                return "skipped", "another deployer has applied it meanwhile"
            answer = self._client.execute(
                step.text,
                lambda: bool(self._new_queries(step, known)),
                properties=self._properties,
                may_send_again=False,
            )
            query = answer.query if answer is not None else ""
            queries = (query,) if query else tuple(self._new_queries(step, known)[:1])
            if not queries:
                raise KsqlServerError(
                    self._client.url,
                    f"the server took the statement, and has no new query into {step.object}: look at its "
                    "log, and apply again",
                    statement=step.text,
                )
        except BaseException:  # Ctrl-C, too: the next deployer need not wait for this one
            with suppress(StateStoreError):  # of the same outage, perhaps
                self._recorder.write(replace(intent, state="unknown"))
            raise
        self._recorder.write(replace(intent, state="applied", queries=queries))
        self._recorder.clear_intents()
        return "inserted", "the answer was lost, and it is there" if answer is None else str(answer)

    def _found(self, step: Step, query: str) -> tuple[Outcome, str]:
        self._recorder.write(self._recorder.record(step, "applied", queries=(query,), is_found=True))
        self._recorder.clear_intents()
        return "found", f"query {query} was there already"

    def _is_done_by_another(self, step: Step) -> bool:
        """Whether another deployer has sent this statement; raise if one was first and is at it still."""
        before = self._recorder.done().get((step.object, step.sha256))
        if before is not None and before.state == "applied":
            return True
        patience = 10 * self._client.timeout
        for one in self._recorder.intents(step):
            if one.deployer == self._recorder.deployer:
                break
            age = (datetime.now(UTC) - datetime.fromisoformat(one.time)).total_seconds()
            if one.state == "sending" and age < patience:
                raise ConfigError(
                    f"another deployer ({one.user}) has been sending this INSERT INTO {step.object} since "
                    f"{one.time}: apply again when it is done, or {patience:g} s after that if it has died"
                )
        return False

    def _queries_into(self, name: str) -> list[str]:
        found = self._client.describe(name)
        return [] if found is None else list(found.written_by)

    def _new_queries(self, step: Step, known: Iterable[str]) -> list[str]:
        """Return the queries into a stream that were started since ``known``, and that no record has."""
        taken = set(known)
        here = (step.object, self._recorder.server.service, "applied")
        for one in self._recorder.history.read():
            if (one.object, one.service, one.state) == here:
                taken |= set(one.queries)
        return [one for one in self._queries_into(step.object) if one not in taken]
