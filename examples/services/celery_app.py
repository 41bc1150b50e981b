"""Tasks that look things up in a local mirror, by Celery: ``celery -A celery_app worker --concurrency 2``.

Celery forks its processes, and a manager does not survive a fork. So each process opens its own when it
begins. Celery kills a process whose beginning takes more than 4 seconds, so that nothing is waited for there.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from orders import KAFKA, STALE, STATE, Order

from statestore import StoreManager, Table

app = Celery("orders", broker=os.environ.get("BROKER", "amqp://"), backend=os.environ.get("RESULTS"))
if queue := os.environ.get("CELERY_QUEUE"):  # a folder, where there is no server that keeps messages
    app.conf.broker_transport_options = {
        "data_folder_in": queue,
        "data_folder_out": queue,
        "control_folder": f"{queue}-control",
    }

stores: StoreManager
orders: Table[Order]


@worker_process_init.connect
def open_stores(**_: Any) -> None:
    global stores, orders
    stores = StoreManager(STATE, kafka=KAFKA, backend="lmdb", role="auto", connect="lazy")
    orders = stores.bind(Order, max_staleness=STALE)


@worker_process_shutdown.connect
def close_stores(**_: Any) -> None:
    stores.close()


@app.task
def amount_of(order_id: int) -> float | None:
    orders.wait_until_ready(timeout=60)  # at the first tasks of a process
    order = orders.get(order_id)
    return None if order is None else order.amount
