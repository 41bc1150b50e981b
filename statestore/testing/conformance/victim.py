"""The program in which the suite opens stores in order to kill them, or to have them meet damaged files.

:class:`~statestore.testing.crashing.Victim` runs this file, gives it an engine factory, and has it call the
functions of this module in forked children, one at a time: a crash of one of them is an answer, and not the
end of the test run. Nothing is opened in the program itself, so its children are as good as fresh processes.
It imports nothing of ``statestore.testing``, which would take long.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from statestore.backends import contract
from statestore.backends.contract import Backend, Batch, Engine, StoreOptions
from statestore.backends.sharing import SharingEngine
from statestore.errors import StoreClosedError, StoreUnavailableError
from statestore.storage import window_store
from statestore.storage.stored_window import StoredWindow

Factory = Callable[[], Engine]

COUNT = b"count"
"""The key of the number of batches in the content."""
LOAD_EVERY = 7
FLUSH_EVERY = 5
COMPACT_EVERY = 23
ROUNDS = 15


def batch(number: int) -> Batch:
    """Return the batch that makes ``content(number - 1)`` ``content(number)``; the first has number 1."""
    puts = [(b"%06d-%d" % (number, row), b"%d" % number * (1 << row)) for row in range(10)]
    deletes = [b"%06d-%d" % (number - 3, row) for row in range(10)]
    return Batch([*puts, (COUNT, b"%d" % number)], deletes)


def content(number: int) -> dict[bytes, bytes]:
    """Return what a store holds after ``number`` batches."""
    return {key: value for one in range(max(1, number - 2), number + 1) for key, value in batch(one).puts}


class Run:
    """A batch as a sorted run."""

    def __init__(self, changes: Batch) -> None:
        self._changes: dict[bytes, bytes | None] = {**dict.fromkeys(changes.deletes), **dict(changes.puts)}

    def __len__(self) -> int:
        return len(self._changes)

    def feed(self, put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object]) -> None:
        for key, value in sorted(self._changes.items()):
            if value is None:
                delete(key)
            else:
                put(key, value)


def write_until_killed(
    factory: Factory, directory: Path, changelog: bool, shared: bool = False
) -> Iterator[tuple[str, int]]:
    """Write batch after batch, and tell of each that returned, and of each that is durable."""
    store = factory().open(directory, StoreOptions(changelog=changelog, shared=shared))
    count = int(store.get(COUNT) or 0)
    if shared:
        assert dict(store.scan()) == content(count), f"not the content after batch {count}"
    yield "opened", count
    for number in itertools.count(int(store.get(COUNT) or 0) + 1):
        if number % LOAD_EVERY == 0:
            store.load([Run(batch(number))])
            yield "durable", number
        else:
            store.write(batch(number))
            yield "written", number
        if number % FLUSH_EVERY == 0:
            store.flush()
            yield "durable", number
        if shared and number % COMPACT_EVERY == 0:
            store.compact()


STEP = 40_000
"""Milliseconds from the windows of one batch to those of the next: three batches fill a segment."""
WINDOW: StoredWindow = {"size_ms": 60_000, "retention_ms": 10 * STEP, "segment_ms": 3 * STEP}


def windows(number: int) -> list[tuple[bytes, int, bytes]]:
    """Return the rows that batch ``number`` puts into a store of windows."""
    return [(b"%d" % row, number * STEP + row, b"%d" % number) for row in range(10)]


def visible_windows(number: int) -> list[tuple[bytes, int, bytes]]:
    """Return the rows that are visible after ``number`` batches, by key and start."""
    rows = [row for one in range(max(1, number - 11), number + 1) for row in windows(one)]
    newest = max((start for _, start, _ in rows), default=0)
    return sorted(row for row in rows if row[1] > newest - WINDOW["retention_ms"])


def expire_until_killed(factory: Factory, directory: Path, changelog: bool) -> Iterator[tuple[str, int]]:
    """Write windows, whose oldest are removed in small steps, and tell as ``write_until_killed`` does."""

    contract.RANGE_PAIRS = 7
    window_store._PAUSES = 0  # noqa: SLF001 - a step with each write
    backend = factory().open(directory, StoreOptions(changelog=changelog))
    store = window_store.WindowStore("windows", backend, 100, WINDOW)
    last = store.latest(b"0")
    yield "opened", 0 if last is None else int(last[1])
    for number in itertools.count(1 if last is None else int(last[1]) + 1):
        with store.batch() as rows:
            for row in windows(number):
                rows.put(*row)
        yield "written", number
        if number % FLUSH_EVERY == 0:
            store.flush()
            yield "durable", number


def own(factory: Factory, directory: Path, changelog: bool) -> Iterator[tuple[str, str]]:
    """Open the store for others to read, and do with it what the requests say, until one says "close"."""
    store = factory().open(directory, StoreOptions(changelog=changelog, shared=True))
    yield "did", "open"
    method = ""
    while method != "close":
        method, arguments = receive(sys.stdin.buffer)
        if method == "load":
            arguments = ([Run(changes) for changes in arguments],)
        getattr(store, method)(*arguments)
        yield "did", method


def read_until_stopped(
    factory: Factory, directory: Path, changelog: bool, stop: Path
) -> Iterator[tuple[str, int]]:
    """Read what another process writes until the file ``stop`` is there; tell the last batch that was seen.

    Each way to read has to give what the store held after a batch, and none an earlier one than the last.
    """
    engine = factory()
    assert isinstance(engine, SharingEngine)
    store = engine.open_reader(directory, StoreOptions(changelog=changelog))
    seen = 0

    def check(rows: dict[bytes, bytes], how: str) -> None:
        nonlocal seen
        count = int(rows.get(COUNT, b"0"))
        wrong = sorted(key for key, _ in rows.items() ^ content(count).items())
        assert not wrong, f"{how}: half of a batch: not the content after batch {count}: {wrong}"
        assert count >= seen, f"{how}: batch {count}, after {seen} had been seen"
        seen = count

    yield "opened", seen
    while not stop.exists():
        store.catch_up()
        check(dict(store.scan()), "a scan")
        with store.snapshot() as snapshot:
            store.catch_up()
            check(dict(snapshot.scan()), "a scan of a snapshot")
            keys = [*content(seen), COUNT]
            found = zip(keys, snapshot.get_many(keys), strict=True)
            check({key: value for key, value in found if value is not None}, "a snapshot")
        alone = int(store.get(COUNT) or 0)
        assert alone >= seen, f"get: batch {alone}, after {seen} had been seen"
        seen = alone
        rows = store.get_many([key for key, _ in batch(seen + 1).puts if key != COUNT])
        assert len({row is None for row in rows}) == 1, "get_many: half of a batch"
    yield "saw", seen


def close_under_scans(factory: Factory, directory: Path) -> Iterator[tuple[str, int]]:
    """Close stores while threads begin and drop scans and snapshots, with many switches of threads."""
    sys.setswitchinterval(1e-6)
    for number in range(ROUNDS):
        store = factory().open(directory / str(number), StoreOptions())
        for one in range(1, 6):
            store.write(batch(one))
        is_closing = threading.Event()

        def begin_and_drop(store: Backend = store, is_closing: threading.Event = is_closing) -> None:
            with contextlib.suppress(StoreClosedError):
                while not is_closing.is_set():
                    scan = store.scan()
                    next(scan)
                    snapshot = store.snapshot()
                    del scan, snapshot

        threads = [threading.Thread(target=begin_and_drop) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.003)
        store.close()
        is_closing.set()
        for thread in threads:
            thread.join()
        yield "closed", number


def read_all(factory: Factory, directory: Path, changelog: bool) -> Iterator[tuple[str, Any]]:
    """Open the store and tell what it holds, or how it says that it cannot."""
    try:
        engine = factory()
        with engine.open(directory, StoreOptions(changelog=changelog)) as store:
            yield "content", dict(store.scan())
        engine.close()
    except StoreUnavailableError as error:
        yield "unavailable", (type(error).__name__, str(error.path), error.remedy)
    except Exception as error:  # noqa: BLE001 - which one it is, is the answer
        yield "other error", "".join(traceback.format_exception_only(error)).strip()


ENDS = ("ended", "failed", "killed")


def send(descriptor: int, message: object) -> None:
    """Write a message; one of up to 4 KiB is written as a whole or not at all."""
    pickled = pickle.dumps(message)
    frame = len(pickled).to_bytes(4) + pickled
    while frame:
        frame = frame[os.write(descriptor, frame) :]


def receive(stream: IO[bytes]) -> tuple[str, Any]:
    """Read a message. Raises ``EOFError`` when there comes none any more."""
    size = stream.read(4)
    if len(size) < 4:
        raise EOFError("the process for the suite's crash tests ended by itself: see its error output")
    message: tuple[str, Any] = pickle.loads(stream.read(int.from_bytes(size)))
    return message


class _Unpickler(pickle.Unpickler):
    """Finds modules that only pytest can import, by their files."""

    def __init__(self, pickled: bytes, files: dict[str, str | None]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._files = files

    def find_class(self, module: str, name: str) -> Any:
        if module not in sys.modules and (file := self._files.get(module)) is not None:
            with contextlib.suppress(ImportError):
                return super().find_class(module, name)
            spec = importlib.util.spec_from_file_location(module, file)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module])
        return super().find_class(module, name)


def serve() -> None:
    """Run what is asked for, each in a child of its own, until there are no more requests."""
    requests, answers = sys.stdin.buffer, sys.stdout.fileno()
    path, files, pickled = pickle.loads(receive(requests)[1])
    sys.path[:] = path
    factory = _Unpickler(pickled, files).load()
    while True:
        try:
            function, arguments = receive(requests)
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            _run_child(answers, function, (factory, *arguments))
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            send(answers, ("killed", signal.Signals(os.WTERMSIG(status)).name))
        elif os.WEXITSTATUS(status) == 0:
            send(answers, ("ended", 0))


def _run_child(answers: int, function: str, arguments: tuple[Any, ...]) -> NoReturn:
    """Never returns into the loop of the parent."""
    try:
        send(answers, ("child", os.getpid()))
        for message in globals()[function](*arguments):
            send(answers, message)
    except BaseException:  # noqa: BLE001 - told, and then the process ends
        send(answers, ("failed", traceback.format_exc()))
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    serve()
