"""Reads a topic into a table of ktables, which keeps it in a dict, with default settings but its time limit.

Arguments: address, topic. Prints one line of JSON. Runs in ``.venv-peers``.
"""

import asyncio
import json
import sys
import time

from ktables import KafkaTable

address, topic = sys.argv[1:]


async def restore():
    table = KafkaTable(
        connection=address,
        topic=topic,
        key_decoder=lambda key: key,
        value_decoder=lambda value: value,
        catchup_timeout=600.0,
        ensure_topic=False,
    )
    began, used = time.perf_counter(), time.process_time()
    async with table:
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        assert table.status == "caught_up", table.status
        print(json.dumps({"seconds": seconds, "cpu": cpu, "records": len(table)}), flush=True)


asyncio.run(restore())
