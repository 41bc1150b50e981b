"""Measures all candidates, each in a process of its own, in the turns of :mod:`.turns`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from statestore.bench.candidates import STORES, Kind, StoreName
from statestore.bench.content import Content
from statestore.bench.histogram import check_extra
from statestore.bench.machine import load, machine, versions
from statestore.bench.messages import Broke, Done, Ended, Job, Message, Phase
from statestore.bench.options import BenchOptions
from statestore.bench.processes import WatchedProcess
from statestore.bench.results import FORMAT, CandidateInfo, Left, Results, Sample, Turn
from statestore.bench.topics import BenchTopics, records_of
from statestore.bench.turns import in_turns
from statestore.bench.workload import Workload
from statestore.bench.workloads import LOADS, WORKLOADS, lacking
from statestore.errors import ConfigError


class Progress(Protocol):
    """What is told while a run goes on."""

    def begin(self, workloads: int) -> None:
        """Hear how many workloads will be measured, all rounds and candidates together."""

    def turn(self, candidate: str, keys: int, round_: int) -> None:
        """Hear that a process begins with a candidate."""

    def topic(self, name: str) -> None:
        """Hear that a topic is filled."""

    def workload(self, name: str | None) -> None:
        """Hear which workload begins; ``None``: something that is not measured."""

    def sample(self, sample: Sample) -> None:
        """Hear what was measured."""

    def left(self, left: Left) -> None:
        """Hear what is not measured, and why."""


class Quiet:
    """Tells nobody."""

    def begin(self, workloads: int) -> None: ...

    def turn(self, candidate: str, keys: int, round_: int) -> None: ...

    def topic(self, name: str) -> None: ...

    def workload(self, name: str | None) -> None: ...

    def sample(self, sample: Sample) -> None: ...

    def left(self, left: Left) -> None: ...


def run(options: BenchOptions, directory: Path, progress: Progress | None = None) -> Results:
    """Measure, and return the results. Stores are below ``directory``, and removed afterwards.

    A candidate that fails is told in ``Results.left``, and the others go on. Raises ``ConfigError`` before
    anything is measured: for names that nothing has, and without the extra.
    """
    check_extra()
    candidates = options.candidates()
    workloads = options.workloads()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{directory} cannot be made a directory for results ({error.strerror}): give another one (--out)"
        ) from error
    results = Results(
        format=FORMAT,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        machine=machine(directory),
        versions=versions(),
        options=_told(options),
        candidates=[
            CandidateInfo(name=one.name, kind=one.kind, beside=one.beside, says=one.says)
            for one in candidates
        ],
        workloads={one.name: one.says for one in workloads},
        turns=[],
        left=[],
    )
    with ExitStack() as made:
        topics = None
        if any(one.topic is not None for one in workloads):
            topics = made.enter_context(BenchTopics(options.kafka))
        _Run(options, directory, results, progress or Quiet(), topics).all(candidates, workloads)
    return results


def _told(options: BenchOptions) -> dict[str, Any]:
    """Return the options for the results, whose readers learn whether there was a broker, and not which."""
    told = {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(options).items()}
    return {**told, "kafka": None if options.kafka is None else "an address"}


class _Run:
    def __init__(
        self,
        options: BenchOptions,
        directory: Path,
        results: Results,
        progress: Progress,
        topics: BenchTopics | None,
    ) -> None:
        self._options = options
        self._directory = directory
        self._results = results
        self._progress = progress
        self._topics = topics
        self._content = Content(options.key_size, options.value_size, options.seed)
        self._failed: set[tuple[str, int, StoreName]] = set()
        """Candidates that failed with a number of keys and a store: they are not tried again."""

    def all(self, candidates: tuple[Kind, ...], workloads: tuple[Workload, ...]) -> None:
        begun = time.monotonic()
        options, progress = self._options, self._progress
        doing = {one.name: self._possible(one, workloads) for one in candidates}
        fitting = {keys: self._fitting(workloads, keys) for keys in options.keys}
        each = sum(
            len(options.threads) if one.threads and one.name not in LOADS else 1
            for fit in fitting.values()
            for possible in doing.values()
            for one in possible
            if one in fit
        )
        progress.begin(each * options.rounds)
        for keys in options.keys:
            done = [one for one in fitting[keys] if any(one in possible for possible in doing.values())]
            topics = self._filled(done, keys)
            for round_, candidate in in_turns(candidates, options.rounds):
                work = [one for one in doing[candidate.name] if one in fitting[keys]]
                for store in STORES:
                    of_store = [one for one in work if one.store == store]
                    if of_store and (candidate.name, keys, store) not in self._failed:
                        progress.turn(candidate.name, keys, round_)
                        self._measure(candidate, of_store, keys, round_, topics)
        self._results.seconds = time.monotonic() - begun

    def _fitting(self, workloads: tuple[Workload, ...], keys: int) -> list[Workload]:
        """Return the workloads that can be measured with ``keys``, and note the others."""
        fitting = []
        for workload in workloads:
            if (why := self._options.unfit(workload, keys, self._content)) is None:
                fitting.append(workload)
            else:
                self._note(Left(candidate="all candidates", workload=workload.name, why=why, keys=keys))
        return fitting

    def _filled(self, workloads: list[Workload], keys: int) -> dict[str, str]:
        """Return the names of the topics of ``workloads``, by what is in them; fill those that are new."""
        names: dict[str, str] = {}
        for workload in workloads:
            if (what := workload.topic) is not None and self._topics is not None:
                self._progress.topic(what)
                names[what] = self._topics.of(what, self._content, records_of(what, keys))
        return names

    def _possible(self, candidate: Kind, workloads: tuple[Workload, ...]) -> list[Workload]:
        """Return the workloads that the candidate can do, and note the others."""
        possible = []
        for workload in workloads:
            if workload.store not in candidate.stores:
                continue
            if (lack := lacking(workload, candidate.abilities)) is None:
                possible.append(workload)
            else:
                self._note(Left(candidate=candidate.name, workload=workload.name, why=lack))
        return possible

    def _note(self, left: Left) -> None:
        self._results.left.append(left)
        self._progress.left(left)

    def _measure(
        self, candidate: Kind, workloads: list[Workload], keys: int, round_: int, topics: dict[str, str]
    ) -> None:
        options = self._options
        home = Path(tempfile.mkdtemp(prefix="bench-", dir=self._directory))
        several = candidate.abilities.threads
        job = Job(
            candidate=candidate.name,
            is_reference=candidate.kind == "reference",
            directory=str(home / "store"),
            workloads=[one.name for one in workloads],
            keys=keys,
            key_size=options.key_size,
            value_size=options.value_size,
            threads=list(options.threads) if several else [1],
            seconds=options.seconds,
            rate=options.rate,
            durable=options.durable,
            seed=options.seed,
            round=round_,
            kafka=self._topics.kafka if self._topics is not None else None,
            topics=topics,
        )
        loaded = load()
        samples: list[Sample] = []
        try:
            for message in told(job):
                self._hear(message, job, samples)
                if isinstance(message, Ended):
                    message.turn.load = loaded
                    message.turn.samples = samples
                    self._results.turns.append(message.turn)
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _hear(self, message: Message, job: Job, samples: list[Sample]) -> None:
        if isinstance(message, Phase):
            self._progress.workload(message.workload)
        elif isinstance(message, Done):
            samples.append(message.sample)
            self._progress.sample(message.sample)
        elif isinstance(message, Broke):
            store = WORKLOADS[job.workloads[0]].store
            self._failed.add((job.candidate, job.keys, store))
            why = message.error
            self._note(
                Left(candidate=job.candidate, workload=message.workload, why=why, failed=True, keys=job.keys)
            )
            if samples:  # what was measured before is as good as ever
                self._results.turns.append(
                    Turn(
                        candidate=job.candidate, keys=job.keys, round=job.round, store=store, samples=samples
                    )
                )


def told(job: Job) -> Iterator[Message]:
    """Run the process of ``job``; give what it tells as it comes, with its memory in each sample.

    A process that ends without a word is told as ``Broke``. Whoever stops listening ends the process.
    """
    command = [sys.executable, "-P", "-m", "statestore.bench.child"]
    with tempfile.TemporaryFile() as complaints, WatchedProcess(command, complaints) as process:
        with suppress(BrokenPipeError):  # it has ended; how is told below
            process.send(msgspec.json.encode(job))
        process.end_input()
        ended = False
        while (line := process.line()) is not None:
            message = msgspec.json.decode(line, type=Message)
            if isinstance(message, Phase):
                process.watch()
            elif isinstance(message, Done):
                process.look()
                message.sample.memory = process.peak
            else:
                ended = True
            yield message
        if not ended:
            status = process.wait()
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().splitlines()
            last = f": {said[-1]}" if said else ""
            yield Broke(None, f"its process ended with status {status}{last}")
