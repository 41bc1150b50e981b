"""Orders over HTTP, by Flask: ``gunicorn flask_app:app --config gunicorn.conf.py``.

gunicorn loads this module in each worker, after the fork (``preload_app`` stays off), so that each opens a
manager of its own. The first owns the directory; the others read its files.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from flask import Flask, abort
from flask.typing import ResponseReturnValue
from orders import KAFKA, STALE, STATE, Order

from statestore import StoreManager, StoreNotReadyError

stores = StoreManager(STATE, kafka=KAFKA, backend="lmdb", role="auto")
orders = stores.bind(Order, max_staleness=STALE)
app = Flask(__name__)


@app.errorhandler(StoreNotReadyError)
def not_ready(error: StoreNotReadyError) -> ResponseReturnValue:
    return {"detail": str(error)}, 503, {"Retry-After": "1"}


@app.get("/orders/<int:order_id>")
def one(order_id: int) -> dict[str, Any]:
    order = orders.get(order_id)
    if order is None:
        abort(404, f"there is no order {order_id}")
    return asdict(order)


@app.get("/healthz")
def healthz() -> ResponseReturnValue:
    return {"worker": os.getpid()}, 500 if stores.state == "FAILED" else 200


@app.get("/readyz")
def readyz() -> ResponseReturnValue:
    return {"worker": os.getpid(), "health": str(orders.health())}, 200 if orders.is_ready else 503
