"""Reads a topic with librdkafka alone: the cost of fetching and taking apart records that nobody looks at.

``ctypes`` calls the library that the ``confluent-kafka`` wheel has loaded, without the GIL. Each record is
passed to a function of the C library that does nothing with it.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import confluent_kafka
from topics import Shape

CONSUMER = 1


def read(bootstrap: str, topic: str, shape: Shape, tuning: dict[str, Any]) -> None:
    """Read the topic of this shape to its last record."""
    library = _loaded()
    error = ctypes.create_string_buffer(512)
    configuration = library.rd_kafka_conf_new()
    for name, value in {"bootstrap.servers": bootstrap, "group.id": "statestore-bench", **tuning}.items():
        text = str(value).encode()
        if library.rd_kafka_conf_set(configuration, name.encode(), text, error, len(error)) != 0:
            raise ValueError(error.value.decode())
    client = library.rd_kafka_new(CONSUMER, configuration, error, len(error))
    if not client:
        raise RuntimeError(error.value.decode())
    handle = library.rd_kafka_topic_new(client, topic.encode(), None)
    queue = library.rd_kafka_queue_new(client)
    for partition in range(shape.partitions):
        library.rd_kafka_consume_start_queue(handle, partition, ctypes.c_int64(0), queue)
    nothing = ctypes.cast(ctypes.CDLL(None).labs, ctypes.c_void_p)
    left = shape.records
    while left > 0:
        left -= library.rd_kafka_consume_callback_queue(queue, 10, nothing, None)
    for partition in range(shape.partitions):
        library.rd_kafka_consume_stop(handle, partition)
    library.rd_kafka_queue_destroy(queue)
    library.rd_kafka_topic_destroy(handle)
    library.rd_kafka_destroy(client)


def _loaded() -> Any:
    confluent_kafka.libversion()  # loads it
    found = re.search(r"\s(/\S*librdkafka\S*)$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError("confluent_kafka has loaded no librdkafka of its own")
    library = ctypes.CDLL(found[1])
    for name in ("conf_new", "new", "topic_new", "queue_new"):
        getattr(library, f"rd_kafka_{name}").restype = ctypes.c_void_p
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    size = ctypes.c_size_t
    library.rd_kafka_conf_set.argtypes = [pointer, text, text, text, size]
    library.rd_kafka_new.argtypes = [number, pointer, text, size]
    library.rd_kafka_topic_new.argtypes = [pointer, text, pointer]
    library.rd_kafka_queue_new.argtypes = [pointer]
    library.rd_kafka_consume_start_queue.argtypes = [pointer, ctypes.c_int32, ctypes.c_int64, pointer]
    library.rd_kafka_consume_callback_queue.argtypes = [pointer, number, pointer, pointer]
    library.rd_kafka_consume_stop.argtypes = [pointer, ctypes.c_int32]
    for name in ("queue_destroy", "topic_destroy", "destroy"):
        getattr(library, f"rd_kafka_{name}").argtypes = [pointer]
    return library
