"""Topics on the broker in the process, and what is restored of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from statestore.bench.candidates import Kind, backend
from statestore.bench.content import Content
from statestore.bench.entities import ENTITIES, EntityGround, declared, made, reading, symbol
from statestore.bench.options import BenchOptions
from statestore.bench.references import REFERENCES
from statestore.bench.restoring import RestoreGround, restores
from statestore.bench.topics import RESTORED, BenchTopics, mock_holds, records_of
from statestore.bench.workload import Site
from statestore.errors import ConfigError, KafkaError

RECORDS = 1_000
CONTENT = Content(16, "10", 1)


@pytest.fixture(scope="module")
def topics() -> Iterator[BenchTopics]:
    with BenchTopics(None) as opened:
        yield opened


@pytest.fixture
def site(topics: BenchTopics, tmp_path: Path) -> Site:
    names = {RESTORED: topics.of(RESTORED, CONTENT, RECORDS)}
    return Site(backend("memory"), tmp_path / "home", False, CONTENT, RECORDS, topics.kafka, names)


def with_kind(site: Site, kind: Kind) -> Site:
    return Site(kind, site.directory, site.durable, site.content, site.records, site.kafka, site.topics)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["memory", "dict", "discard", "sqlite3"])
def test_a_topic_is_restored_again_and_again_each_time_into_an_empty_store(site: Site, name: str) -> None:
    ground = RestoreGround(with_kind(site, REFERENCES[name] if name in REFERENCES else backend(name)))
    for run, _ in islice(restores(ground, Random(1)), 2):
        assert not site.directory.exists() or not list(site.directory.rglob("*.*"))
        run()
    assert ground.given == 2 * RECORDS * 26
    ground.flush()
    ground.close()
    assert not site.directory.exists()


def test_a_record_that_was_not_restored_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = RestoreGround(with_kind(site, REFERENCES["dict"]))
    monkeypatch.setattr("statestore.bench.references.DictReference.write", lambda self, pairs: None)
    ((run, _),) = islice(restores(ground, Random(1)), 1)
    run()
    with pytest.raises(RuntimeError, match=r"record \d+ is in the topic, and was not restored"):
        ground.close()


def test_a_topic_is_filled_once(topics: BenchTopics) -> None:
    assert topics.of(RESTORED, CONTENT, RECORDS) == topics.of(RESTORED, CONTENT, RECORDS)
    assert topics.of(RESTORED, CONTENT, 100) != topics.of(RESTORED, CONTENT, RECORDS)


def test_a_topic_that_the_broker_cannot_keep_is_told(topics: BenchTopics) -> None:
    large = Content(16, "900000", 1)
    assert mock_holds(large) < 30
    with pytest.raises(KafkaError, match=r"keeps \d+ of 30 records"):
        topics.of(RESTORED, large, 30)


def test_what_does_not_fit_on_the_broker_is_told_with_what_to_do() -> None:
    fits, too_many = (100_000,), (100_000, 1_000_000)
    with pytest.raises(ConfigError, match=r"--workload restore: 1,000,000 records of 116 bytes.*--kafka"):
        BenchOptions(workload="ycsb,restore", keys=too_many)
    BenchOptions(workload="restore", keys=fits)
    BenchOptions(workload="restore", keys=too_many, kafka="localhost:9092")
    options = BenchOptions(workload="all", keys=too_many)  # it is left out, and told at the end
    left = [one.name for one in options.workloads() if options.unfit(one, 1_000_000, Content(16, "100", 1))]
    assert left == ["restore"]


def test_a_broker_that_is_away_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statestore.bench.topics._SOON", 0.2)
    with pytest.raises(KafkaError, match=r"Kafka at localhost:1: .*give the address of a broker that runs"):
        BenchTopics("localhost:1")


# Entities


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("name", ["memory", "dict"])
def test_entities_of_each_format_are_read(topics: BenchTopics, tmp_path: Path, name: str) -> None:
    records = 50
    names = {what: topics.of(what, CONTENT, records) for what in ENTITIES}
    kind = REFERENCES[name] if name in REFERENCES else backend(name)
    ground = EntityGround(Site(kind, tmp_path, False, CONTENT, records, topics.kafka, names))
    for what, value_format in ENTITIES.items():
        ((read, arguments),) = islice(reading(value_format)(ground, Random(7)), 1)
        cls = declared(value_format, names[what])
        assert read(symbol(3)) == made(cls, 3)
        assert type(read(*arguments)) is cls
        assert read("SYM-of-nobody") is None
    ground.close()


def test_an_entity_that_is_another_is_told(topics: BenchTopics, tmp_path: Path) -> None:
    names = {"entity-raw": topics.of("entity-raw", CONTENT, 50)}
    site = Site(REFERENCES["dict"], tmp_path, False, CONTENT, 50, topics.kafka, names)
    ground = EntityGround(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("statestore.bench.references.DictReference.write", lambda self, pairs: None)
        with pytest.raises(RuntimeError, match=r"instead of BenchRaw\(.*there is None"):
            ground.reads("raw")
    ground.close()


def test_a_table_of_entities_has_some_thousands_at_most() -> None:
    assert [records_of("entity-json", keys) for keys in (100, 1_000_000)] == [100, 10_000]
    assert records_of(RESTORED, 1_000_000) == 1_000_000
