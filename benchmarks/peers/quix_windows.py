"""Windows of Quix Streams without Kafka: one run of the work for each line that comes in.

Arguments: work (put, fetch or bars), a file of JSON with its input, an empty directory. Prints a line of JSON
for each run: its seconds, and how many rows or bars were found. Runs in ``.venv-peers``.
"""

import gc
import json
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

from quixstreams.context import copy_context, set_message_context
from quixstreams.dataframe.dataframe import StreamingDataFrame
from quixstreams.dataframe.registry import DataFrameRegistry
from quixstreams.dataframe.windows.aggregations import Count, First, Last, Max, Min, Sum
from quixstreams.models import MessageContext
from quixstreams.models.topics import TopicConfig, TopicManager
from quixstreams.processing import ProcessingContext
from quixstreams.sinks import SinkManager
from quixstreams.state import StateStoreManager
from quixstreams.state.rocksdb import RocksDBOptions
from quixstreams.state.rocksdb.windowed.store import WindowedRocksDBStore
from quixstreams.utils.json import dumps, loads

LONGEST_TIME = 20
"""Bytes. The store's own values, times as JSON, are no longer; the measured values are."""
TOPIC = {"retention.ms": "-1", "retention.bytes": "-1"}
AGGREGATES = {
    "sum": {"total": Sum("quantity"), "trades": Count()},
    "ohlcv": {
        "open": First("price"),
        "high": Max("price"),
        "low": Min("price"),
        "close": Last("price"),
        "volume": Sum("quantity"),
    },
}


def timed(call):
    gc.collect()
    gc.disable()
    try:
        begun = time.perf_counter()
        found = call()
        return {"seconds": time.perf_counter() - begun, "found": found}
    finally:
        gc.enable()


@contextmanager
def opened(directory):
    """Open a partition without a changelog. Values are bytes, and stay as they are: its JSON takes longer."""
    options = RocksDBOptions(
        dumps=lambda value: value if type(value) is bytes else dumps(value),
        loads=lambda value: value if len(value) > LONGEST_TIME else loads(value),
    )
    with WindowedRocksDBStore("windows", "topic", directory, options=options) as store:
        yield store.assign_partition(0)


def fill(partition, given):
    size, batch, rows = given["size"], given["batch"], given["rows"]
    for at in range(0, len(rows), batch):
        with partition.begin() as transaction:
            update = transaction.update_window
            for key, start, value in rows[at : at + batch]:
                update(start, start + size, value, start, key)
    return len(rows)


def put(given, directory):
    with opened(directory) as partition:
        return timed(lambda: fill(partition, given))


def fetch(given, filled):
    """Open a store that was filled before, and read it a second time."""
    with opened(filled) as partition:
        read(partition, given)
        return timed(lambda: read(partition, given))


def read(partition, given):
    after, last = given["begin"] - 1, given["end"] - 1  # get_windows takes neither a first nor a next start
    with partition.begin() as transaction:
        return sum(len(transaction.get_windows(after, last, key)) for key in given["keys"])


def bars(given, directory):
    """Pass records through a topology whose broker is mocked, as in its own tests, and commit at the end."""
    state = StateStoreManager(group_id="bench", state_dir=directory)
    state.init()
    topics = TopicManager(topic_admin=MagicMock(), consumer_group="bench", auto_create_topics=False)
    topic = topics.topic("trades")
    topic.broker_config = TopicConfig(num_partitions=1, replication_factor=1, extra_config=TOPIC)
    registry = DataFrameRegistry()
    context = ProcessingContext(
        producer=MagicMock(),
        consumer=MagicMock(),
        commit_interval=5,
        state_manager=state,
        sink_manager=SinkManager(),
        dataframe_registry=registry,
    )
    frame = StreamingDataFrame(topic, topic_manager=topics, registry=registry, processing_context=context)
    registry.register_root(frame)
    for minutes in given["minutes"]:
        window = frame.tumbling_window(duration_ms=minutes * 60_000, grace_ms=given["grace"])
        # To close windows by key, its other way, takes longer here; so does a reduce() of all fields.
        window.agg(**AGGREGATES[given["bars"]]).final(closing_strategy="partition")
    context.init_checkpoint()
    state.on_partition_assign(stream_id=frame.stream_id, partition=0, committed_offsets={})
    closed = []
    take = registry.compose_all(sink=lambda value, *_: closed.append(value))["trades"]
    records = [
        ({"price": price, "quantity": quantity}, symbol.encode(), at)
        for symbol, price, quantity, at in given["trades"]
    ]

    def run():
        for value, key, at in records:
            take(value, key, at, None)
        for transaction in context.checkpoint._store_transactions.values():
            transaction.prepare()
            transaction.flush()
        return len(closed)

    message = copy_context()
    message.run(set_message_context, MessageContext(topic="trades", partition=0, offset=0, size=0))
    try:
        return timed(lambda: message.run(run))
    finally:
        state.close()


work, source, scratch = sys.argv[1:]
given = json.loads(Path(source).read_text())
if work != "bars":
    given["rows"] = [(key.encode(), start, value.encode()) for key, start, value in given["rows"]]
    given["keys"] = [key.encode() for key in given["keys"]]
if work == "fetch":
    with opened(scratch) as partition:
        fill(partition, given)
for _ in sys.stdin:
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        taken = (
            fetch(given, scratch) if work == "fetch" else {"put": put, "bars": bars}[work](given, directory)
        )
    print(json.dumps(taken), flush=True)
