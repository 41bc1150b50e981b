"""A service that forks: ``fork_process.py DIRECTORY ADDRESS BACKEND FORKS ENDING``; prints lines of JSON.

The child uses all that the parent opened, tells how that ended, and ends as ``ENDING`` says: ``_exit``,
``exit``, ``end`` (of the program), or ``wait`` (until its standard input is closed, as the parent does).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Annotated

from statestore import Delivery, Key, StoreManager, entity
from statestore.kafka import topics
from statestore.testing.forking import outcomes


@entity(topic="payments")
@dataclass(frozen=True, slots=True)
class Payment:
    number: Annotated[int, Key]


PATIENCE = 60  # seconds after which a child that hangs is ended by SIGALRM


def main(directory: str, address: str, backend: str, forks: str, ending: str) -> None:
    manager = StoreManager(directory, kafka=address, backend=backend)
    kv = manager.open("sessions")
    kv.put(b"a", b"1")
    kv.put(b"b", b"2")
    table = manager.bind("orders")
    table.wait_until_ready(15)
    topics._SOON = 0.1  # the mock broker names no controller, which answers
    manager.add(Payment(1), timeout=60)
    snapshot, scan, rows = kv.snapshot(), kv.scan(), iter(table)
    next(scan)
    next(rows)
    done = threading.Event()

    def write() -> None:
        for number in itertools.count():
            if done.is_set():
                return
            kv.put(b"busy", b"%d" % number)
            manager.describe()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    calls = {
        "manager.open": lambda: manager.open("another"),
        "manager.bind": lambda: manager.bind("payments"),
        "manager.store": lambda: manager.store("sessions"),
        "manager.wait_until_ready": lambda: manager.wait_until_ready(timeout=1),
        "manager.health": manager.health,
        "manager.describe": manager.describe,
        "manager.add": lambda: manager.add(Payment(2)),
        "manager.add_all": lambda: manager.add_all([Payment(2)]),
        "manager.delete": lambda: manager.delete(Payment, 2),
        "manager.flush": manager.flush,
        "manager.ensure_topics": lambda: manager.ensure_topics(Payment),
        "manager.close": manager.close,
        "store.get": lambda: kv.get(b"a"),
        "store.put": lambda: kv.put(b"a", b"child"),
        "store.delete": lambda: kv.delete(b"a"),
        "store.scan": lambda: next(kv.scan()),
        "store.snapshot": kv.snapshot,
        "store.count": kv.count,
        "store.flush": kv.flush,
        "store.close": kv.close,
        "snapshot.get": lambda: snapshot.get(b"a"),
        "snapshot.scan": lambda: next(snapshot.scan()),
        "iterator": lambda: next(scan),
        "table.get": lambda: table.get(b"k1"),
        "table.get stale": lambda: table.get(b"k1", allow_stale=True),
        "table.to_list": table.to_list,
        "table.iterator": lambda: next(rows),
        "table.wait_for": lambda: table.wait_for(Delivery("orders", 0, 0, 0)),
        "table.wait_until_ready": lambda: table.wait_until_ready(1),
        "table.health": table.health,
        "table.on_ready": lambda: table.on_ready(print),
        "table.on_state_change": lambda: table.on_state_change(print),
        "table.on_progress": lambda: table.on_progress(print),
        "table.stop": table.stop,
        "table.restart": table.restart,
        "table.pause": table.pause,
        "table.resume": table.resume,
        "table.flush": table.flush,
        "table.close": table.close,
    }
    if ending == "wait":
        if os.fork() == 0:
            print(json.dumps({"child": os.getpid()}), flush=True)
        sys.stdin.read()
        os._exit(0)
    for number in range(int(forks)):  # each at another moment of the threads' work
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE)
            told = [table.state, table.is_ready, table.lag, set(table.lag_by_partition.values()) - {None}]
            print(json.dumps({**outcomes(calls), "told": repr(told)}), flush=True)
            if ending == "_exit":
                os._exit(number)
            if ending == "exit":
                sys.exit(number)
            break
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)
    else:
        done.set()
        writer.join()
        rest = [len(list(scan)), len(list(rows))]
        kv.put(b"c", b"3")
        table.flush()
        manager.add(Payment(3), timeout=60)
        print(json.dumps({"rest": rest, "a": repr(kv.get(b"a")), "rows": table.count()}), flush=True)
        manager.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
