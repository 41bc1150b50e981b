"""Latencies in an HDR histogram: three significant digits from a nanosecond to an hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from statestore.errors import ConfigError

LONGEST = 3_600_000_000_000
"""Nanoseconds; what takes longer counts as this."""

PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def check_extra() -> None:
    """Raise ``ConfigError`` naming the extra, where the library that keeps the latencies is not installed."""
    _library()


def _library() -> Any:
    try:
        import hdrh.histogram
    except ImportError as error:
        raise ConfigError(
            f"the bench needs {error.name}: install the extra, pip install 'statestore[bench]'"
        ) from error
    return hdrh.histogram.HdrHistogram


class Latencies:
    """The latencies of one measurement, in nanoseconds."""

    def __init__(self, encoded: str | None = None) -> None:
        library = _library()
        self._histogram: Any = library(1, LONGEST, 3) if encoded is None else library.decode(encoded.encode())

    def record(self, nanoseconds: Iterable[int]) -> None:
        """Add latencies."""
        add = self._histogram.record_value
        for value, count in Counter(nanoseconds).items():
            add(min(max(value, 1), LONGEST), count)

    def add(self, other: Latencies) -> None:
        """Add those of ``other``."""
        self._histogram.add(other._histogram)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def percentile(self, percent: float) -> float:
        """Return the microseconds that ``percent`` of the operations did not exceed; 100 is the longest."""
        if percent >= 100:
            return float(self._histogram.get_max_value()) / 1000
        return float(self._histogram.get_value_at_percentile(percent)) / 1000

    def mean(self) -> float:
        """Return the mean in microseconds."""
        return float(self._histogram.get_mean_value()) / 1000

    def encoded(self) -> str:
        """Return the histogram in the format V2 of the HDR libraries, compressed, as base64."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode()
