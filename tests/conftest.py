"""What all tests share: the broker for those marked ``kafka``, the ``soak`` switch, a watch on threads."""

from __future__ import annotations

import fcntl
import gc
import inspect
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from statestore.settings.environment import FILE_VARIABLE, NOT_SETTINGS, PREFIX
from statestore.testing.kafka import (
    EXTERNAL_VARIABLE,
    Broker,
    BrokerUnavailableError,
    KafkaBroker,
    Proxy,
    external_broker,
)
from statestore.testing.kafka import broker as kafka_broker
from statestore.testing.kafka.maven import find_java, kafka_jars

# No test depends on the settings that the outer environment has.
for variable in [name for name in os.environ if name.startswith(PREFIX) and name not in NOT_SETTINGS]:
    del os.environ[variable]
os.environ.pop(FILE_VARIABLE, None)

# Programs that tests start import the packages, and would compile them anew each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What tests write goes into memory where there is room: stores sync files ten times a test, and a disk takes
# a millisecond for each. The lowest dependencies are tested on the disk: the Makefile sets TMPDIR there.
MEMORY = Path("/dev/shm")
if (
    "TMPDIR" not in os.environ
    and MEMORY.is_dir()
    and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    and shutil.disk_usage(MEMORY).free >= 8 << 30
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# A busy machine is slow: how long an example takes says nothing of the code. Each run draws others.
hypothesis.settings.register_profile(
    "unhurried",
    hypothesis.settings(),
    deadline=None,
    max_examples=100 if os.environ.get("STATESTORE_SOAK") == "1" else 30,
)
# For runs that try the same tests once more, with another Python or other parts.
hypothesis.settings.register_profile("few", hypothesis.settings.get_profile("unhurried"), max_examples=12)
hypothesis.settings.load_profile("unhurried")

# Brokers live for seconds: the optimising compiler of the JVM and a collector with threads of its own cost
# more than they give.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# Of each worker its own: a broker that a test restarts finds its port free again.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    kafka_broker._PORTS = kafka_broker._PORTS[int(worker.removeprefix("gw")) :: 64]

PATIENCE = 60.0
"""Seconds after which a test takes what it waits for as never coming."""

KSQLDB_VARIABLE = "STATESTORE_TEST_KSQLDB"
"""Has the address of a ksqlDB server for the tests marked ``ksqldb``, which create and drop things there."""

NO_BROKER = "Skipped: no broker: "

no_broker: list[str] = []
"""Why each Kafka test that was skipped had no broker, of all workers where there are several."""


@cache
def kafka_fault() -> str | None:
    """Return why no broker can be had on this machine, ``None`` if one can."""
    if external_broker() is not None:
        return None
    try:
        find_java()
        kafka_jars()
    except BrokerUnavailableError as error:
        return str(error)
    return None


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """With ``-n auto`` one worker more than there are processors: many tests only wait for a broker."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)  # what -m leaves over
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has a command of its own, unless ``-m`` names the marker.

    These are the soak tests, which ``STATESTORE_SOAK=1`` asks for, too, and the type checks of ``make lint``.

    Of several workers each takes one file after the other: the files that take long come first, so that none
    of them is left to a single worker at the end.
    """
    for apart, asked in (("soak", os.environ.get("STATESTORE_SOAK") == "1"), ("types", False)):
        if not asked and apart not in config.option.markexpr:
            config.hook.pytest_deselected(items=[one for one in items if one.get_closest_marker(apart)])
            items[:] = [one for one in items if not one.get_closest_marker(apart)]
    if hasattr(config, "workerinput"):
        seconds = Counter[Path]()
        for item in items:
            for marker in map(item.get_closest_marker, ("kafka", "slow", "soak")):
                if marker is not None:
                    seconds[item.path] += marker.kwargs.get("seconds", 1)
        items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of garbage collections, which take longer than most tests."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kafka") and (fault := kafka_fault()):
        pytest.skip(NO_BROKER.removeprefix("Skipped: ") + fault)

    if item.get_closest_marker("ksqldb") and KSQLDB_VARIABLE not in os.environ:
        pytest.skip(f"no ksqlDB server: set {KSQLDB_VARIABLE}=http://host:8088")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what was skipped for want of a broker; with several workers their reports come here as well."""
    if report.skipped and isinstance(report.longrepr, tuple) and report.longrepr[2].startswith(NO_BROKER):
        no_broker.append(report.longrepr[2].removeprefix(NO_BROKER))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the terminal's own summary: ours is the last line
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    in_ci = os.environ.get("CI") == "true"
    if no_broker and in_ci and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if no_broker and terminal is not None:
        verdict = "a failure, since CI=true" if in_ci else "the rest is what was tested"
        terminal.write_line(
            f"{len(no_broker)} Kafka tests skipped ({verdict}): {no_broker[0]}", red=in_ci, yellow=True
        )


class BrokerOfAnotherWorker(KafkaBroker):
    """The broker that another worker of this run has started and will stop."""

    def __init__(self, bootstrap: str, proxied: str, proxy_port: str, home: str) -> None:
        Broker.__init__(self, bootstrap)
        self.proxied, self.proxy_port, self._home = proxied, int(proxy_port), Path(home)


@contextmanager
def broker_of_all_workers(folder: Path) -> Iterator[KafkaBroker]:
    """Give the one broker of the workers that share ``folder``: an idle JVM takes CPU, too.

    The first to ask starts it, and stops it when the others need it no longer. Should one ask after that, it
    starts another.
    """
    note = folder / "broker"
    with (folder / "broker.users").open("w") as users, ExitStack() as stack:
        with (folder / "broker.asked").open("w") as asked:
            fcntl.flock(asked, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if is_first := not note.exists():
                given = stack.enter_context(KafkaBroker())
                parts = (given.bootstrap, given.proxied, given.proxy_port, given._home)
                note.write_text("\n".join(map(str, parts)))
            else:
                given = BrokerOfAnotherWorker(*note.read_text().splitlines())
        yield given
        if is_first:
            fcntl.flock(users, fcntl.LOCK_EX)
            note.unlink()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """A broker for all tests of the session: they make topics of their own and leave it running."""
    external = external_broker()
    if external is not None:
        return external
    is_worker = hasattr(request.config, "workerinput")
    folder = tmp_path_factory.getbasetemp().parent
    context = broker_of_all_workers(folder) if is_worker else KafkaBroker()
    # Not with the last test of a worker, which would seem to take as long as those of the other workers.
    stack = ExitStack()
    request.config.add_cleanup(stack.close)
    return stack.enter_context(context)


@pytest.fixture
def proxy_turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Wait until no other worker has a proxy before the broker of all."""
    with (tmp_path_factory.getbasetemp().parent / "proxy").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@pytest.fixture
