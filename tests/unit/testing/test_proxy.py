"""The proxy in front of a plain server: what each of its faults does to the bytes of a connection."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from statestore.testing.forking import outcomes_in_child
from statestore.testing.kafka import Proxy

Eventually = Callable[..., None]
Connect = Callable[[], socket.socket]

SHORT = 0.1  # before it is asserted that nothing has come
NEVER = 600.0


class Echo(ThreadingTCPServer):
    """A server that answers each connection with what it is sent, and keeps it."""

    def __init__(self) -> None:
        self.received: list[bytearray] = []
        self.ended = 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}"


class Handler(BaseRequestHandler):
    server: Any

    def handle(self) -> None:
        received = bytearray()
        self.server.received.append(received)
        with suppress(ConnectionError):
            while data := self.request.recv(65_536):
                received += data
                self.request.sendall(data)
        self.server.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.01])
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.address) as made:
        yield made


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Connect]:
    made: list[socket.socket] = []

    def connection() -> socket.socket:
        host, _, port = proxy.bootstrap.partition(":")
        made.append(socket.create_connection((host, int(port)), 60))
        return made[-1]

    yield connection
    for one in made:
        one.close()


def answer(client: socket.socket, count: int) -> bytes:
    """Return the next ``count`` bytes, fewer where the connection ends before."""
    got = b""
    while len(got) < count and (data := client.recv(count - len(got))):
        got += data
    return got


def nothing_comes(client: socket.socket) -> bool:
    client.settimeout(SHORT)
    try:
        client.recv(1)
    except TimeoutError:
        client.settimeout(60)
        return True
    return False


def test_bytes_pass_both_ways_and_the_end_of_each(
    proxy: Proxy, connect: Connect, eventually: Eventually
) -> None:
    data = os.urandom(3 << 20)
    client = connect()

    def send_all() -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send_all)
    sending.start()
    assert answer(client, len(data) + 1) == data, "and nothing after it"
    sending.join()
    assert proxy.passed == {"requests": len(data), "responses": len(data)}
    eventually(lambda: proxy.open == 0)
    assert (proxy.connections, proxy.resets) == (1, 0)


def test_cut_resets_what_is_open_and_refuses_what_comes(proxy: Proxy, connect: Connect) -> None:
    clients = [connect(), connect()]
    for client in clients:
        client.sendall(b"a")
        assert answer(client, 1) == b"a"
    proxy.cut()
    assert (proxy.open, proxy.resets) == (0, 2)
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            connect()
        proxy.cut()
    proxy.heal()
    proxy.heal()
    client = connect()
    client.sendall(b"b")
    assert answer(client, 1) == b"b"
    assert (proxy.connections, proxy.resets) == (3, 2)


def test_reset_lets_clients_connect_again(
    proxy: Proxy, connect: Connect, echo: Echo, eventually: Eventually
) -> None:
    client = connect()
    client.sendall(b"a")
    assert answer(client, 1) == b"a"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    eventually(lambda: echo.ended == 1)
    again = connect()
    again.sendall(b"b")
    assert answer(again, 1) == b"b"


def test_a_frozen_line_holds_back_and_passes_all_in_the_end(
    proxy: Proxy, connect: Connect, echo: Echo, eventually: Eventually
) -> None:
    client = connect()
    proxy.freeze("responses")
    client.sendall(b"abc")
    eventually(lambda: [bytes(one) for one in echo.received] == [b"abc"])
    assert nothing_comes(client)
    proxy.freeze()
    other = connect()
    other.sendall(b"new")
    client.sendall(b"def")
    assert nothing_comes(other)
    assert proxy.passed == {"requests": 3, "responses": 0}
    proxy.heal()
    assert answer(client, 6) == b"abcdef"
    assert answer(other, 3) == b"new"


def test_a_line_that_is_frozen_has_its_senders_wait(proxy: Proxy, connect: Connect) -> None:
    """So that neither the proxy nor the server keeps what a test goes on to write."""
    proxy.freeze()
    client = connect()
    client.settimeout(SHORT)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            sent += client.send(b"x" * 65_536)
            assert sent < 256 << 20, "nobody waits"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_delayed_bytes_come_later_and_in_order(proxy: Proxy, connect: Connect) -> None:
    client = connect()
    proxy.delay(0.05)
    began = time.monotonic()
    for number in range(100):
        client.sendall(b"%02d" % number)
    assert answer(client, 200) == b"".join(b"%02d" % number for number in range(100))
    assert time.monotonic() - began >= 2 * 0.05, "there and back"
    proxy.delay(NEVER, "responses")
    client.sendall(b"x")
    assert nothing_comes(client)
    proxy.delay(0)
    assert answer(client, 1) == b"x", "what is on its way goes by what holds now"


def test_a_throttled_line_lets_a_byte_pass_at_a_time(
    proxy: Proxy, connect: Connect, echo: Echo, eventually: Eventually
) -> None:
    one, other = connect(), connect()
    proxy.throttle(1 / NEVER, "requests")
    one.sendall(b"abc")
    eventually(lambda: proxy.passed["requests"])
    other.sendall(b"def")
    assert answer(one, 1) == b"a"
    assert nothing_comes(one)
    assert nothing_comes(other)
    assert proxy.passed["requests"] == 1, "of all connections together"
    proxy.throttle(math.inf)
    assert (answer(one, 2), answer(other, 3)) == (b"bc", b"def")
    proxy.throttle(100_000)
    began = time.monotonic()
    one.sendall(b"x" * 10_000)
    assert len(answer(one, 10_000)) == 10_000
    assert time.monotonic() - began >= 0.07


def test_a_conversation_breaks_at_each_of_its_bytes(
    proxy: Proxy, connect: Connect, echo: Echo, eventually: Eventually
) -> None:
    request = b"abcd"
    for count in range(1, len(request) + 1):
        proxy.reset_after(count, "requests")
        client = connect()
        client.sendall(request)
        eventually(lambda count=count: echo.ended == count)
        assert bytes(echo.received[-1]) == request[:count]
        with pytest.raises(ConnectionResetError):
            answer(client, 5)
    proxy.reset_after(len(request) + 1, "requests")
    client = connect()
    client.sendall(request)
    assert answer(client, 4) == request
    assert proxy.resets == 4


def test_the_receiver_gets_what_came_before_the_reset(
    proxy: Proxy, connect: Connect, echo: Echo, eventually: Eventually
) -> None:
    data = os.urandom(1 << 20)
    proxy.reset_after(777_777, "responses")
    client, other = connect(), connect()
    sending = threading.Thread(target=send, args=[client, data])
    sending.start()
    assert answer(client, len(data)) == data[:777_777]
    sending.join()
    eventually(lambda: echo.ended == 1)
    other.sendall(b"x")
    assert answer(other, 1) == b"x", "of all connections one"
    client.close()
    eventually(lambda: proxy.open == 1)
    assert proxy.resets == 1


def send(client: socket.socket, data: bytes) -> None:
    with suppress(ConnectionError):
        client.sendall(data)


def test_without_a_server_connections_are_reset(echo: Echo) -> None:
    gone = socket.create_server(("127.0.0.1", 0))
    address = f"localhost:{gone.getsockname()[1]}"
    gone.close()
    with Proxy(address) as proxy:
        host, _, port = proxy.bootstrap.partition(":")
        with pytest.raises(ConnectionResetError), socket.create_connection((host, int(port)), 60) as client:
            client.recv(1)
        assert proxy.resets == 0


def test_it_leaves_nothing_behind_and_can_be_entered_again(echo: Echo, eventually: Eventually) -> None:
    proxy = Proxy(echo.address)
    host, _, port = proxy.bootstrap.partition(":")
    before = len([*Path("/dev/fd").iterdir()])
    for _ in range(2):
        with proxy, socket.create_connection((host, int(port)), 60) as client:
            assert threading.active_count() > 1
            client.sendall(b"a")
            assert answer(client, 1) == b"a"
            proxy.freeze()
            with pytest.raises(RuntimeError, match="is running already"):
                proxy.__enter__()
        proxy.close()
        with pytest.raises(
            RuntimeError, match=f"{proxy.bootstrap} does not run in this process.*with 'with'"
        ):
            proxy.cut()
    # The other ends are this process's, too, and closed by a thread.
    eventually(lambda: len([*Path("/dev/fd").iterdir()]) <= before)


def test_one_listens_at_a_port(proxy: Proxy, echo: Echo) -> None:
    port = int(proxy.bootstrap.rpartition(":")[2])
    with pytest.raises(
        OSError, match=rf"cannot listen at {proxy.bootstrap} \(.*in use\): close what listens there"
    ):
        Proxy(echo.address, port).__enter__()


def test_a_forked_child_cannot_use_it(proxy: Proxy, connect: Connect) -> None:
    client = connect()
    client.sendall(b"a")
    assert answer(client, 1) == b"a"
    outcomes = outcomes_in_child({"cut": proxy.cut, "close": proxy.close})
    assert outcomes == {"cut": "RuntimeError", "close": "returned"}
    client.sendall(b"b")
    assert answer(client, 1) == b"b"


def test_a_child_keeps_no_connection_of_the_parents_open(proxy: Proxy, connect: Connect, echo: Echo) -> None:
    client = connect()
    client.sendall(b"a")
    assert answer(client, 1) == b"a"
    until, done = os.pipe()
    begun, begins = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(done)
        os.write(begins, b"1")
        os.read(until, 1)
        os._exit(0)
    try:
        os.read(begun, 1)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with pytest.raises(ConnectionRefusedError):
            connect()
    finally:
        for one in (until, done, begun, begins):
            os.close(one)
        os.waitpid(pid, 0)


def test_what_cannot_be_is_refused(proxy: Proxy) -> None:
    with pytest.raises(ValueError, match="direction='up': give 'requests', 'responses' or 'both'"):
        proxy.freeze("up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count=0: bytes are counted from now on, the next one is 1"):
        proxy.reset_after(0)
    with pytest.raises(ValueError, match=r"seconds=-1: give 0 or more, or use freeze\(\)"):
        proxy.delay(-1)
    with pytest.raises(ValueError, match=r"bytes_per_second=0: give more than 0, or use freeze\(\)"):
        proxy.throttle(0)
    with pytest.raises(ValueError, match=r"'orders': give the address of a server, such as '127.0.0.1:8081'"):
        Proxy("orders")
