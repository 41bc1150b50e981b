"""One side of ``against.py``: measures the ``statestore`` of this Python, one turn at a time.

The Python of a checkout runs it, and that checkout may be older than this file. So it uses public names, and
looks for the few others in every place where a layout had them. First it prints where its ``statestore`` is
and which rows it measures, as JSON. It answers each line ``ROW TIMES`` with the seconds, and the seconds of
CPU, that so many runs took.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import itertools
import json
import random
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

sys.path.insert(0, str(Path(__file__).parent))  # run with -P, Python does not look beside the script

from content import key, some_keys, values

import statestore
from statestore import Key, Precision, StoreManager, entity

PATIENCE = 900.0
BACKENDS = ("rocksdb", "lmdb", "memory")
PACKAGES = ("confluent-kafka", "fastavro", "lmdb", "msgspec", "pydantic", "rocksdict")
READS = 2_000
PAGE = 100
"""Rows of a short scan, keys of one ``get_many``, entities of one ``add_all``."""
BATCH = 1_000
FEWER = 10
"""So many times fewer orders than other rows: a turn that reads all of them must be short."""


@entity(topic="ticks")
@dataclass(frozen=True, slots=True)
class Tick:
    """Scalars only: the native decoder makes it."""

    symbol: Annotated[str, Key]
    price: float
    quantity: int
    venue: str
    sequence: int
    open: bool

    @classmethod
    def numbered(cls, number: int) -> Tick:
        return cls(f"SYM-{number:06d}", number / 7, number, "XNYS", number * 3, number % 2 == 0)


@dataclass(frozen=True, slots=True)
class Place:
    """A member of an order that is an entity's field."""

    city: str
    zip: int


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    """Types that need converting, and members."""

    region: Annotated[str, Key]
    number: Annotated[int, Key]
    amount: Annotated[Decimal, Precision(18, 4)]
    placed: datetime
    day: date
    reference: uuid.UUID
    note: str | None
    place: Place
    tags: list[str]

    @classmethod
    def numbered(cls, number: int) -> Order:
        placed = datetime(2024, 2, 29, tzinfo=UTC) + timedelta(seconds=number)
        return cls(
            f"region-{number // 100:03d}",
            number,
            Decimal(number) / 16,
            placed,
            placed.date(),
            uuid.UUID(int=number),
            None if number % 2 else "by hand",
            Place("London", number),
            ["new", "paid"],
        )


class Work(NamedTuple):
    """As ``statestore.bench`` has it, which an older checkout has not."""

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None
    finish: Callable[[Any], object] = lambda _: None


class Row(NamedTuple):
    """Something to measure. ``work`` does ``items`` of them."""

    name: str
    work: Work
    items: int
    of: str


Rows = Iterator[Row]


class Options(NamedTuple):
    """What the parent has prepared."""

    directory: str
    """Where this side's files may be."""
    rows: int
    mock: str
    """Address of a mock broker: ``pairs`` and ``ticks`` have ``rows`` rows, ``orders`` a tenth."""
    kafka: str
    """Address of a real broker."""
    topics: dict[str, tuple[str, int]]
    """Topics of the real broker and their numbers of records, by a description of their content."""


