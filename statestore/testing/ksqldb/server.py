"""A stand-in for ksqlDB: an HTTP server on loopback that answers as the documented API does.

::

    with StandInKsqldb() as server:
        server.catalog.learn(statements)     # the columns of what queries make
        ...                                  # any client, at server.url

It keeps streams, tables and queries by name and runs none of them. It can be made to fail, to be slow and to
break connections, before a request is carried out and after it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import unquote

from statestore.testing.ksqldb.catalog import Catalog, RefusedError, split

__all__ = ["StandInKsqldb"]

Fault = Literal["500", "500 after", "lost", "lost after", "silent", "silent after"]
"""What becomes of a request: an error of the server, a broken connection, no answer; ``after``: the request
is carried out all the same."""


class StandInKsqldb:
    """A ksqlDB server for tests. Any number of threads may use it."""

    def __init__(
        self,
        credentials: tuple[str, str] | None = None,
        *,
        version: str = "0.29.0",
        certificate: str | None = None,
    ) -> None:
        self.catalog = Catalog(properties={"ksql.suppress.enabled": "true"})
        self.credentials = credentials
        """User and password that a request must carry; ``None``: anyone may ask."""
        self.version = version
        self.faults: dict[int, Fault] = {}
        """What becomes of a request, by its number; the first one has number 1."""
        self.requests: list[str] = []
        """Every request: ``"POST /ksql LIST STREAMS;"``."""
        self.pending = 0
        """How often a statement's status is QUEUED and EXECUTING before it is SUCCESS."""
        self.refused: dict[str, str] = {}
        """Messages of statements that fail when they are carried out, by a text that is in them."""
        self.before: dict[int, Callable[[], object]] = {}
        """What is called before a request is carried out, by its number: once."""
        self.bodies: list[dict[str, Any]] = []
        """The body of each request to ``/ksql``."""
        self.warnings: list[str] = []
        """What the answer about each statement warns of."""
        self.is_healthy = True
        self.rows: list[Any] = []
        """What ``/query-stream`` answers: the header, and the rows."""
        self._certificate = certificate
        self._mutex = threading.Lock()
        self._stopped = threading.Event()
        self._statuses: dict[str, list[dict[str, str]]] = {}
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"ksqldb": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def forget(self) -> None:
        """Be as when it was made, but for the schemas."""
        schemas, properties = self.catalog.schemas, self.catalog.properties
        self.catalog = Catalog(schemas=schemas, properties=properties)
        self.faults, self.requests, self.before, self.refused = {}, [], {}, {}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any] | None:
        """Return status and body of an answer; ``None``: the connection is to be broken."""
        with self._mutex:
            self.requests.append(f"{method} {path} {(body or {}).get('ksql', '')}".rstrip())
            before = self.before.pop(len(self.requests), None)
            fault = self.faults.get(len(self.requests))
            if path == "/ksql":
                self.bodies.append(body)
        if before is not None:
            before()
        with self._mutex:
            answer = (200, {}) if fault is not None and "after" not in fault else self._answer(path, body)
        if fault is None:
            return answer
        if fault.startswith("500"):
            return 500, {"@type": "generic_error", "error_code": 50000, "message": "the server is not well"}
        if fault.startswith("silent"):
            self._stopped.wait(60)
        return None

    def _answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/info":
            info = {"version": self.version, "kafkaClusterId": "kafka-1", "ksqlServiceId": "default_"}
            return 200, {"KsqlServerInfo": info}
        if path == "/healthcheck":
            return 200 if self.is_healthy else 503, {"isHealthy": self.is_healthy, "details": {}}
        if path.startswith("/status/"):
            states = self._statuses[unquote(path.removeprefix("/status/"))]
            return 200, states.pop(0) if len(states) > 1 else states[0]
        if path == "/query-stream":
            return 200, self.rows
        return self._run(body["ksql"])

    def _run(self, text: str) -> tuple[int, Any]:
        answers: list[dict[str, Any]] = []
        for statement in split(text):
            try:
                answers.append(self._carried_out(statement))
            except RefusedError as error:
                return error.status, {
                    "@type": "statement_error",
                    "error_code": error.code,
                    "message": str(error),
                    "statementText": statement,
                    "entities": answers,
                }
        return 200, answers

    def _carried_out(self, statement: str) -> dict[str, Any]:
        message = next((told for part, told in self.refused.items() if part in statement), None)
        if message is not None:
            ended = {"status": "ERROR", "message": message}
            number = len(self._statuses)
            answer: dict[str, Any] = {
                "commandId": f"stream/`failed {number}`/create",
                "commandSequenceNumber": -1,
            }
        else:
            answer = self.catalog.run(statement)
            ended = answer.get("commandStatus", {})
        if not ended:
            return answer
        if self.pending or message is not None:
            waits = [{"status": "EXECUTING", "message": "Executing statement"}] * max(0, self.pending - 1)
            self._statuses[answer["commandId"]] = [*waits, ended]
            ended = {"status": "QUEUED", "message": "Statement written to command topic"}
        warnings = [{"message": one} for one in self.warnings]
        return {**answer, "statementText": statement, "commandStatus": ended, "warnings": warnings}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the system would hold the second back
    ksqldb: ClassVar[StandInKsqldb]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of http.server
        pass

    def do_GET(self) -> None:
        self._respond("GET", None)

    def do_POST(self) -> None:
        self._respond("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _respond(self, method: str, body: Any) -> None:
        if not self._may_ask():
            answer: tuple[int, Any] | None = (401, {"error_code": 40100, "message": "Unauthorized"})
        else:
            answer = self.ksqldb.answer(method, self.path, body)
        if answer is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, content = answer
        if self.path == "/query-stream" and status == 200:
            text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in content)
        else:
            text = json.dumps(content)
        with contextlib.suppress(OSError):  # the client may be gone
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.ksql.v1+json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    def _may_ask(self) -> bool:
        if self.ksqldb.credentials is None:
            return True
        token = base64.b64encode(":".join(self.ksqldb.credentials).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {token}"
