"""The rules of a machine of tables: what happens to a topic, and what a service writes and reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition

from statestore.errors import ConfigError
from statestore.expressions.expr import F
from statestore.runtime.text import bounded_repr
from statestore.testing.driver import TestDriver
from statestore.testing.driver.log import LogRecord
from statestore.testing.machine.model import Key, TableModel
from statestore.testing.machine.plan import (
    Plan,
    any_number,
    listing,
    some_change,
    some_key,
    some_names,
    some_values,
    some_writes,
    the_machine,
)
from statestore.testing.machine.scripts import Script
from statestore.testing.machine.steps import Failure, Kind, Step, step

Rule = TypeVar("Rule", bound=Callable[..., Any])

MOST_KEYS = 3
"""Keys of a history: few, so that most records meet an earlier one of their key."""
MOST_SNAPSHOTS = 2


def _if_subject_has(name: str) -> Callable[[Rule], Rule]:
    return precondition(lambda machine: machine.has(name))


_if_table = precondition(lambda machine: machine.is_table)
_if_snapshots = precondition(lambda machine: machine.snapshots)


class TableMachine(RuleBasedStateMachine):
    """One driver, what is read through it, and what should be read. Each step is a line of a script."""

    plan: Plan
    failures: dict[Kind, Failure]

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.fault = ""
        """What is wrong, without the rows."""
        self.pool: list[Key] = [()]
        self.snapshots: dict[str, list[Any]] = {}
        """The rows of each open snapshot, by its name in the script."""
        self.taken = 0
        self.script = Script()
        target = self.plan.target
        self.target = self.script.source(target) if isinstance(target, str) else self.script.name(target)
        arguments = [f"entities=[{self.target}]"]
        arguments += [f"{name}={self.script.source(value, name)}" for name, value in self.plan.driver.items()]
        made = (
            f"{self.script.imported('statestore.testing', 'TestDriver', TestDriver)}({', '.join(arguments)})"
        )
        self.script.opening = f"with {made} as driver:"
        self.driver: TestDriver = eval(made, self.script.names)
        self.script.names["driver"] = self.driver
        try:
            self._start()
        except BaseException:
            self.driver.close()
            raise
        self.model = TableModel(self._decode, self._key_of, self._life, self.plan.max_age)

    def _start(self) -> None:
        """Make what is tested of the driver's manager."""
        plan = self.plan
        table: Any = self.driver.table(plan.target)
        path = f"driver.table({self.target})"
        if plan.window is not None:
            table = table.window(plan.window)
            path = f"{path}.window({plan.window.label!r})"
        self.table = table
        self.table_path = path
        self.topic = table.topic
        self.topic_path = self.target if plan.window is None else repr(table.topic)
        if plan.subject is None:
            self.script.run(f"subject = {path}")
        else:
            self.script.run(f"subject = {self.script.name(plan.subject, 'make_subject')}(driver.manager)")
        self.subject = self.script.names["subject"]
        if plan.check is None and not any(map(self.has, ("get", "to_list", "all", "snapshot"))):
            raise ConfigError(
                f"the subject of table_machine({self.target}, …), {bounded_repr(self.subject)}, has no "
                "method that reads: give it get(*key) or all(), or give check="
            )

    @property
    def is_table(self) -> bool:
        """Whether the table itself is tested."""
        return self.plan.subject is None

    def has(self, name: str) -> bool:
        """Whether the subject has a method."""
        if not self.is_table:
            return callable(getattr(self.subject, name, None))
        if isinstance(self.plan.target, str) or self.plan.window is not None:  # nobody writes through those
            return name in ("get", "to_list", "snapshot")
        return name in ("get", "to_list", "snapshot", "add", "delete")

    def teardown(self) -> None:
        if not self.is_table and self.has("close"):
            with suppress(Exception):
                self.subject.close()
        self.driver.close()

    # The model

    def _decode(self, record: LogRecord) -> Any:
        if isinstance(self.plan.target, str):
            return record.value
        return self.table._codec.decode(  # noqa: SLF001 - of this library
            record.key, record.value, lambda _: (record.timestamp, record.value)
        )

    def _key_of(self, key: bytes) -> Key:
        return (key,) if isinstance(self.plan.target, str) else self.table._codec.decode_key(key)  # noqa: SLF001

    def _bytes_of(self, key: Key) -> bytes:
        found: bytes = key[0] if isinstance(self.plan.target, str) else self.table._codec.encode_key(key)  # noqa: SLF001
        return found

    def _life(self) -> float | None:
        return self.table._binding.mirror.retention.row_life  # type: ignore[no-any-return]  # noqa: SLF001

    def follow(self) -> None:
        """Have the model take over what the topic says now."""
        cluster, now = self.driver._cluster, self.driver._stage.now  # noqa: SLF001 - of this package
        self.model.follow(cluster.topics[self.topic], now)

    def do(self, line: str) -> None:
        """Run a line, which may change the topic."""
        self.script.run(line)
        self.follow()

    # --- the topic

    @initialize(
        pool=the_machine.flatmap(
            lambda machine: st.lists(machine.plan.rows.keys, min_size=1, max_size=MOST_KEYS, unique_by=repr)
        )
    )
    def choose_keys(self, pool: list[Key]) -> None:
        self.pool = pool
        self.follow()

    @step(key=some_key, values=some_values, read=st.booleans())
    def another_program_writes(self, key: Key, values: Any, read: bool) -> None:
        self._another_writes(key, values, read)

    @step(key=some_key, read=st.booleans())
    def another_program_deletes(self, key: Key, read: bool) -> None:
        self._another_writes(key, None, read)

    def _another_writes(self, key: Key, values: Any, read: bool) -> None:
        self.do(self._written("driver", key, values))
        if read and self.has("get"):  # most of what goes wrong shows in the row that was just written
            self._read(key)

    @precondition(lambda machine: machine.takes_no_key)
    @step(value=st.binary(max_size=2), partition=any_number)
    def a_record_has_no_key(self, value: bytes, partition: int) -> None:
        number = partition % len(self.partitions)
        self.do(f"driver.record({self.topic_path}, None, {value!r}, partition={number})")

    @property
    def takes_no_key(self) -> bool:
        """Whether the topic takes records without a key."""
        config = self.driver._cluster.topics[self.topic].config  # noqa: SLF001 - of this package
        return "compact" not in config["cleanup.policy"]

    @step(writes=some_writes, seen=some_key, commit=st.booleans(), at_once=st.just(True))
    def a_transaction(
        self, writes: list[tuple[Key, Any]], seen: Key | None, commit: bool, at_once: bool
    ) -> None:
        if not at_once:  # a failure that needs no transaction is told without
            for key, values in writes:
                self.do(self._written("driver", key, values))
            return
        with self.script.block("driver.transaction()", "tx"):
            for key, values in writes:
                self.script.run(self._written("tx", key, values))
            if seen is not None and self.has("get"):
                self._read(seen)
            if not commit:
                self.script.run("tx.abort()")
        self.follow()

    @step(tombstones=st.booleans())
    def the_topic_is_compacted(self, tombstones: bool) -> None:
        if tombstones:  # which the stores must have seen, as they have after delete.retention.ms
            self.script.run(f"{self.table_path}.flush()")
        self.do(f"driver.compact({self.topic_path}{', tombstones=True' if tombstones else ''})")

    @step(seconds=st.sampled_from([1, 31, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.do(f"driver.advance({seconds})")

    @step(kill=st.booleans())
    def the_process_begins_anew(self, kill: bool) -> None:
        self.snapshots.clear()
        if not kill and not self.is_table and self.has("close"):
            self.script.run("subject.close()")
        self.script.run(f"driver.restart({'kill=True' if kill else ''})")
        self._start()
        self.follow()
        self.model.forget()

    @precondition(lambda machine: machine.plan.topic_loss)
    @step()
    def the_topic_is_recreated(self) -> None:
        self._lost(f"driver.recreate({self.topic_path})")

    @precondition(lambda machine: machine.plan.topic_loss)
    @step(partition=any_number, to=any_number)
    def the_topic_loses_its_end(self, partition: int, to: int) -> None:
        number = partition % len(self.partitions)
        end = to % (self.partitions[number].end + 1)
        self._lost(f"driver.cut({self.topic_path}, {number}, {end})")

    def _lost(self, line: str) -> None:
        self.snapshots.clear()
        self.do(line)
        self.model.forget()

    @property
    def partitions(self) -> list[Any]:
        return self.driver._cluster.topics[self.topic].partitions  # noqa: SLF001 - of this package

    # --- what the subject writes

    @_if_subject_has("add")
    @step(key=some_key, values=some_values)
    def the_subject_adds(self, key: Key, values: Any) -> None:
        entity = self.plan.entity(key, values)
        self.do(f"subject.add({self.script.source(entity)})")
        self._is_written(key, entity, "the subject has written")

    @_if_subject_has("delete")
    @step(key=some_key)
    def the_subject_deletes(self, key: Key) -> None:
        self.do(f"subject.delete({self._key(key)})")
        self._is_written(key, None, "the subject has deleted")

    @precondition(lambda machine: machine.can_change)
    @step(
        which=any_number,
        changes=st.lists(some_change, min_size=1, max_size=2),
        between=st.none() | some_values,
    )
    def the_subject_changes_a_row(
        self, which: int, changes: list[tuple[str, Any]], between: dict[str, Any] | None
    ) -> None:
        """Read, modify and write: what others wrote before the read must not be lost."""
        key, _ = self.model.rows[which % len(self.model.rows)]
        for number, (name, value) in enumerate(changes):
            if number and between is not None:
                self.do(self._written("driver", key, between))
            self._change(key, name, value)

    def _change(self, key: Key, name: str, value: Any) -> None:
        row = self.model.of(self._bytes_of(key)).latest
        if row is None:  # it has ended
            return
        changed = f"{self.script.name(replace)}(row, {name}={self.script.source(value)})"
        if self.has("update"):
            self.do(f"subject.update({self._key(key)}, lambda row: {changed})")
        else:
            self.script.run(f"row = subject.get({self._key(key)})")
            self.do(f"subject.add({changed})")
        self._is_written(key, replace(row, **{name: value}), "an update is lost: reading and changing gives")

    @property
    def can_change(self) -> bool:
        if not self.plan.rows.singles or not self.model.rows:
            return False
        return self.has("update") or (self.has("get") and self.has("add") and not self.plan.max_age)

    def _is_written(self, key: Key, expected: Any, what: str) -> None:
        """Check that the topic has what the subject wrote last."""
        found = self.model.written(self._bytes_of(key))
        read = f"{self.table_path}.get({self._key(key)})"
        if found != expected:
            self.script.value(read)
            self.fault = what
            self.script.fail(self._is(read, [expected]), f"{what} {expected!r}, but the topic has {found!r}")
        self.model.wrote(self._bytes_of(key))

    # --- what the subject reads

    @_if_subject_has("get")
    @step(key=some_key)
    def the_subject_gets(self, key: Key) -> None:
        self._read(key)

    def _read(self, key: Key) -> None:
        read = f"subject.get({self._key(key)})"
        allowed = self.model.allowed(self._bytes_of(key))
        self._allowed(read, key, self.script.value(read), allowed)
        self.script.found(self._is(read, allowed))

    def _allowed(self, expression: str, key: Key, row: Any, allowed: list[Any]) -> None:
        fault = self.model.read(self._bytes_of(key), row)
        if fault is not None:
            self.fault = fault
            self.script.fail(
                self._is(expression, allowed),
                f"{expression} gave {row!r}, but the topic has {allowed[-1]!r}: {fault}",
            )

    @precondition(lambda machine: listing(machine.subject) is not None)
    @step()
    def the_subject_lists(self) -> None:
        self._listed("subject", self.subject)

    def _listed(self, name: str, reader: Any) -> list[Any]:
        """Check and return all rows that the subject gives, or a snapshot of it."""
        expression = f"list({name}.{listing(reader)}())"
        if self.is_table:
            self._same(expression, self.expected)
            return self.expected
        found: list[Any] = self.script.value(expression)
        rows = self._by_key(found)
        if len(rows) < len(found):
            self.script.fail(
                f"assert len({expression}) == {len(rows)}", f"{expression} has a key twice: {found!r}"
            )
        for key in self.model.keys | rows.keys():
            row, allowed = rows.get(key), self.model.allowed(key)
            fault = self.model.read(key, row)
            if fault is not None:
                self.fault = fault
                wrong, how = (allowed[-1], "in") if row is None else (row, "not in")
                wrong = self.script.source(self._as_listed(self._key_of(key), wrong))
                self.script.fail(
                    f"assert {wrong} {how} {expression}",
                    f"{expression} has {row!r}, but the topic has {allowed[-1]!r}: {fault}",
                )
        return found

    @property
    def expected(self) -> list[Any]:
        """The rows that there should be, in the order of their keys."""
        return [self._as_listed(key, row) for key, row in self.model.rows]

    @_if_subject_has("snapshot")
    @precondition(lambda machine: len(machine.snapshots) < MOST_SNAPSHOTS)
    @step()
    def a_snapshot_is_taken(self) -> None:
        self.taken += 1
        name = f"snapshot{self.taken}"
        self.script.run(f"{name} = subject.snapshot()")
        self.snapshots[name] = self._listed(name, self.script.names[name])

    @_if_snapshots
    @step(which=any_number)
    def a_snapshot_lists(self, which: int) -> None:
        name = self._snapshot(which)
        expression = f"list({name}.{listing(self.script.names[name])}())"
        self._same(expression, self.snapshots[name], "the snapshot had")

    @_if_snapshots
    @step(which=any_number, key=some_key)
    def a_snapshot_gets(self, which: int, key: Key) -> None:
        name = self._snapshot(which)
        expected = self._by_key(self.snapshots[name]).get(self._bytes_of(key))
        self._same(f"{name}.get({self._key(key)})", expected, "the snapshot had")

    @_if_snapshots
    @step(which=any_number)
    def a_snapshot_is_closed(self, which: int) -> None:
        name = self._snapshot(which)
        del self.snapshots[name]
        if callable(getattr(self.script.names[name], "close", None)):
            self.script.run(f"{name}.close()")

    def _snapshot(self, which: int) -> str:
        return list(self.snapshots)[which % len(self.snapshots)]

    @precondition(lambda machine: machine.plan.check is not None)
    @step()
    def the_check_is_made(self) -> None:
        check = self.script.name(self.plan.check, "check")
        expression = f"{check}(subject, {self.script.source(self.expected)})"
        if self.script.value(expression) is False:
            self.script.fail(f"assert {expression}", f"{check} is False for the rows {self.expected!r}")

    # --- what only tables do

    @_if_table
    @step(
        start=st.none() | some_key,
        stop=st.none() | some_key,
        reverse=st.booleans(),
        limit=st.none() | st.integers(0, 3),
    )
    def the_table_is_scanned(
        self, start: Key | None, stop: Key | None, reverse: bool, limit: int | None
    ) -> None:
        rows = [
            self._as_listed(key, row)
            for key, row in self.model.rows
            if (start is None or key >= start) and (stop is None or key < stop)
        ]
        given = [
            f"{name}={self.script.source(one[0] if len(one) == 1 else one)}"
            for name, one in (("start", start), ("stop", stop))
            if one
        ]
        given += ["reverse=True"] * reverse + ([] if limit is None else [f"limit={limit}"])
        rows = rows[::-1] if reverse else rows
        self._same(f"list(subject.scan({', '.join(given)}))", rows[:limit])

    @_if_table
    @step()
    def the_table_is_counted(self) -> None:
        self._same("subject.count()", len(self.expected))

    @_if_table
    @precondition(lambda machine: machine.model.ever and machine.plan.rows.compared)
    @step(which=any_number, names=some_names)
    def the_table_is_queried(self, which: int, names: list[str]) -> None:
        """Ask for values that some row has or had: an index must have forgotten those of before."""
        row = self.model.ever[which % len(self.model.ever)]
        wanted = {name: getattr(row, name) for name in names}
        field = self.script.imported("statestore", "F", F)
        parts = [
            f"({field}.{name}.is_null())"
            if value is None
            else f"({field}.{name} == {self.script.source(value)})"
            for name, value in wanted.items()
        ]
        rows = [one for one in self.expected if all(getattr(one, name) == wanted[name] for name in names)]
        self._same(f"subject.where({' & '.join(parts)}).to_list()", rows)

    @_if_table
    @precondition(lambda machine: machine.plan.window is not None)
    @step(key=some_key)
    def the_windows_of_a_key_are_fetched(self, key: Key) -> None:
        rows = [row for one, row in self.model.rows if one[:-1] == key[:-1]]
        self._same(f"list(subject.fetch({self._key(key[:-1])}))", rows)

    # --- in a script

    def _key(self, key: Key) -> str:
        return ", ".join(map(self.script.source, key))

    def _by_key(self, listed: list[Any]) -> dict[bytes, Any]:
        """Return what is listed by the bytes of the keys, as ``get`` gives it."""
        if isinstance(self.plan.target, str):
            return dict(listed)
        names = self.table._codec.key_types  # noqa: SLF001 - as above
        return {self._bytes_of(tuple(getattr(row, name) for name in names)): row for row in listed}

    def _as_listed(self, key: Key, row: Any) -> Any:
        return (*key, row) if isinstance(self.plan.target, str) else row

    def _written(self, to: str, key: Key, values: Any) -> str:
        """Return the line by which another program writes a row, or with ``None`` deletes it."""
        if isinstance(self.plan.target, str):
            return f"{to}.record({self.target}, {key[0]!r}, {values!r})"
        window = "" if self.plan.window is None else f", window={self.plan.window.label!r}"
        if values is None:
            return f"{to}.delete({self.target}, {self._key(key)}{window})"
        return f"{to}.add({self.script.source(self.plan.entity(key, values))}{window})"

    def _is(self, expression: str, rows: list[Any]) -> str:
        """Return the assertion that an expression gives one of ``rows``."""
        sources = list(dict.fromkeys(map(self.script.source, rows)))
        if len(sources) > 1:
            return f"assert {expression} in [{', '.join(sources)}]"
        return f"assert {expression} {'is' if rows[0] is None else '=='} {sources[0]}"

    def _same(self, expression: str, expected: Any, what: str = "the topic has") -> Any:
        """Check and return what an expression gives."""
        found = self.script.value(expression)
        if found != expected:
            self.script.fail(
                self._is(expression, [expected]), f"{expression} gave {found!r}, but {what} {expected!r}"
            )
        self.script.found(self._is(expression, [expected]))
        return found
