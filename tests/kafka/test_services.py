"""The examples of services, run as their page says, on a real broker: they answer, and end by SIGTERM."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from statestore import StoreManager
from statestore.testing.kafka import EXTERNAL_VARIABLE, Broker

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "examples" / "services"
Eventually = Callable[..., None]


class Service:
    """Runs one example in processes of their own, with the topic ``orders`` and a data directory."""

    def __init__(self, broker: Broker, home: Path) -> None:
        self.home, self.state = home, home / "state"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        path = os.pathsep.join((str(ROOT), str(SERVICES)))
        self.environment = os.environ | {
            "KAFKA": broker.bootstrap,
            "STATE": str(self.state),
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, **environment: str) -> None:
        with (self.home / "output").open("wb") as output:
            self._running = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.home,
                env=self.environment | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return (self.home / "output").read_text()

    def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """Return status and body of a request by a connection of its own; status 0: nobody answers."""
        assert self._running is not None
        assert self._running.poll() is None, self.output
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, None

    def end(self) -> int:
        """Send SIGTERM; return the exit status.

        It takes a second or two, and some more on a busy machine. Whoever waits for something that does not
        come, a request or the broker, does so for 30 s.
        """
        assert self._running is not None
        began = time.monotonic()
        self._running.terminate()
        status = self._running.wait(60)
        assert time.monotonic() - began < 25, self.output
        return status

    def kill(self) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()


@pytest.fixture
def service(broker: Broker, tmp_path: Path) -> Iterator[Service]:
    """A service to come, with three orders in the topic."""
    if broker.has_topic("orders"):
        broker.delete_topic("orders")
    broker.create_topic("orders")
    sys.path.insert(0, str(SERVICES))
    try:
        from orders import Order
    finally:
        sys.path.remove(str(SERVICES))
    with StoreManager(tmp_path / "writer", kafka=broker.bootstrap, backend="memory") as stores:
        stores.add_all([Order(1, "ada", 10.0), Order(2, "alan", 2000.0), Order(3, "ada", 2.5)])
    made = Service(broker, tmp_path)
    yield made
    made.kill()


@contextlib.contextmanager
def load(service: Service, path: str) -> Iterator[None]:
    """Four clients that ask for ``path`` again and again, also while the service ends and afterwards."""
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}", timeout=30).read()

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        done.set()
        for client in clients:
            client.join()


def workers_of(service: Service, eventually: Eventually, count: int) -> None:
    """Wait until so many workers were met, each of them ready."""
    met: set[int] = set()

    def all_ready() -> bool:
        status, body = service.get("/readyz")
        if status == 200:
            met.add(body["worker"])
        return len(met) >= count

    eventually(all_ready)


def assert_closed(directory: Path, eventually: Eventually) -> None:
    """Assert that the last owner closed the data directory; one that was killed would only have ended."""
    with StoreManager(directory, role="reader") as stores:
        eventually(lambda: "has closed the directory" in str(stores.health().owner))


def test_fastapi_answers_from_two_workers(service: Service, eventually: Eventually) -> None:
    service.start("-m", "uvicorn", "fastapi_app:app", "--workers", "2", "--port", str(service.port))
    workers_of(service, eventually, 2)
    assert service.get("/orders/1") == (200, {"order_id": 1, "customer": "ada", "amount": 10.0})
    assert service.get("/orders/9")[0] == 404
    assert [one["order_id"] for one in service.get("/orders?customer=ada")[1]] == [1, 3]
    assert service.get("/orders/9?customer=grace&amount=1", method="PUT")[0] == 200
    eventually(lambda: [service.get("/orders/9")[0] for _ in range(8)] == [200] * 8)
    assert service.get("/healthz")[0] == 200
    with load(service, "/orders?customer=ada"):
        service.end()
    assert service.output.count("Application shutdown complete") == 2, service.output  # none was killed
    assert_closed(service.state, eventually)


def test_flask_answers_from_two_workers_of_gunicorn(service: Service, eventually: Eventually) -> None:
    config = str(SERVICES / "gunicorn.conf.py")
    service.start(
        "-m", "gunicorn", "flask_app:app", "--config", config, "--bind", f"127.0.0.1:{service.port}"
    )
    workers_of(service, eventually, 2)
    assert service.get("/orders/1") == (200, {"order_id": 1, "customer": "ada", "amount": 10.0})
    assert service.get("/orders/9")[0] == 404
    with load(service, "/orders/1"):
        assert service.end() == 0, service.output
    assert "SIGKILL" not in service.output
    assert_closed(service.state, eventually)


def test_celery_answers_from_forked_processes(service: Service, eventually: Eventually) -> None:
    for folder in ("queue", "results", "queue-control"):
        (service.home / folder).mkdir()
    service.environment |= {
        "BROKER": "filesystem://",
        "RESULTS": f"file://{service.home / 'results'}",
        "CELERY_QUEUE": str(service.home / "queue"),
    }
    service.start("-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2")
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "from celery_app import amount_of\n"
            "print([amount_of.delay(one).get(timeout=60) for one in (1, 2, 9)])\n"
            "for _ in range(50): amount_of.delay(1)",
        ],
        cwd=service.home,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert asked.stdout == "[10.0, 2000.0, None]\n", asked.stderr + service.output
    assert service.end() == 0, service.output
    assert_closed(service.state, eventually)


def test_a_worker_on_asyncio_ends_by_sigterm(service: Service, eventually: Eventually) -> None:
    service.start(str(SERVICES / "asyncio_worker.py"))
    eventually(lambda: "1 large orders" in service.output)
    assert service.end() == 0, service.output
    assert service.output.endswith("closed\n")
    assert_closed(service.state, eventually)
    # While it waits for a broker that is away, too.
    service.start(str(SERVICES / "asyncio_worker.py"), KAFKA="127.0.0.1:1", STATE=str(service.home / "other"))
    eventually(lambda: (service.home / "other" / "LOCK").exists())
    assert service.end() == 0, service.output
    assert service.output.endswith("closed\n")


def test_the_cells_of_the_notebook_run_twice(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(SERVICES / "orders.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [*cells[:-1], *cells]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(service.home))
    shown = [cell.outputs[0]["data"] for cell in notebook.cells if cell.outputs]
    assert "READY" in shown[0]["text/html"]
    assert (
        " ".join(shown[1]["text/plain"].split())
        == "[Row(customer='ada', total=12.5, orders=2), Row(customer='alan', total=2000.0, orders=1)]"
    )
    StoreManager(service.state).close()  # nobody owns it any more


def test_the_fixtures_of_the_test_example_work(service: Service) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SERVICES / "test_orders.py")],
        cwd=service.home,
        env=service.environment | {EXTERNAL_VARIABLE: service.environment["KAFKA"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
