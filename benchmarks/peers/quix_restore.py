"""Recovers a changelog topic with an application of Quix Streams and its default settings.

Arguments: address, source topic, consumer group, directory. Prints one line of JSON. Runs in ``.venv-peers``.
"""

import json
import sys
import time

from quixstreams import Application
from quixstreams.state.recovery import RecoveryManager

address, source, group, directory = sys.argv[1:]
app = Application(
    broker_address=address,
    consumer_group=group,
    state_dir=directory,
    auto_create_topics=False,
    auto_offset_reset="earliest",
    loglevel="ERROR",
)
frame = app.dataframe(app.topic(source, key_deserializer="bytes", value_deserializer="bytes"))
frame.update(lambda value, state: None, stateful=True)

recover = RecoveryManager.do_recovery
taken = {"seconds": 0.0, "cpu": 0.0, "records": 0}


def timed(self):
    partitions = [one for stores in self.partitions.values() for one in stores.values()]
    begun, used = time.perf_counter(), time.process_time()
    recover(self)
    taken["seconds"] = time.perf_counter() - begun
    taken["cpu"] = time.process_time() - used
    taken["records"] = sum(one.offset + 1 for one in partitions)
    app.stop()


RecoveryManager.do_recovery = timed
app.run()
print(json.dumps(taken))
