"""Recovers a changelog topic into a table of Faust, kept in RocksDB, with default settings.

Arguments: address, source topic, changelog topic, number of partitions, directory. Prints one line of JSON.
Runs in ``.venv-peers``.
"""

import json
import os
import sys
import time

import faust
from faust.tables.recovery import Recovery

address, source, changelog, partitions, directory = sys.argv[1:]
app = faust.App(
    f"statestore-bench-{os.getpid()}",
    broker=f"kafka://{address}",
    store="rocksdb://?driver=rocksdict",
    datadir=directory,
    topic_partitions=int(partitions),
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
)
BYTES = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
events = app.topic(source, **BYTES)
table = app.Table(
    "table",
    partitions=int(partitions),
    key_type=bytes,
    value_type=bytes,
    changelog_topic=app.topic(changelog, partitions=int(partitions), **BYTES),
)


@app.agent(events)
async def write(stream):
    """What makes a worker own partitions of the table; no event ever comes."""
    async for key, value in stream.items():
        table[key] = value


begin, end = Recovery._set_recovery_started, Recovery._set_recovery_ended
at = {}


def started(self):
    begin(self)
    at.setdefault("began", (time.perf_counter(), time.process_time()))


def ended(self):
    end(self)
    began, used = at["began"]
    records = sum(offset + 1 for offset in self.active_offsets.values())
    if records:
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        print(json.dumps({"seconds": seconds, "cpu": cpu, "records": records}), flush=True)
        os._exit(0)  # a worker takes seconds to leave its group


Recovery._set_recovery_started, Recovery._set_recovery_ended = started, ended
faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()