def found(*places: str) -> Any:
    """Return the first of ``package.module:name`` that is there: layouts differ."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"none of {', '.join(places)} is there")


def codec_of(cls: type[Any]) -> Any:
    """Return the codec of an entity class; an Avro schema registry is simulated by its client."""
    settings = found("statestore.settings:RegistrySettings")(url=f"mock://{uuid.uuid4()}")
    context = found("statestore.serde.formats:FormatContext")(settings)
    return found("statestore.serde.entities:EntityCodec")(found("statestore.entity:model_of")(cls), context)


def main() -> None:
    group, options = sys.argv[1], Options(**json.loads(sys.argv[2]))
    rows = list(GROUPS[group](options))
    core = importlib.import_module("statestore.core")
    told = {
        "statestore": statestore.__file__,
        "core": core.IMPLEMENTATION,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rows": [(row.name, row.items, row.of) for row in rows],
    }
    gc.collect()
    gc.freeze()  # what is there by now is not visited again, so that a collection before each turn is short
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        number, times = map(int, line.split())
        print(*turn(rows[number].work, times), flush=True)


def turn(work: Work, times: int) -> tuple[float, float]:
    """Return the seconds, and those of CPU, of ``times`` runs; garbage collection is on, as in a service."""
    seconds = cpu = 0.0
    gc.collect()
    for _ in range(times):
        state = work.prepare()
        began, used = time.perf_counter(), time.process_time()
        work.run(state)
        seconds, cpu = seconds + time.perf_counter() - began, cpu + time.process_time() - used
        work.finish(state)
    return seconds, cpu


def each(call: Callable[..., object], arguments: list[Any]) -> Work:
    """Return work that calls ``call`` with each of ``arguments``."""

    def run(_: object) -> None:
        for argument in arguments:
            call(argument)

    return Work(run)


# Restores.


def restore(options: Options) -> Rows:
    """From ``bind`` until the table is ready and has answered a read."""
    for shape, (topic, records) in options.topics.items():
        for backend in BACKENDS:
            yield _restore(options, f"{backend}, {shape}", options.kafka, topic, backend, records)


def follow(options: Options) -> Rows:
    """Restores too small for a bulk load: they are applied in small batches, as a table that follows does."""
    for backend in BACKENDS:
        name = f"{backend}, in small batches"
        yield _restore(options, name, options.mock, "pairs", backend, options.rows)


def _restore(options: Options, name: str, kafka: str, topic: str, backend: str, records: int) -> Row:
    directory = Path(options.directory, "restored")

    def run(manager: StoreManager) -> None:
        table = manager.bind(topic)
        table.wait_until_ready(PATIENCE)
        assert table.get(key(0)) is not None

    def finish(manager: StoreManager) -> None:
        manager.close()
        shutil.rmtree(directory)

    prepare = lambda: StoreManager(directory, kafka=kafka, backend=backend)  # noqa: E731
    return Row(name, Work(run, prepare, finish), records, "records")


# Reads and scans of tables.


def tables(
    options: Options, backends: tuple[str, ...] = BACKENDS, memory: int = 256 << 20
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Give each backend's tables of bytes, ticks and orders, which stay open."""
    settings = {"defaults": {"memory_budget": memory}}
    for backend in backends:
        directory = Path(options.directory, backend)
        manager = StoreManager(directory, kafka=options.mock, backend=backend, settings=settings)
        bound: tuple[Any, Any, Any] = (manager.bind("pairs"), manager.bind(Tick), manager.bind(Order))
        manager.wait_until_ready(timeout=PATIENCE)
        for table in bound:
            table.flush()
            assert table.count() in (options.rows, options.rows // FEWER)
        yield backend, *bound


def reads(options: Options) -> Rows:
    for backend, pairs, ticks, orders in tables(options):
        count = min(READS, options.rows)
        hot = some_keys(count, options.rows)
        absent = [one + b"-" for one in hot]  # between those that are there: no range excludes them
        yield Row(f"{backend}, get of bytes, hot", each(pairs.get, hot), count, "reads")
        yield Row(f"{backend}, get of bytes, absent", each(pairs.get, absent), count, "reads")
        symbols = [Tick.numbered(number).symbol for number in range(count)]
        yield Row(f"{backend}, get of an entity, hot", each(ticks.get, symbols), count, "reads")
        some = [
            (one.region, one.number) for one in map(Order.numbered, range(min(count, options.rows // FEWER)))
        ]
        converted = each(lambda key, get=orders.get: get(*key), some)
        yield Row(f"{backend}, get of an entity with members, hot", converted, len(some), "reads")


def cold(options: Options) -> Rows:
    """Reads that the record cache cannot answer, because it is smaller than the table."""
    for backend, pairs, ticks, _ in tables(options, ("rocksdb", "lmdb"), memory=16 << 20):
        count = min(READS, options.rows)
        keys = [key(number) for number in range(options.rows)]
        yield Row(f"{backend}, get of bytes, cold", in_turn(pairs.get, keys, count), count, "reads")
        symbols = [Tick.numbered(number).symbol for number in range(options.rows)]
        yield Row(f"{backend}, get of an entity, cold", in_turn(ticks.get, symbols, count), count, "reads")


def in_turn(get: Callable[[Any], object], keys: list[Any], count: int) -> Work:
    """Return work that reads the ``count`` keys whose last read is the longest ago."""
    random.Random(19).shuffle(keys)
    endless = itertools.cycle(keys)

    def run(some: list[Any]) -> None:
        for one in some:
            get(one)

    return Work(run, lambda: list(itertools.islice(endless, count)))


def scans(options: Options) -> Rows:
    rows = options.rows
    for backend, pairs, ticks, orders in tables(options):
        starts = some_keys(PAGE, max(1, rows - PAGE))
        short = each(lambda start, scan=pairs.scan: drain(scan(start, limit=PAGE)), starts)
        yield Row(f"{backend}, scan of bytes", whole(lambda table: drain(table.scan()), pairs), rows, "rows")
        yield Row(f"{backend}, scans of {PAGE} rows", short, PAGE * PAGE, "rows")
        yield Row(f"{backend}, count", whole(lambda table: table.count(), pairs), rows, "rows")
        yield Row(f"{backend}, iteration over entities", whole(drain, ticks), rows, "rows")
        for name, table, count in (
            ("entities", ticks, rows),
            ("entities with members", orders, rows // FEWER),
        ):
            read = whole(lambda table: table.to_list(), table)
            yield Row(f"{backend}, to_list of {name}", read, count, "rows")


def whole(read: Callable[[Any], object], table: Any) -> Work:
    """Return work that reads all of ``table``."""
    return Work(lambda _: read(table))


def drain(rows: Any) -> None:
    for _ in rows:
        pass


# Writes.


def writes(options: Options) -> Rows:
    pool = values()
    some = random.Random(23).choices(range(options.rows), k=BATCH)
    pairs = [(key(number), pool[number % len(pool)]) for number in some]
    keys = [one for one, _ in pairs]
    for backend in BACKENDS:
        manager = StoreManager(Path(options.directory, backend), backend=backend)
        store = manager.open("pairs")
        with store.batch() as batch:
            for number in range(options.rows):
                batch.put(key(number), pool[number % len(pool)])

        def put_batch(_: object, store: Any = store) -> None:
            with store.batch() as batch:
                for one, value in pairs:
                    batch.put(one, value)

        single = each(lambda pair, store=store: store.put(*pair), pairs[:PAGE])
        yield Row(f"{backend}, put", single, PAGE, "pairs")
        yield Row(f"{backend}, batch of {BATCH:,}", Work(put_batch), BATCH, "pairs")
        lists = [keys[start : start + PAGE] for start in range(0, BATCH, PAGE)]
        yield Row(f"{backend}, get_many of {PAGE}", each(store.get_many, lists), BATCH, "reads")
    manager = StoreManager(Path(options.directory, "produced"), kafka=options.mock, connect="lazy")
    ticks = [Tick.numbered(number) for number in range(PAGE)]
    yield Row(f"add_all of {PAGE} entities", Work(lambda _: manager.add_all(ticks)), PAGE, "entities")


# Codecs.

KEYS: list[tuple[Any, ...]] = [
    (42,),
    ("SYM-000042",),
    ("Zürich", b"\x00\x01", 42),
    (uuid.UUID(int=42), datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
]
FORMATS: dict[str, dict[str, Any]] = {
    "msgpack": {},
    "json": {"value_format": "json", "key_format": "json"},
    "json of ksqlDB": {"value_format": "json", "key_format": "json", "ksql": True},
    "avro": {"value_format": "avro", "key_format": "avro"},
}
CALLS = 500


def codecs(_: Options) -> Rows:
    core = importlib.import_module("statestore.core")
    for kinds in KEYS:
        names = [type(value).__name__.lower() for value in kinds]
        codec = core.KeyCodec(names)
        shown = f"({', '.join(names)})"
        yield Row(f"encode key {shown}", calls(codec.encode, kinds), CALLS, "keys")
        yield Row(f"decode key {shown}", calls(codec.decode, codec.encode(kinds)), CALLS, "keys")
    window = core.window_key(b"SYM-000042", 1_709_209_800_000)
    yield Row("window_key", calls(core.window_key, b"SYM-000042", 1_709_209_800_000), CALLS, "keys")
    yield Row("split_window_key", calls(core.split_window_key, window), CALLS, "keys")
    for cls in (Tick, Order):
        for form, given in FORMATS.items():
            if cls is Order and given.get("ksql"):
                continue  # it has no columns for all of its types
            hints = get_type_hints(cls, include_extras=True)
            copy: Any = make_dataclass(cls.__name__, list(hints.items()), frozen=True, slots=True)
            codec = codec_of(entity(copy, topic="measured", **given))
            one = copy(*(getattr(cls.numbered(42), name) for name in hints))
            record = codec.encode(one)
            assert codec.decode(*record) == one
            yield Row(f"encode {cls.__name__}, {form}", calls(codec.encode, one), CALLS, "entities")
            yield Row(f"decode {cls.__name__}, {form}", calls(codec.decode, *record), CALLS, "entities")


def calls(call: Callable[..., object], *arguments: Any) -> Work:
    def run(_: object) -> None:
        for _ in range(CALLS):
            call(*arguments)

    return Work(run)


GROUPS: dict[str, Callable[[Options], Rows]] = {
    "codecs": codecs,
    "reads": reads,
    "cold": cold,
    "scans": scans,
    "writes": writes,
    "follow": follow,
    "restore": restore,
}

if __name__ == "__main__":
    main()
