"""The order of the turns, what becomes of a candidate that fails, and what the results say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from statestore.bench import running
from statestore.bench.machine import machine, private_memory, versions
from statestore.bench.messages import Broke, Done, Ended, Job, Message, Phase
from statestore.bench.options import BenchOptions
from statestore.bench.results import FORMAT, Results, Sample, Turn, read_results, write_results
from statestore.errors import ConfigError


def sample(workload: str = "ycsb-a", throughput: float = 1_000.0, threads: int = 1) -> Sample:
    return Sample(
        workload=workload,
        threads=threads,
        unit="ops",
        operations=100,
        seconds=0.1,
        throughput=throughput,
        p50=1.0,
        p95=2.0,
        p99=3.0,
        p999=4.0,
        longest=5.0,
        mean=1.5,
        histogram="",
        interval=0.01,
        series=[10] * 10,
        cpu_seconds=0.1,
    )


class Scripted:
    """In the place of the processes: notes the jobs, and has one candidate fail at its second workload."""

    def __init__(self, failing: str = "") -> None:
        self.jobs: list[Job] = []
        self._failing = failing

    def __call__(self, job: Job) -> Iterator[Message]:
        self.jobs.append(job)
        for number, name in enumerate(job.workloads):
            yield Phase(name)
            if job.candidate == self._failing and number == 1:
                yield Broke(name, "OSError: the disk is gone")
                return
            yield Done(sample(name))
        yield Ended(Turn(candidate=job.candidate, keys=job.keys, round=job.round, samples=[]))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    made = Scripted()
    monkeypatch.setattr(running, "told", made)
    return made


def test_every_second_round_is_in_the_opposite_order(scripted: Scripted, tmp_path: Path) -> None:
    options = BenchOptions(backends="memory,lmdb", references="none", rounds=4, keys=(100, 200))
    results = running.run(options, tmp_path)
    forth, back = ["memory", "lmdb"], ["lmdb", "memory"]
    assert [job.candidate for job in scripted.jobs] == [*forth, *back, *forth, *back] * 2
    assert [job.keys for job in scripted.jobs] == [100] * 8 + [200] * 8
    assert len({job.directory for job in scripted.jobs}) == 16
    assert [turn.candidate for turn in results.turns] == [job.candidate for job in scripted.jobs]
    assert list(results.workloads)[:2] == ["load-random", "ycsb-a"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_candidate_cannot_do_is_left_out_and_told(scripted: Scripted, tmp_path: Path) -> None:
    options = BenchOptions(backends="memory", references="dict", workload="ycsb-e,ycsb-a")
    results = running.run(options, tmp_path)
    assert {job.candidate: job.workloads for job in scripted.jobs} == {
        "memory": ["load-random", "ycsb-a", "ycsb-e"],
        "dict": ["load-random", "ycsb-a"],
    }
    (left,) = results.left
    assert (left.candidate, left.workload, left.failed) == ("dict", "ycsb-e", False)
    assert left.why == "no scans in the order of the keys"


def test_no_topic_is_filled_for_a_workload_that_every_candidate_lacks_a_module_for(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statestore.bench.workloads.find_spec", lambda _: None)
    monkeypatch.setattr("statestore.bench.topics.BenchTopics.of", lambda _, what, *__: pytest.fail(what))
    options = BenchOptions(backends="memory", references="none", workload="ycsb-a,entity-avro")
    results = running.run(options, tmp_path)
    assert [job.workloads for job in scripted.jobs] == [["load-random", "ycsb-a"]] * 2
    (left,) = results.left
    assert left.why == "fastavro is not installed: pip install 'statestore[avro]'"


def test_a_candidate_that_fails_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "told", scripted := Scripted(failing="lmdb"))
    results = running.run(BenchOptions(backends="lmdb,memory", references="none"), tmp_path)
    assert [job.candidate for job in scripted.jobs] == ["lmdb", "memory", "memory"]
    (left,) = results.left
    assert (left.candidate, left.workload, left.failed) == ("lmdb", "ycsb-a", True)
    assert left.why == "OSError: the disk is gone"
    assert [len(turn.samples) for turn in results.turns if turn.candidate == "lmdb"] == [1]


@pytest.mark.slow
def test_a_process_that_cannot_do_its_job_says_why() -> None:
    job = Job(
        candidate="no-such-backend",
        is_reference=False,
        directory="/nowhere",
        workloads=[],
        keys=100,
        key_size=16,
        value_size="10",
        threads=[1],
        seconds=0.1,
        rate=None,
        durable=False,
        seed=1,
        round=0,
    )
    (message,) = running.told(job)
    assert isinstance(message, Broke)
    assert "no-such-backend" in message.error


# The file


def test_results_come_back_from_their_file(scripted: Scripted, tmp_path: Path) -> None:
    results = running.run(BenchOptions(backends="memory", references="none"), tmp_path)
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results


def test_a_file_that_is_no_result_is_told_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(ConfigError, match=r"results\.json: No such file.*give a results\.json"):
        read_results(path)
    path.write_text('{"rows": []}')
    with pytest.raises(ConfigError, match=r"not a results\.json of statestore bench .*measure again"):
        read_results(path)
    later = Results(
        format=FORMAT + 1,
        started="",
        seconds=0,
        machine={},
        versions={},
        options={},
        candidates=[],
        workloads={},
        turns=[],
        left=[],
    )
    path.write_bytes(msgspec.json.encode(later))
    with pytest.raises(ConfigError, match=f"has format {FORMAT + 1}, this version reads up to {FORMAT}"):
        read_results(path)


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    described = machine(tmp_path)
    assert described["cores"] >= described["usable_cores"] >= 1
    assert described["memory"] > 1 << 20
    assert __import__("platform").node() not in described.values()
    assert versions()["rocksdict"]


def test_the_memory_of_a_process_that_is_gone_is_not_known() -> None:
    assert private_memory(1 << 30) is None


def test_where_the_broker_is_stays_out_of_the_results(scripted: Scripted, tmp_path: Path) -> None:
    options = BenchOptions(backends="memory", references="none", kafka="secret.example:9092")
    results = running.run(options, tmp_path)
    write_results(results, tmp_path / "results.json")
    assert results.options["kafka"] == "an address"
    assert b"secret" not in (tmp_path / "results.json").read_bytes()


def test_each_store_has_a_process_of_its_own_and_one_that_fails_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "told", scripted := Scripted(failing="memory"))
    options = BenchOptions(
        backends="memory", references="none", workload="update,window,restore", keys=(100,)
    )
    results = running.run(options, tmp_path)
    assert [job.workloads for job in scripted.jobs] == [
        ["load-random", "update"],
        ["restore"],
        ["window-put", "window-fetch"],
        ["restore"],  # the second round: what has failed is not tried again
    ]
    assert {job.kafka is not None for job in scripted.jobs} == {True}
    assert len({job.topics["records"] for job in scripted.jobs}) == 1  # it is filled once for all
    assert [(one.workload, one.failed) for one in results.left] == [("update", True), ("window-fetch", True)]


def test_what_does_not_fit_with_some_keys_is_left_out_there(scripted: Scripted, tmp_path: Path) -> None:
    options = BenchOptions(
        backends="memory", references="none", workload="all", value_size="50000", keys=(100, 1_000)
    )
    results = running.run(options, tmp_path)
    with_restore = {job.keys for job in scripted.jobs if job.workloads == ["restore"]}
    assert with_restore == {100}
    left = [one for one in results.left if one.workload == "restore"]
    assert [(one.candidate, one.keys, one.failed) for one in left] == [("all candidates", 1_000, False)]


def test_results_that_cannot_be_written_are_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for place in ("taken", "taken/below"):
        with pytest.raises(ConfigError, match=r"cannot be made a directory for results .*--out"):
            running.run(BenchOptions(backends="memory", references="none"), tmp_path / place)
