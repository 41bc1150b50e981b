"""A stand-in for a Schema Registry: an HTTP server on loopback that answers as the documented REST API does.

::

    with StandInRegistry() as registry:
        ...                              # any client, at registry.url

It knows Avro schemas only, keeps them in memory, and checks compatibility with Apache's own ``avro`` package.
It can be made to fail, to be slow, and to be away.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import unquote, urlsplit

import avro.compatibility
import avro.errors
import avro.schema

__all__ = ["StandInRegistry"]

LEVELS = (
    "NONE",
    *(f"{way}{reach}" for way in ("BACKWARD", "FORWARD", "FULL") for reach in ("", "_TRANSITIVE")),
)

# Below the ports that the system gives to outgoing connections, so that nothing takes it during an outage.
_PORTS = range(20_000, 32_000)
# No port comes twice: clients of one address share what they know of schemas, and those of an earlier
# registry may be alive. The first one is not drawn by ``random``, which Hypothesis seeds.
_numbers = itertools.count(random.SystemRandom().randrange(len(_PORTS)))


def _ports(count: int) -> Iterator[int]:
    return (_PORTS[next(_numbers) % len(_PORTS)] for _ in range(count))


class _Answer(NamedTuple):
    status: int
    body: Any


class _Refusal(Exception):  # noqa: N818 - an answer like any other
    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = _Answer(status, {"error_code": code, "message": message})


class StandInRegistry:
    """A registry of Avro schemas for tests. Any number of threads may use it."""

    def __init__(self, credentials: tuple[str, str] | None = None) -> None:
        self.credentials = credentials
        """User and password that a request must carry; ``None``: anyone may ask."""
        self.requests: list[str] = []
        """Every request that was made, as ``"GET /subjects"``."""
        self.delay = 0.0
        """Seconds to wait before each answer."""
        self._content = _Content()
        self._mutex = threading.Lock()
        self._stopped = threading.Event()
        self._failures: list[_Answer] = []
        self._connections: set[socket.socket] = set()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it is, while it is stopped too."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Answer, at the same address as before and with what was registered before."""
        self._stopped.clear()
        self._server = self._listening()
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Be away: refuse connections and cut those there are. Nothing to do if it is away already."""
        server, self._server = self._server, None
        if server is None:
            return
        self._stopped.set()
        server.shutdown()
        server.server_close()
        for connection in self._connections.copy():
            with contextlib.suppress(OSError):  # its client was faster
                connection.shutdown(socket.SHUT_RDWR)

    def fail(self, status: int, message: str = "made to fail", times: int = 1) -> None:
        """Answer the next ``times`` requests with an error."""
        with self._mutex:
            self._failures += [_Answer(status, {"error_code": status, "message": message})] * times

    def register(self, subject: str, schema: Any) -> int:
        """Register ``schema`` as another client would, but unchecked; return its id."""
        return self._content.add(subject, _spelt(schema))

    def versions(self, subject: str) -> list[Any]:
        """Return the schemas of ``subject``, oldest first."""
        return [json.loads(schema) for _, schema in self._content.versions(subject)]

    def level(self, subject: str | None = None) -> str | None:
        """Return the compatibility level of ``subject`` itself, or the global one."""
        return self._content.levels.get(subject)

    def _listening(self) -> ThreadingHTTPServer:
        class Handler(_Handler):
            answer = staticmethod(self._answer)
            connections = self._connections

        for port in [self._port] if self._port else _ports(100):
            with contextlib.suppress(OSError):
                server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
                server.daemon_threads = True
                return server
        raise RuntimeError(f"cannot listen at {self.url}" if self._port else "no free port among 100")

    def _answer(self, method: str, target: str, body: bytes, authorization: str | None) -> _Answer | None:
        """Return the answer to a request, ``None`` if there is to be none."""
        path = urlsplit(target).path
        with self._mutex:
            self.requests.append(f"{method} {path}")
            failure = self._failures.pop(0) if self._failures else None
        if self._stopped.wait(self.delay):
            return None
        if failure is not None:
            return failure
        wanted = base64.b64encode(":".join(self.credentials or ()).encode()).decode()
        if self.credentials is not None and authorization != f"Basic {wanted}":
            return _Answer(401, {"error_code": 401, "message": "Unauthorized"})
        return self._content.answer(method, path, json.loads(body) if body else {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer
    answer: Callable[[str, str, bytes, str | None], _Answer | None]
    connections: ClassVar[set[socket.socket]]

    def handle(self) -> None:
        self.connections.add(self.connection)
        with contextlib.suppress(OSError):  # the client is gone, or we are
            super().handle()
        self.connections.discard(self.connection)

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.answer(self.command, self.path, body, self.headers.get("Authorization"))
        if answer is None:
            self.close_connection = True
            return
        payload = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = respond  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class _Content:
    """What is registered, and the answers to questions about it."""

    def __init__(self) -> None:
        self.levels: dict[str | None, str] = {None: "BACKWARD"}
        self._mutex = threading.RLock()
        self._schemas: list[str] = []  # the one of id n at n - 1
        self._subjects: dict[str, list[int]] = {}  # ids; version n at n - 1

    def answer(self, method: str, path: str, sent: Any) -> _Answer:
        for wanted, pattern, respond in _ROUTES:
            if wanted == method and (found := pattern.fullmatch(path)):
                try:
                    with self._mutex:
                        return _Answer(200, respond(self, sent, *map(unquote, found.groups())))
                except _Refusal as refusal:
                    return refusal.answer
        return _Answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})

    def add(self, subject: str, schema: str) -> int:
        with self._mutex:
            if schema not in self._schemas:
                self._schemas.append(schema)
            number = self._schemas.index(schema) + 1
            versions = self._subjects.setdefault(subject, [])
            if number not in versions:
                versions.append(number)
            return number

    def versions(self, subject: str) -> list[tuple[int, str]]:
        with self._mutex:
            return [(number, self._schemas[number - 1]) for number in self._subjects.get(subject, [])]

    def get_subjects(self, _: Any) -> list[str]:
        return sorted(self._subjects)

    def post_version(self, sent: Any, subject: str) -> dict[str, Any]:
        schema = _canonical(sent.get("schema", ""))
        known = [text for _, text in self.versions(subject)]
        faults = [] if schema in known else self._incompatibilities(subject, schema, known)
        if faults:
            raise _Refusal(
                409,
                409,
                f'Schema being registered is incompatible with an earlier schema for subject "{subject}", '
                f"details: [{'; '.join(faults)}]",
            )
        return {"id": self.add(subject, schema)}

    def post_schema(self, sent: Any, subject: str) -> dict[str, Any]:
        schema = _canonical(sent.get("schema", ""))
        self._must_know(subject)
        for version, (number, text) in enumerate(self.versions(subject), 1):
            if text == schema:
                return {"subject": subject, "id": number, "version": version, "schema": text}
        raise _Refusal(404, 40403, "Schema not found")

    def get_versions(self, _: Any, subject: str) -> list[int]:
        self._must_know(subject)
        return [version for version, _ in enumerate(self.versions(subject), 1)]

    def get_version(self, _: Any, subject: str, version: str) -> dict[str, Any]:
        found = self._version(subject, version)
        number, schema = self.versions(subject)[found - 1]
        return {"subject": subject, "id": number, "version": found, "schema": schema}

    def get_id(self, _: Any, number: str) -> dict[str, Any]:
        if not 1 <= int(number) <= len(self._schemas):
            raise _Refusal(404, 40403, f"Schema {number} not found")
        return {"schema": self._schemas[int(number) - 1]}

    def post_compatibility(self, sent: Any, subject: str, version: str | None = None) -> dict[str, Any]:
        schema = _canonical(sent.get("schema", ""))
        known = [text for _, text in self.versions(subject)]
        if version is not None:
            known = [known[self._version(subject, version) - 1]]
        faults = self._incompatibilities(subject, schema, known)
        return {"is_compatible": not faults, "messages": faults}

    def get_level(self, _: Any, subject: str | None = None) -> dict[str, str]:
        if subject not in self.levels:
            raise _Refusal(
                404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured"
            )
        return {"compatibilityLevel": self.levels[subject]}

    def put_level(self, sent: Any, subject: str | None = None) -> dict[str, str]:
        level = sent.get("compatibility")
        if level not in LEVELS:
            raise _Refusal(422, 42203, f"Invalid compatibility level. Valid values are {', '.join(LEVELS)}")
        self.levels[subject] = level
        return {"compatibility": level}

    def _must_know(self, subject: str) -> None:
        if subject not in self._subjects:
            raise _Refusal(404, 40401, f"Subject '{subject}' not found.")

    def _version(self, subject: str, version: str) -> int:
        self._must_know(subject)
        newest = len(self._subjects[subject])
        if version == "latest":
            return newest
        if not version.isdecimal() or int(version) == 0:
            raise _Refusal(
                422,
                42202,
                f"The specified version '{version}' is not a valid version id. Allowed values are between "
                '[1, 2^31-1] and the string "latest"',
            )
        if int(version) > newest:
            raise _Refusal(404, 40402, f"Version {version} not found.")
        return int(version)

    def _incompatibilities(self, subject: str, schema: str, known: list[str]) -> list[str]:
        """Say what of ``schema`` does not go with those that are ``known``, at the subject's level."""
        level = self.levels.get(subject, self.levels[None])
        way, _, transitive = level.partition("_")
        found: list[str] = []
        for old in known if transitive else known[-1:]:
            if way in ("BACKWARD", "FULL"):
                found += _unreadable(schema, old)
            if way in ("FORWARD", "FULL"):
                found += _unreadable(old, schema)
        return found


_ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = [
    (method, re.compile(pattern), respond)
    for method, pattern, respond in (
        ("GET", "/subjects", _Content.get_subjects),
        ("POST", "/subjects/([^/]+)/versions", _Content.post_version),
        ("POST", "/subjects/([^/]+)", _Content.post_schema),
        ("GET", "/subjects/([^/]+)/versions", _Content.get_versions),
        ("GET", "/subjects/([^/]+)/versions/([^/]+)", _Content.get_version),
        ("GET", r"/schemas/ids/(\d+)", _Content.get_id),
        ("POST", "/compatibility/subjects/([^/]+)/versions", _Content.post_compatibility),
        ("POST", "/compatibility/subjects/([^/]+)/versions/([^/]+)", _Content.post_compatibility),
        ("GET", "/config", _Content.get_level),
        ("PUT", "/config", _Content.put_level),
        ("GET", "/config/([^/]+)", _Content.get_level),
        ("PUT", "/config/([^/]+)", _Content.put_level),
    )
]


def _canonical(schema: str) -> str:
    """Return ``schema`` in one spelling, so that equal ones are one."""
    try:
        avro.schema.parse(schema)
    except avro.errors.AvroException as error:
        raise _Refusal(422, 42201, f"Invalid schema {schema}, details: {error}") from None
    return _spelt(json.loads(schema))


def _spelt(schema: Any) -> str:
    if isinstance(schema, dict) and set(schema) == {"type"}:
        schema = schema["type"]
    return json.dumps(schema, separators=(",", ":"), sort_keys=True)


def _unreadable(reader: str, writer: str) -> Iterator[str]:
    """Say why ``reader`` cannot read what ``writer`` wrote; nothing if it can."""
    check: Any = avro.compatibility.ReaderWriterCompatibilityChecker
    result = check().get_compatibility(avro.schema.parse(reader), avro.schema.parse(writer))
    if result.compatibility is not avro.compatibility.SchemaCompatibilityType.compatible:
        kinds = ", ".join(sorted({kind.name.upper() for kind in result.incompatibilities}))
        yield f"{kinds}: {', '.join(sorted(result.messages))} at {', '.join(sorted(result.locations))}"