def proxy(proxy_turn: None, proxy: Proxy) -> Proxy:
    """The proxy that ``statestore_pytest`` makes before the broker of the session, one test at a time."""
    return proxy


@pytest.fixture
def own_broker() -> Iterator[KafkaBroker]:
    """A broker for one test, which may stop, kill and restart it."""
    if external_broker() is not None:
        pytest.skip(f"stops its broker, and {EXTERNAL_VARIABLE} names one that others may be using")
    with KafkaBroker() as started:
        yield started


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Make names of topics that no other test has: ``topic()`` or ``topic("orders")``.

    Those that the test created in the session's broker are deleted after it.
    """
    names: list[str] = []

    def name(stem: str = "t") -> str:
        test = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.name)[:80]
        names.append(f"{test}.{stem}.{uuid.uuid4().hex[:8]}")
        return names[-1]

    yield name
    if "broker" in request.fixturenames:
        shared: Broker = request.getfixturevalue("broker")
        for made in names:
            if shared.has_topic(made):
                shared.delete_topic(made)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds: ``eventually(lambda: table.get(b"k") == b"v")``."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not so after {PATIENCE:g} s: {inspect.getsource(condition)}"
            time.sleep(0.01)

    return wait


@pytest.fixture(autouse=True)
def no_data_directory_in_the_checkout() -> Iterator[None]:
    """Fail a test after which the working directory is a data directory."""
    lock = Path("LOCK").absolute()
    was_there = lock.exists()
    yield
    assert was_there or not lock.exists(), f"a manager was opened in {lock.parent}"


@pytest.fixture(autouse=True)
def no_thread_left_running() -> Iterator[None]:
    """Fail a test after which a thread of the library still runs."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + PATIENCE
    while left := [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("statestore") and thread not in before
    ]:
        if time.monotonic() > deadline:
            pytest.fail(f"threads left running: {', '.join(left)}")
        time.sleep(0.01)
