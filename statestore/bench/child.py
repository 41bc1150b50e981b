"""The process that measures one candidate: ``python -m statestore.bench.child``.

It reads a ``Job`` from the standard input and writes a line of JSON for each thing that happened. So the
memory is that of one candidate alone, and its parent can look at it from outside.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from random import Random

import msgspec

from statestore.backends.contract import directory_size
from statestore.bench.candidates import Kind, backend
from statestore.bench.content import Content
from statestore.bench.measuring import Measured, measure, overhead
from statestore.bench.messages import Broke, Done, Ended, Job, Message, Phase
from statestore.bench.operations import RecordGround
from statestore.bench.references import REFERENCES
from statestore.bench.results import Sample, Turn
from statestore.bench.workload import Ground, Site, Workload
from statestore.bench.workloads import GROUNDS, LOADS, WORKLOADS

_LOOKED_AT = 200


def tell(message: Message) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def kind_of(job: Job) -> Kind:
    return REFERENCES[job.candidate] if job.is_reference else backend(job.candidate)


def written_bytes() -> int | None:
    """Return the bytes that this process has had written to disk; ``None`` where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)


class Session:
    """Opens the store of the job's workloads and runs them on it, one after the other."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._kind = kind = kind_of(job)
        content = Content(job.key_size, job.value_size, job.seed)
        self._site = Site(
            kind, Path(job.directory), job.durable, content, job.keys, job.kafka, dict(job.topics)
        )
        self._ground: Ground | None = None
        self.workload: str | None = None
        self._turn = Turn(
            candidate=job.candidate,
            keys=job.keys,
            round=job.round,
            store=WORKLOADS[job.workloads[0]].store if job.workloads else "records",
            load=None,
            overhead=overhead() / 1000,
            content=content.mean * job.keys,
            samples=[],
        )

    def run(self) -> None:
        try:
            for name in self._job.workloads:
                self._run(WORKLOADS[name])
            if isinstance(self._ground, RecordGround):
                self._finish(self._ground)
        finally:
            if (ground := self._ground) is not None:
                ground.close()
        tell(Ended(self._turn))

    def _run(self, workload: Workload) -> None:
        self.workload = workload.name  # for what fails from now on, be it that its store is filled
        if workload.name in LOADS:
            self._empty()
        ground = self._opened(workload)
        for threads in self._job.threads if workload.threads else [1]:
            tell(Phase(workload.name))
            tell(Done(self._measured(ground, workload, threads)))
            tell(Phase(None))
            if workload.mend is not None:
                workload.mend(ground)
        if workload.name in LOADS and isinstance(ground, RecordGround):
            self._look(ground)
            self._turn.loaded = self._size()

    def _measured(self, ground: Ground, workload: Workload, threads: int) -> Sample:
        job = self._job
        before, given = written_bytes(), ground.given
        measured = measure(ground, workload, threads, job.seconds, job.seed + 7_919 * job.round, job.rate)
        sample = sample_of(workload, threads, measured, job.keys)
        sample.given = ground.given - given
        if sample.given:
            ground.flush()
        if self._kind.abilities.files and before is not None and (after := written_bytes()) is not None:
            sample.written = after - before
        return sample

    def _empty(self) -> None:
        """Remove what an earlier load has left."""
        if self._ground is not None:
            self._ground.close()
            self._ground = None
            shutil.rmtree(self._site.directory)

    def _opened(self, workload: Workload) -> Ground:
        if self._ground is None:
            self._ground = GROUNDS[workload.store](self._site)
        return self._ground

    def _look(self, ground: RecordGround) -> None:
        """Raise ``RuntimeError`` where what was loaded is not there: speed would mean nothing."""
        random = Random(self._job.seed)
        for _ in range(_LOOKED_AT):
            number = random.randrange(self._job.keys)
            if not isinstance(ground.candidate.get(ground.content.key(number)), bytes):
                raise RuntimeError(f"record {number} was loaded, and is not there")
            if ground.candidate.get(ground.content.absent(number)) is not None:
                raise RuntimeError(f"there is a record after {number} that was never loaded")

    def _size(self) -> int | None:
        return directory_size(self._site.directory) if self._kind.abilities.files else None

    def _finish(self, ground: RecordGround) -> None:
        ground.flush()
        self._turn.used = self._size()
        self.workload = None
        if self._kind.abilities.files:
            ground.candidate.compact()
            self._turn.compacted = self._size()


def sample_of(workload: Workload, threads: int, measured: Measured, records: int) -> Sample:
    """Return what was measured, as it is kept."""
    latencies = measured.latencies
    p50, p95, p99, p999, longest = latencies.percentiles(50, 95, 99, 99.9, 100)
    keys = workload.keys or records
    total = records if workload.once else measured.operations * keys
    return Sample(
        workload=workload.name,
        threads=threads,
        unit="ops" if keys == 1 else workload.unit,
        operations=measured.operations,
        seconds=measured.seconds,
        throughput=total / measured.seconds,
        p50=p50,
        p95=p95,
        p99=p99,
        p999=p999,
        longest=longest,
        mean=latencies.mean(),
        histogram=latencies.encoded(),
        interval=measured.interval,
        series=measured.series,
        cpu_seconds=measured.cpu_seconds,
        paced=measured.paced,
        late=measured.late,
    )


def main() -> int:
    """Run the job of the standard input; return the exit status."""
    session: Session | None = None
    try:
        session = Session(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
        session.run()
    except Exception as error:  # noqa: BLE001 - told to the parent, which goes on with the next candidate
        tell(Broke(session.workload if session else None, f"{type(error).__name__}: {error}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
