"""A TCP proxy between clients and a broker: it cuts, freezes, delays and throttles their connections.

::

    with KafkaBroker() as broker, Proxy(broker) as proxy:
        ...                              # clients, at proxy.bootstrap
        proxy.cut()                      # as if the broker were gone
        proxy.heal()

A client of Kafka asks the first broker that it reaches for the addresses of all, and goes on with those. So
a proxy works only where the broker itself tells clients the proxy's address: a :class:`.broker.KafkaBroker`
has a listener that does.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from statestore.runtime import fork
from statestore.testing.kafka.broker import KafkaBroker, free_ports

__all__ = ["Direction", "Proxy"]

Direction = Literal["requests", "responses", "both"]
"""``"requests"`` are the bytes from clients to the broker, ``"responses"`` those to clients."""

_CHUNK = 64 << 10
_CHUNKS = 16
"""Read of a connection and not yet passed on, each way; then its sender has to wait."""
_SHARE_SECONDS = 0.02
"""What passes at once of a throttled line takes this long at its rate."""
_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: closing a socket resets its connection."""

_Result = TypeVar("_Result")


class Proxy:
    """Passes on the connections of clients, until a test says otherwise; entered it listens, left it is gone.

    ``to`` is a ``KafkaBroker``, of which one proxy at a time can be made: its listener for proxies tells
    clients one address. Any other server is given by its address, ``"host:port"``: a schema registry,
    ksqlDB, or a Kafka broker that advertises ``127.0.0.1:PORT`` for the listener at that address; then give
    ``port=PORT``. Clients of a Kafka broker that advertises another address leave the proxy after their
    first request.

    Faults hold for all connections, for those to come, too, and for bytes that are on their way. They
    last until :meth:`heal`, and what was held back then passes. A fault of one ``direction`` leaves the other
    one as it is.

    Methods return when what they do is done. Any thread may call them, but no child made by ``os.fork()``.
    """

    def __init__(self, to: KafkaBroker | str, port: int | None = None) -> None:
        if isinstance(to, KafkaBroker):
            address, port = to.proxied, to.proxy_port
        else:
            address = str(to)
        host, _, number = address.rpartition(":")
        if not host or not number.isdecimal():
            raise ValueError(f"{to!r}: give the address of a server, such as '127.0.0.1:8081'")
        found = socket.getaddrinfo(host.strip("[]"), int(number), type=socket.SOCK_STREAM)[0]
        self._family: socket.AddressFamily = found[0]
        self._address: Any = found[4]
        self._port = port or free_ports(1)[0]
        self.bootstrap = f"127.0.0.1:{self._port}"
        """``host:port`` for clients: of Kafka in the place of the broker's ``bootstrap``."""
        self.connections = 0
        """How many connections of clients were accepted so far."""
        self.resets = 0
        """How many connections this proxy has broken so far, by any method."""
        self._lines = {"requests": _Line(), "responses": _Line()}
        self._serving: set[asyncio.Task[None]] = set()
        self._sockets: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def passed(self) -> Mapping[str, int]:
        """How many bytes have passed so far, by direction: ``proxy.passed["requests"]``."""
        return {direction: line.passed for direction, line in self._lines.items()}

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._serving)

    # What a test does to the network

    def cut(self) -> None:
        """Reset all connections, and refuse new ones, as a machine does whose server has ended."""
        self._call(self._cut())

    def reset(self) -> None:
        """Reset all connections; clients may connect again at once."""
        self._call(self._reset())

    def reset_after(self, count: int, direction: Direction = "both") -> None:
        """Reset the connection that carries the ``count``-th byte from now on, right after that byte.

        The receiver gets all bytes up to it, and then the end of the connection; the sender is reset.
        Other connections and those to come go on. It happens once; with ``"both"`` once in each direction.

        With ``count`` from 1 on it breaks a conversation at each of its bytes in turn; ``resets`` says
        whether there were so many.
        """
        if count < 1:
            raise ValueError(f"count={count}: bytes are counted from now on, the next one is 1")

        def change(line: _Line) -> None:
            line.breaks_at = line.passed + count

        self._change(direction, change)

    def freeze(self, direction: Direction = "both") -> None:
        """Let nothing pass, and have connections stay, as where packets are lost; new ones are accepted."""
        self._change(direction, lambda line: setattr(line, "is_frozen", True))

    def delay(self, seconds: float, direction: Direction = "both") -> None:
        """Have each byte arrive so much later; 0 ends it.

        A connection has at most 1 MiB on its way, as a line of that length and bandwidth has.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds={seconds}: give 0 or more, or use freeze()")
        self._change(direction, lambda line: setattr(line, "delay", seconds))

    def throttle(self, bytes_per_second: float, direction: Direction = "both") -> None:
        """Let so many bytes pass in a second, of all connections together; ``math.inf`` ends it."""
        if not bytes_per_second > 0:
            raise ValueError(f"bytes_per_second={bytes_per_second}: give more than 0, or use freeze()")
        self._change(direction, lambda line: setattr(line, "rate", bytes_per_second))

    def heal(self) -> None:
        """End all faults: what was held back passes, and clients may connect again."""
        self._change("both", _Line.heal)
        if self._listener is None:
            self._listen()
            self._call(self._accept())

    # As it runs

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError(f"the proxy at {self.bootstrap} is running already")
        self._loop = asyncio.SelectorEventLoop()
        try:
            self._listen()
            self._thread = threading.Thread(target=self._run, name="statestore-proxy", daemon=True)
            self._thread.start()
            self._call(self._accept())
        except BaseException:
            self.close()
            raise
        fork.register(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Reset all connections and end. Idempotent; a proxy that was closed can be entered again."""
        loop, thread = self._loop, self._thread
        if loop is None:
            return
        if thread is not None:
            self._call(self._cut())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
        self._loop = self._thread = None
        self._lines = {"requests": _Line(), "responses": _Line()}
        loop.close()

    def _run(self) -> None:
        assert self._loop is not None
        self._loop.run_forever()

    def _call(self, made: Coroutine[Any, Any, _Result]) -> _Result:
        if self._loop is None:
            made.close()
            raise RuntimeError(
                f"the proxy at {self.bootstrap} does not run in this process: enter it with 'with'"
            )
        return asyncio.run_coroutine_threadsafe(made, self._loop).result()

    def _change(self, direction: Direction, change: Callable[[_Line], None]) -> None:
        if direction not in ("both", *self._lines):
            raise ValueError(f"direction={direction!r}: give 'requests', 'responses' or 'both'")

        async def apply() -> None:
            for name, line in self._lines.items():
                if direction in (name, "both"):
                    change(line)
                    line.wake()

        self._call(apply())

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
            listener.listen()
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise OSError(
                error.errno,
                f"a proxy cannot listen at {self.bootstrap} ({error.strerror}): close what listens there, "
                "such as another proxy of the same broker",
            ) from error
        self._listener = listener
        self._sockets.add(listener)

    def _close(self, one: socket.socket, *, reset: bool = False) -> None:
        with suppress(OSError):
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.close()
        self._sockets.discard(one)

    def _forked(self) -> None:
        """Runs in a child made by ``os.fork()``, which has the sockets, but not the thread."""
        for one in self._sockets:
            one.close()
        self._loop = self._thread = None

    # In the thread

    async def _cut(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._close(self._listener)
            self._listener = None
        await self._reset()

    async def _reset(self) -> None:
        serving = [*self._serving]
        for one in serving:
            one.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _accept(self) -> None:
        assert self._listener is not None
        # Not sock_accept: where that is cancelled, a connection that it has just taken stays open.
        asyncio.get_running_loop().add_reader(self._listener, self._take, self._listener)

    def _take(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # the client has gone again
            return
        client.setblocking(False)
        self._sockets.add(client)
        self.connections += 1
        serving = asyncio.get_running_loop().create_task(self._serve(client))
        self._serving.add(serving)
        # Not in the task itself, of which no line runs where it is cancelled before it began.
        serving.add_done_callback(partial(self._ended, client))

    def _ended(self, client: socket.socket, serving: asyncio.Task[None]) -> None:
        self._serving.discard(serving)
        self.resets += serving.cancelled()
        self._close(client, reset=True)

    async def _serve(self, client: socket.socket) -> None:
        server = socket.socket(self._family)
        self._sockets.add(server)
        try:
            server.setblocking(False)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(server, self._address)
            await _run_all(
                *_line(self._lines["requests"], client, server),
                *_line(self._lines["responses"], server, client),
            )
            self._close(client)
            self._close(server)
        except _BrokenError as broken:
            self.resets += 1
            self._close(broken.source, reset=True)
            await _end(broken.target)
            self._close(broken.target)
        except OSError:
            pass  # one side has reset its connection, or there is no server: the other is reset as well
        finally:
            self._close(server, reset=True)


class _BrokenError(Exception):
    """A connection ends after what it has passed on."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target


class _Line:
    """What holds for the bytes of one direction, of all connections together. In the proxy's thread only."""

    def __init__(self) -> None:
        self.passed = 0
        self._changed = asyncio.Event()
        self.heal()

    def heal(self) -> None:
        self.is_frozen = False
        self.delay = 0.0
        self.rate = math.inf
        self.breaks_at = math.inf
        """Of ``passed``: the connection that gets there ends."""
        self._last = (-math.inf, 0)
        """When bytes passed last, and how many."""

    def wake(self) -> None:
        """Have those look again that wait for their turn."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def turn(self, arrived: float, wanted: int) -> int:
        """Wait until bytes that arrived then may pass; return how many of those wanted, which do so now."""
        while (left := self._opens(arrived) - monotonic()) > 0:
            changed = self._changed
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left == math.inf else left):
                    await changed.wait()
        count = int(min(wanted, self.breaks_at - self.passed, max(1, self.rate * _SHARE_SECONDS)))
        self._last = (monotonic(), count)
        self.passed += count
        return count

    def breaks(self) -> bool:
        """Whether the connection ends here that passed the last bytes; it is said once."""
        if self.passed < self.breaks_at:
            return False
        self.breaks_at = math.inf
        return True

    def _opens(self, arrived: float) -> float:
        at, count = self._last
        return math.inf if self.is_frozen else max(arrived + self.delay, at + count / self.rate)


_Chunks = asyncio.Queue[tuple[float, bytes]]
"""Bytes with the time at which they were read; none of them at the end of the connection."""


def _line(line: _Line, source: socket.socket, target: socket.socket) -> Iterator[Coroutine[Any, Any, None]]:
    chunks = _Chunks(_CHUNKS)
    yield _read(source, chunks)
    yield _write(line, chunks, source, target)


async def _read(source: socket.socket, chunks: _Chunks) -> None:
    data = b"more"
    while data:
        data = await asyncio.get_running_loop().sock_recv(source, _CHUNK)
        await chunks.put((monotonic(), data))


async def _write(line: _Line, chunks: _Chunks, source: socket.socket, target: socket.socket) -> None:
    while True:
        arrived, data = await chunks.get()
        if not data:
            await line.turn(arrived, 0)
            target.shutdown(socket.SHUT_WR)
            return
        rest = memoryview(data)
        while rest:
            count = await line.turn(arrived, len(rest))
            breaks = line.breaks()
            await asyncio.get_running_loop().sock_sendall(target, rest[:count])
            if breaks:
                raise _BrokenError(source, target)
            rest = rest[count:]


async def _end(target: socket.socket) -> None:
    """Let ``target`` have what it was sent: a reset, or bytes of its own left unread, could take it away."""
    target.shutdown(socket.SHUT_WR)
    while await asyncio.get_running_loop().sock_recv(target, _CHUNK):
        pass


async def _run_all(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all of ``parts``, and none of them any longer where one raises."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
