"""Each workload does what its line says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from statestore.bench.candidates import backend
from statestore.bench.content import Content
from statestore.bench.operations import RecordGround
from statestore.bench.options import BenchOptions
from statestore.bench.references import REFERENCES
from statestore.bench.workload import Operation, Site
from statestore.bench.workloads import GROUPS, WORKLOADS, chosen, lacking
from statestore.errors import ConfigError

RECORDS = 500


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[RecordGround]:
    """A filled store in memory."""
    content = Content(16, "10..20", 1)
    made = RecordGround(Site(backend("memory"), tmp_path, durable=False, content=content, records=RECORDS))
    for call, arguments in WORKLOADS["load-random"].operations(made, Random(1)):
        call(*arguments)
    yield made
    made.candidate.close()


def operations(ground: RecordGround, workload: str, count: int) -> list[Operation]:
    return list(islice(WORKLOADS[workload].operations(ground, Random(2)), count))


# Table 2 of Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010; F came with its code.
@pytest.mark.parametrize(
    ("workload", "shares"),
    [
        ("ycsb-a", {"get": 0.5, "put": 0.5}),
        ("ycsb-b", {"get": 0.95, "put": 0.05}),
        ("ycsb-c", {"get": 1.0}),
        ("ycsb-d", {"get": 0.95, "put": 0.05}),
        ("ycsb-e", {"scan": 0.95, "put": 0.05}),
        ("ycsb-f", {"get": 0.5, "_read_and_write": 0.5}),
    ],
)
def test_the_letters_have_the_mixes_of_ycsb(
    ground: RecordGround, workload: str, shares: dict[str, float]
) -> None:
    made = operations(ground, workload, 2_000)
    counted = Counter(call.__name__ for call, _ in made)
    assert set(counted) == set(shares)
    for name, share in shares.items():
        assert abs(counted[name] - 2_000 * share) <= 5 * (2_000 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(("workload", "inserts"), [("ycsb-a", False), ("ycsb-d", True), ("ycsb-e", True)])
def test_d_and_e_insert_and_the_others_overwrite(ground: RecordGround, workload: str, inserts: bool) -> None:
    for call, arguments in operations(ground, workload, 400):
        call(*arguments)
    assert (ground.candidate.scan(None, None) > RECORDS) == inserts
    assert ground.candidate.scan(None, None) == ground.records


def test_a_short_scan_reads_up_to_a_hundred_pairs(ground: RecordGround) -> None:
    limits = {arguments[1] for _, arguments in operations(ground, "scan-short", 2_000)}
    assert min(limits) == 1
    assert max(limits) == 100


def test_reads_find_their_records_and_absent_ones_nothing(ground: RecordGround) -> None:
    for workload in ("read-uniform", "read-zipf", "read-hot", "ycsb-c"):
        assert all(call(*arguments) is not None for call, arguments in operations(ground, workload, 300))
    assert len({arguments for _, arguments in operations(ground, "read-hot", 300)}) == RECORDS // 100
    assert all(call(*arguments) is None for call, arguments in operations(ground, "read-absent", 300))


def test_what_was_deleted_is_put_back(ground: RecordGround) -> None:
    workload = WORKLOADS["delete"]
    for call, arguments in operations(ground, "delete", 200):
        call(*arguments)
    assert ground.candidate.scan(None, None) == RECORDS - 200
    assert workload.mend is not None
    workload.mend(ground)
    assert ground.candidate.scan(None, None) == RECORDS


def test_a_load_in_order_is_in_order_and_one_at_random_is_not(ground: RecordGround) -> None:
    def keys(workload: str) -> list[bytes]:
        return [key for _, (pairs,) in operations(ground, workload, 10) for key, _ in pairs]

    assert keys("load-order") == sorted(keys("load-random")) != keys("load-random")


def test_a_batch_has_as_many_writes_as_it_says(ground: RecordGround) -> None:
    for size in (1, 100, 10_000):
        ((_, (pairs,)),) = operations(ground, f"batch-{size}", 1)
        assert len(pairs) == size


def test_a_snapshot_is_held_and_released(ground: RecordGround) -> None:
    hold = WORKLOADS["snapshot"].hold
    assert hold is not None
    with ExitStack() as held:
        hold(ground, held)


def test_workloads_are_chosen_by_name_and_group_with_a_load_first() -> None:
    assert [one.name for one in chosen("ycsb-c, ycsb-a")] == ["load-random", "ycsb-a", "ycsb-c"]
    assert [one.name for one in chosen("load-order,scan")] == ["load-order", "scan-short", "scan-full"]
    assert {one.name for one in chosen("all")} == set(WORKLOADS)
    assert all(name in WORKLOADS for names in GROUPS.values() for name in names)
    with pytest.raises(ConfigError, match=r"--workload ycsb-z: .*ycsb-a.*groups ycsb"):
        chosen("ycsb-z")
    with pytest.raises(ConfigError, match="names no workload"):
        chosen(" ,")


def test_what_a_candidate_lacks_is_told() -> None:
    dictionary = REFERENCES["dict"].abilities
    assert lacking(WORKLOADS["ycsb-e"], dictionary) == "no scans in the order of the keys"
    assert lacking(WORKLOADS["snapshot"], dictionary) == "no snapshots"
    assert lacking(WORKLOADS["reopen"], backend("memory").abilities) == "no files"
    assert lacking(WORKLOADS["ycsb-a"], dictionary) is None


def test_a_reopen_loses_nothing(tmp_path: Path) -> None:
    site = Site(REFERENCES["sqlite3"], tmp_path, durable=False, content=Content(16, "10", 1), records=10)
    ground = RecordGround(site)
    ((load, pairs),) = WORKLOADS["load-order"].operations(ground, Random(1))
    load(*pairs)
    ((reopen, _),) = operations(ground, "reopen", 1)
    reopen()
    assert ground.candidate.scan(None, None) == 10
    ground.candidate.delete(ground.content.key(0))
    with pytest.raises(RuntimeError, match="record 0 is gone"):
        reopen()
    ground.candidate.close()


# Content


def test_keys_have_their_size_and_the_order_of_their_numbers() -> None:
    content = Content(12, "5", 1)
    keys = [key for number in range(50) for key in (content.key(number), content.absent(number))]
    assert keys == sorted(set(keys))
    assert {len(key) for key in keys} == {12}


def test_values_have_the_sizes_that_were_asked_for(tmp_path: Path) -> None:
    assert {len(Content(16, "7", 1).value()) for _ in range(10)} == {7}
    sized = Content(16, "3..6", 1)
    assert {len(sized.value()) for _ in range(200)} == {3, 4, 5, 6}
    assert sized.mean == 16 + 4.5
    sample = tmp_path / "sample.jsonl"
    sample.write_bytes(b'{"a": 1}\n\n{"a": 22}\n')
    lines = Content(16, str(sample), 1)
    assert {lines.value() for _ in range(4)} == {b'{"a": 1}', b'{"a": 22}'}
    assert Content(16, "3..6", 9).value() == Content(16, "3..6", 9).value()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key_size": 4}, "--key-size 4: a key has 8 to 500 bytes"),
        ({"value_size": "9..3"}, r"--value-size 9\.\.3: .*such as 100 or 100\.\.2000"),
        ({"value_size": "nowhere.jsonl"}, "--value-size nowhere.jsonl: neither a size in bytes nor a file"),
        ({"keys": (10,)}, "--keys 10: must be from 100"),
        ({"threads": (0,)}, "--threads 0: must be from 1 to 256"),
        ({"rounds": 1}, "--rounds 1: must be from 2"),
        ({"seconds": 0.0}, "--seconds 0: must be from 0.01"),
        ({"rate": 0.0}, "--rate 0: must be from 1"),
        ({"workload": "fast"}, "--workload fast"),
        ({"value_size": ""}, "--value-size '': neither a size in bytes nor a file"),
        ({"key_size": 8, "keys": (100, 30_000_000)}, "--key-size 8: too short for 30,000,000 keys; give 9"),
        ({"kafka": ""}, "--kafka '': no address of a broker; give one such as localhost:9092"),
        ({"kafka": "localhost"}, "--kafka 'localhost': no address"),
        ({"kafka": "one:9092,two:99999"}, "--kafka 'one:9092,two:99999': no address"),
    ],
)
def test_an_option_that_cannot_be_is_told_by_its_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        BenchOptions(**options)


def test_a_file_without_lines_has_no_values(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n\n")
    with pytest.raises(ConfigError, match="the file has no lines"):
        BenchOptions(value_size=str(tmp_path / "empty"))
