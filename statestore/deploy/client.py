"""A client of ksqlDB's HTTP API: ``/ksql``, ``/status``, ``/query-stream``, ``/info`` and ``/healthcheck``.

httpx2 is imported when a client is made: who deploys nothing does not need it.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlsplit

from statestore.deploy.answers import (
    PENDING,
    CommandAnswer,
    Description,
    ServerInfo,
    ServerSource,
    command_answer,
    command_status,
    descriptions,
    server_info,
    server_properties,
    server_sources,
)
from statestore.errors import ConfigError, KsqlServerError
from statestore.ksql.lexis import quoted
from statestore.runtime.text import bounded_repr
from statestore.settings import KsqlSettings

if TYPE_CHECKING:
    from httpx2 import Client, Response

log = logging.getLogger("statestore.ksql")
T = TypeVar("T")

TIMEOUT = 30.0
RETRIES = 5
BACKOFF = 0.5

_MEDIA_TYPE = "application/vnd.ksql.v1+json"
_ROWS = "application/vnd.ksqlapi.delimited.v1"
_POLL = 0.2
"""Seconds between two questions for the status of a statement."""


class LostAnswerError(KsqlServerError):
    """No answer came, or one of a server that is not well: whether the statement was carried out is not
    known."""

    may_retry = False
    """Whether another try is worth it: after a time-out and a status of 5xx."""


class KsqlClient:
    """Speaks to one ksqlDB server. Used by one thread at a time; ``close`` it, or use it in ``with``.

    ``timeout`` is the longest wait for the next part of an answer, in seconds. After a time-out or a status
    of 5xx there are ``retries`` further tries, the first ``backoff`` seconds later and each wait twice the
    last. ``ca`` is a file of certificates that the server's is checked with, instead of the system's. Every
    method raises ``KsqlServerError`` where the server refuses or does not answer.
    """

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        *,
        ca: str | None = None,
        verify: bool = True,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        backoff: float = BACKOFF,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = _checked_url(url)
        self.timeout = timeout
        self._retries = retries
        self._backoff = backoff
        self._wait = wait
        self._sequence = -1
        """The number of the last statement: the next one is carried out after it."""
        try:
            import httpx2
        except ImportError as error:
            raise ConfigError(
                f"deploying to ksqlDB needs {error.name or 'httpx2'}: install 'statestore[ksql]'"
            ) from error
        self._errors = httpx2
        auth = None if username is None else httpx2.BasicAuth(username, password or "")
        if auth is not None and self.url.startswith("http:") and not _is_loopback(self.url):
            log.warning("%s: username and password go over the network unencrypted: use https", self.url)
        self._client: Client = httpx2.Client(
            base_url=self.url,
            auth=auth,
            verify=_trust(self.url, ca, verify),
            timeout=timeout,
            headers={"Accept": _MEDIA_TYPE},
        )

    @classmethod
    def of(cls, settings: KsqlSettings) -> Self:
        """Return a client of the server in ``[ksql]``; raises ``ConfigError`` where none is set."""
        if settings.url is None:
            raise ConfigError(
                "no ksqlDB server is set: give url of [ksql] in the settings file, or "
                "STATESTORE_KSQL__URL=http://localhost:8088"
            )
        return cls(
            settings.url,
            settings.username,
            None if settings.password is None else settings.password.get_secret_value(),
            ca=settings.ca,
            timeout=settings.timeout,
            retries=settings.retries,
            backoff=settings.retry_wait,
        )

    def __repr__(self) -> str:
        return f"KsqlClient({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._client.close()

    # Questions

    def info(self) -> ServerInfo:
        """Ask which server this is."""
        return self._read(server_info, self._asked("GET", "/info"))

    def is_healthy(self) -> bool:
        """Ask whether the server and what it needs are well."""
        try:
            answer = self._asked("GET", "/healthcheck")
            return bool(self._read(lambda given: given.get("isHealthy"), answer))
        except KsqlServerError as error:
            if isinstance(error, LostAnswerError) and error.code is None:
                raise
            return False

    def properties(self) -> dict[str, str | None]:
        """Ask for the server's properties."""
        asked = "LIST PROPERTIES;"
        return self._read(lambda given: dict(server_properties(given)), self._asked_ksql(asked), asked)

    def sources(self) -> dict[str, ServerSource]:
        """Ask for all streams and tables, by name."""
        asked = "LIST STREAMS; LIST TABLES;"
        listed = self._read(lambda given: list(server_sources(given)), self._asked_ksql(asked), asked)
        return {one.name: one for one in listed}

    def describe(self, name: str) -> Description | None:
        """Ask for a stream or table; ``None``: there is none of this name."""
        if name not in self.sources():
            return None
        asked = f"DESCRIBE {quoted(name)};"
        return self._read(descriptions, self._asked_ksql(asked), asked)

    def query(self, sql: str, properties: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Run a SELECT, and iterate over its rows, each as values by column, as they arrive.

        A push query has no end but its LIMIT: close the iterator, which ends it on the server, too.
        """
        import httpx2

        body = {"sql": sql, "properties": dict(properties or {})}
        # A push query may have no row for any length of time.
        timeout = httpx2.Timeout(self.timeout, read=None)
        try:
            with self._client.stream(
                "POST", "/query-stream", json=body, headers={"Accept": _ROWS}, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise self._refusal(answer, sql)
                yield from self._rows(_lines(answer.iter_bytes()), sql)
        except httpx2.TransportError as error:
            raise KsqlServerError(self.url, _told(error, self.timeout), statement=sql) from error

    def _rows(self, lines: Iterator[bytes], sql: str) -> Iterator[dict[str, Any]]:
        columns: list[str] = []
        for line in lines:
            if not line.strip():
                continue
            found = self._read(json.loads, line, sql)
            if isinstance(found, list):
                yield self._read(partial(_row, columns), found, sql)
            elif not isinstance(found, dict):
                self._read(dict, found, sql)
            elif "columnNames" in found:
                columns = found["columnNames"]
            elif "error_code" in found or found.get("status") == "error":
                raise KsqlServerError(
                    self.url, str(found.get("message", "")), code=found.get("error_code"), statement=sql
                )

    # Statements

    def execute(
        self,
        statement: str,
        is_done: Callable[[], bool],
        *,
        properties: Mapping[str, str] | None = None,
        may_send_again: bool = True,
    ) -> CommandAnswer | None:
        """Have the server carry out one statement, and return what became of it.

        After a lost answer ``is_done`` is asked whether the server has carried it out all the same; ``None``
        is returned then. Only if not, and after a time-out or a status of 5xx, it is sent again. With
        ``may_send_again=False`` not after a time-out, since the server may still be about to carry it out.
        """
        body = self._body(statement, properties or {})
        was_lost = False
        for wait in (*self._waits(), None):
            try:
                return self._settled(self._once("POST", "/ksql", body, statement), statement)
            except LostAnswerError as lost:
                log.warning("%s: the answer was lost, looking for what became of the statement", lost)
                if is_done():
                    return None
                timed_out = lost.code is None or lost.code in _GATEWAY
                if wait is None or not lost.may_retry or (timed_out and not may_send_again):
                    raise
                was_lost = True
                self._wait(wait)
            except KsqlServerError:
                if was_lost and is_done():  # it was carried out after we had looked
                    return None
                raise
        raise AssertionError  # the last turn returns or raises

    def _settled(self, answers: Any, statement: str) -> CommandAnswer:
        """Return the answer about a statement when the server has carried it out."""
        if not isinstance(answers, list) or not answers:  # some versions answer nothing to IF NOT EXISTS
            return CommandAnswer("", "")
        answer = self._read(command_answer, answers[-1], statement)
        for warning in answer.warnings:
            log.warning("ksqlDB at %s: %s", self.url, warning)
        self._sequence = max(self._sequence, answer.sequence)
        status, message = answer.status, answer.message
        deadline = time.monotonic() + self.timeout
        while status in PENDING:
            if time.monotonic() > deadline:
                raise LostAnswerError(
                    self.url, f"the statement is still {status} after {self.timeout:g} s", statement=statement
                )
            self._wait(_POLL)
            try:
                found = self._asked("GET", f"/status/{quote(answer.command, safe='/')}")
            except LostAnswerError as lost:
                lost.may_retry = False  # the server has the statement: it is not to be sent again
                raise
            status, message = self._read(command_status, found, statement)
        if status in ("ERROR", "TERMINATED"):
            raise KsqlServerError(
                self.url, message or f"the statement ended as {status}", statement=statement
            )
        return replace(answer, status=status, message=message)

    # One request

    def _asked_ksql(self, statement: str) -> list[Mapping[str, Any]]:
        found = self._asked("POST", "/ksql", self._body(statement, {}), statement)
        return found if isinstance(found, list) else []

    def _body(self, statement: str, properties: Mapping[str, str]) -> dict[str, Any]:
        """Return a request to be carried out after what was sent before, on whichever server of a cluster."""
        body: dict[str, Any] = {"ksql": statement, "streamsProperties": dict(properties)}
        if self._sequence >= 0:
            body["commandSequenceNumber"] = self._sequence
        return body

    def _asked(self, method: str, path: str, body: Any = None, statement: str = "") -> Any:
        """Ask what changes nothing, again after a time-out and a status of 5xx."""
        for wait in (*self._waits(), None):
            try:
                return self._once(method, path, body, statement)
            except LostAnswerError as lost:
                if wait is None or not lost.may_retry:
                    raise
                log.info("%s: asking again in %g s", lost, wait)
                self._wait(wait)
        raise AssertionError  # the last turn returns or raises

    def _waits(self) -> tuple[float, ...]:
        return tuple(self._backoff * 2**number for number in range(self._retries))

    def _once(self, method: str, path: str, body: Any, statement: str) -> Any:
        http = self._errors
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": _MEDIA_TYPE}
        try:
            answer = self._client.request(method, path, content=content, headers=headers)
        except (http.TransportError, http.DecodingError) as error:
            lost = LostAnswerError(self.url, _told(error, self.timeout), statement=statement)
            lost.may_retry = isinstance(error, http.TimeoutException)
            raise lost from error
        if answer.status_code != 200:
            raise self._refusal(answer, statement)
        try:
            return answer.json()
        except (ValueError, RecursionError) as error:
            raise KsqlServerError(
                self.url,
                f"{path} answers no JSON: is this the address of a ksqlDB server?",
                statement=statement,
            ) from error

    def _read(self, reader: Callable[[Any], T], answer: Any, statement: str = "") -> T:
        """Return what ``reader`` makes of an answer; raise for one of another form than ksqlDB's."""
        try:
            return reader(answer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise KsqlServerError(
                self.url,
                f"an answer is not of ksqlDB's form ({bounded_repr(answer)}): is this the address of a "
                "ksqlDB server?",
                statement=statement,
            ) from error

    def _refusal(self, answer: Response, statement: str) -> KsqlServerError:
        """Return the error of an answer with another status than 200."""
        status = answer.status_code
        try:
            found = answer.json()
        except (ValueError, RecursionError):
            found = {}
        found = found if isinstance(found, dict) else {}
        remedy = _elsewhere(answer) if 300 <= status < 400 else _REMEDIES.get(status, "")
        message = str(found.get("message") or f"HTTP status {status}") + remedy
        about = str(found.get("statementText") or statement)
        code = found.get("error_code", status)
        if status < 500:
            return KsqlServerError(self.url, message, code=code, statement=about)
        lost = LostAnswerError(self.url, message, code=code, statement=about)
        lost.may_retry = True
        return lost


_GATEWAY = (502, 504)
"""What a proxy answers that had no answer of the server itself, which may be at it still."""

_REMEDIES = {
    401: "; set username and password of [ksql]",
    403: "; the user of [ksql] lacks the right to do this",
    404: "; url of [ksql] has to be the address of a ksqlDB server",
    429: "; the server has too many requests at present: do it again later",
}


def _elsewhere(answer: Response) -> str:
    """Return the remedy for an answer that leads to another address, without the secrets that it may have."""
    where = "; it leads to another address"
    try:
        parts = urlsplit(answer.headers.get("location", ""))
        if parts.scheme and parts.hostname:
            port = f":{parts.port}" if parts.port else ""
            where = f"; it leads to {parts.scheme}://{parts.hostname}{port}"
    except ValueError:  # a port that is none
        pass
    return f"{where}: give that of the ksqlDB server itself as url of [ksql]"


def _row(columns: list[str], values: list[Any]) -> dict[str, Any]:
    return dict(zip(columns, values, strict=True))


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Iterate over the lines of an answer; a text in it may have separators of lines that are no new line."""
    left = b""
    for chunk in chunks:
        *lines, left = (left + chunk).split(b"\n")
        yield from lines
    yield left


def _told(error: Exception, timeout: float) -> str:
    """Return what a failure of the connection says."""
    name = type(error).__name__
    if "Timeout" in name:
        return f"no answer within {timeout:g} s (timeout of [ksql])"
    text = str(error) or name
    if "certificate" in text.lower():
        text += "; name the file of the server's authority as ca of [ksql]"
    return f"the connection failed: {text}"


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")  # raises for a name that no server can have
        wrong = parts.scheme not in ("http", "https") or not host or parts.port == 0
        wrong |= bool(parts.query or parts.fragment) or not url.isprintable() or " " in url
    except ValueError:
        wrong = True
        parts = urlsplit("")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("url of [ksql] appears in logs: set username and password as settings of their own")
    if wrong:
        raise ConfigError("url of [ksql]: give the address of the server, such as http://localhost:8088")
    return url.rstrip("/")


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _trust(url: str, ca: str | None, verify: bool) -> ssl.SSLContext | bool:
    if not verify or url.startswith("http:"):  # which needs no list of authorities, and that takes a while
        return False
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # an SSLError is one
        raise ConfigError(
            f"ca of [ksql]: {ca} is no file of certificates that can be read: {error}"
        ) from error
