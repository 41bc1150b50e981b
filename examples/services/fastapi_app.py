"""Orders over HTTP, by FastAPI, with as many workers as wanted: ``uvicorn fastapi_app:app --workers 2``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from orders import KAFKA, STALE, STATE, Order

from statestore import F, StoreNotReadyError
from statestore.aio import AsyncStoreManager, AsyncTable


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncStoreManager(STATE, kafka=KAFKA, backend="lmdb", role="auto") as stores:
        app.state.stores = stores
        app.state.orders = await stores.bind(Order, max_staleness=STALE)
        yield


app = FastAPI(lifespan=lifespan)


def orders_of(request: Request) -> AsyncTable[Order]:
    table: AsyncTable[Order] = request.app.state.orders
    return table


@app.exception_handler(StoreNotReadyError)
async def not_ready(_: Request, error: StoreNotReadyError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})


@app.get("/orders/{order_id}")
async def one(order_id: int, request: Request) -> dict[str, Any]:
    order = await orders_of(request).get(order_id)
    if order is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return asdict(order)


@app.get("/orders")
async def of_customer(customer: str, request: Request, limit: int = 100) -> list[dict[str, Any]]:
    found = orders_of(request).where(F.customer == customer).take(limit)
    return [asdict(order) for order in await found.to_list()]


@app.put("/orders/{order_id}")
async def put(order_id: int, customer: str, amount: float, request: Request) -> dict[str, Any]:
    """Write to Kafka, and answer when the order can be read in this worker."""
    delivery = await orders_of(request).add(Order(order_id, customer, amount), wait=True)
    return {"partition": delivery.partition, "offset": delivery.offset}


@app.get("/healthz")
async def healthz(request: Request) -> JSONResponse:
    """Whether this process should live: a table that failed needs a person or a restart."""
    failed = request.app.state.stores.state == "FAILED"
    return JSONResponse({"worker": os.getpid()}, 500 if failed else 200)


@app.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Whether this worker should get requests now."""
    table = orders_of(request)
    return JSONResponse(
        {"worker": os.getpid(), "health": str(await table.health())}, 200 if table.is_ready else 503
    )
