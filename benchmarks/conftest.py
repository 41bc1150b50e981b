"""The options, fixtures, printed lines and files of ``make bench``."""

from __future__ import annotations

import gc
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from content import pairs
from mock_topics import MockTopics
from results import ResultsFolder, cells
from stores import Filled, filled
from topics import Topics

from statestore.bench.pairs import PairRow, speed
from statestore.bench.turns import Work, seconds_in_pairs
from statestore.errors import ConfigError
from statestore.testing.kafka import BrokerUnavailableError, KafkaBroker, external_broker

ROOT = Path(__file__).parents[1]
SCRATCH = ROOT / ".benchmarks"
"""On the disk of the checkout, because the temporary directory may be in memory."""
SIZES = {
    "records": (200_000, "of a topic that is restored"),
    "rows": (100_000, "keys of a store that is read, scanned or written"),
    "tables": (100, "bound by one manager"),
    "pairs": (5, "runs of each side"),
}
SHORT = 5
"""Short work is measured so many times as often, because other processes disturb it more."""
RESULTS = pytest.StashKey[ResultsFolder]()
Fresh = Callable[[], Path]
WIDTHS = (50, 28, 18, 18, 15, 12, 12)


def of_short(pairs: int) -> int:
    """Return how many pairs short work has. A single pair is no measurement, but a trial of the row."""
    return SHORT * pairs if pairs > 1 else 1


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("statestore")
    for name, (default, what) in SIZES.items():
        group.addoption(f"--{name}", type=int, default=default, help=f"{what} (default {default:,})")
    group.addoption(
        "--results",
        type=Path,
        default=SCRATCH / "results",
        help="folder of the results (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[RESULTS] = ResultsFolder(config.getoption("results"))
    except ConfigError as error:
        raise pytest.UsageError(f"rows are added to earlier results, but {error}") from error


# Printing: a line for each row as soon as it is measured, instead of pytest's dots.


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    if report.failed:
        return None
    return (report.outcome if report.when == "call" or report.skipped else "", "", "")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    print_cells(
        session.config, ("work", "reference", "ours", "theirs", "spread", "wanted", "result"), bold=True
    )


class Printer:
    """Prints a row when the report of its measurement arrives."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = terminal_of(self._config)
        if report.skipped and isinstance(report.longrepr, tuple):
            name = report.nodeid.partition("::")[2]
            terminal.write_line(f"{name}: not measured: {report.longrepr[2]}", yellow=True)
        if report.when != "call":
            return
        for name, result in report.user_properties:
            if name == "result" and isinstance(result, PairRow):
                self._config.stash[RESULTS].add(result)
                print_cells(self._config, cells(result), red=result.met is False)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.pluginmanager.register(Printer(session.config))
    # The collections before and in measured work look at what the work made, not at all that was imported.
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(config: pytest.Config) -> None:
    terminal = terminal_of(config)
    for path in config.stash[RESULTS].write():
        terminal.write_line(f"written: {path}")


def terminal_of(config: pytest.Config) -> pytest.TerminalReporter:
    found = config.pluginmanager.get_plugin("terminalreporter")
    assert isinstance(found, pytest.TerminalReporter)
    return found


def print_cells(config: pytest.Config, cells: Sequence[str], **markup: bool) -> None:
    padded = [
        f"{cell:<{width}}" if number < 2 else f"{cell:>{width}}"
        for number, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ]
    terminal_of(config).write_line("  ".join(padded).rstrip(), **markup)


# Fixtures of the rows.


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run, for all of its groups."""

    records: int
    """Records in a topic that is restored."""
    rows: int
    """Keys of a store that is read, scanned and written."""
    tables: int
    """Tables of one manager."""
    pairs: int
    """Runs of each side."""


class Bench:
    """Measures rows and adds them to the results."""

    def __init__(self, request: pytest.FixtureRequest, sizes: Sizes) -> None:
        self.sizes = sizes
        self._request = request

    def pairs(self, ours: Work, theirs: Work, *, is_short: bool = False) -> list[tuple[float, float]]:
        """Measure both sides in turns, short work more often."""
        pairs = self.sizes.pairs
        return seconds_in_pairs(ours, theirs, of_short(pairs) if is_short else pairs)

    def speed(
        self,
        work: str,
        reference: str,
        ours: Work,
        theirs: Work,
        *,
        items: int,
        of: str,
        wanted: float | None = None,
    ) -> None:
        """Measure a row of short work (a tenth of a second) and add it to the results."""
        found = self.pairs(ours, theirs, is_short=True)
        self.add(
            speed(work, reference, found, items=items, of=of, wanted=wanted),
            sizes=f"{items:,} {of}, {len(found)} pairs",
        )

    def add(self, *results: PairRow, sizes: str) -> None:
        """Add rows to the results, with the sizes they were measured with."""
        for result in results:
            row = msgspec.structs.replace(result, group=self.group, sizes=sizes)
            self._request.node.user_properties.append(("result", row))

    @property
    def results(self) -> Path:
        """The folder that results go to."""
        return self._request.config.stash[RESULTS].folder

    @property
    def group(self) -> str:
        """The name of the group: ``bench_scan.py`` holds ``scan``."""
        return str(self._request.path.stem.removeprefix("bench_"))


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    given = {name: request.config.getoption(name) for name in SIZES}
    if small := [name for name, count in given.items() if count < 1]:
        pytest.exit(f"at least 1: {', '.join('--' + name for name in small)}", pytest.ExitCode.USAGE_ERROR)
    return Sizes(**given)


@pytest.fixture
def bench(request: pytest.FixtureRequest, sizes: Sizes) -> Bench:
    return Bench(request, sizes)


@pytest.fixture(scope="session")
def fresh() -> Iterator[Fresh]:
    """Gives paths that do not exist yet. Files made there are removed at the end of the run."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        numbers = itertools.count(1)
        yield lambda: Path(scratch, f"{next(numbers):04d}")


@pytest.fixture(scope="session")
def topics() -> Iterator[Topics]:
    """Topics of a real broker: the one of ``STATESTORE_TEST_KAFKA``, or one started for this run."""
    external = external_broker()
    if external is not None:
        with Topics(external) as made:
            yield made
        return
    try:
        broker = KafkaBroker()
    except BrokerUnavailableError as error:
        pytest.skip(f"there is no broker: {error}")
    with broker, Topics(broker) as made:
        yield made


@pytest.fixture(scope="session")
def mock_topics() -> Iterator[MockTopics]:
    """Topics of librdkafka's mock broker, in this process. It needs no Java, and no CPU when idle."""
    with MockTopics() as made:
        yield made


@pytest.fixture(scope="module", params=["rocksdb", "lmdb"])
def stores(
    request: pytest.FixtureRequest, fresh: Fresh, mock_topics: MockTopics, sizes: Sizes
) -> Iterator[Filled]:
    """The same pairs in our stores and in the binding alone, for each backend with files."""
    directory = fresh()
    directory.mkdir()
    with filled(directory, request.param, pairs(sizes.rows), mock_topics) as found:
        yield found
