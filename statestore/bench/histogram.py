"""Latencies in an HDR histogram: three significant digits from a nanosecond to an hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

from statestore.errors import ConfigError

LONGEST = 3_600_000_000_000
"""Nanoseconds; what takes longer counts as this."""


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
    """Latencies in nanoseconds: those of ``encoded`` histograms, and what is recorded."""

    def __init__(self, *encoded: str) -> None:
        self._histogram: Any = _library()(1, LONGEST, 3)
        for one in encoded:
            self._histogram.decode_and_add(one.encode())
        self._total = 0

    @classmethod
    def of_seconds(cls, seconds: Iterable[float]) -> Self:
        """Return latencies that were measured in seconds."""
        made = cls()
        made.record(round(1e9 * one) for one in seconds)
        return made

    def record(self, nanoseconds: Iterable[int]) -> None:
        """Add latencies."""
        add = self._histogram.record_value
        for value, count in Counter(nanoseconds).items():
            add(min(max(value, 1), LONGEST), count)
            self._total += value * count

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def percentiles(self, *percents: float) -> list[float]:
        """Return the microseconds that each part of the operations did not exceed; 100 is the longest.

        ``percents`` ascend. All are found in one walk through the histogram.
        """
        found: dict[float, int] = self._histogram.get_percentile_to_value_dict(list(percents))
        return [found[percent] / 1000 for percent in percents]

    def mean(self) -> float:
        """Return the mean of what was recorded, in microseconds."""
        return self._total / max(1, self.count) / 1000

    def encoded(self) -> str:
        """Return the histogram in the format V2 of the HDR libraries, compressed, as base64."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode()
