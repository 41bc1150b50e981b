"""The bars of a list of records, as naively as can be: what an aggregate must equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

from statestore import EventTime, F, Gap, Key, WindowStart, agg, entity
from statestore.entity import model_of
from statestore.windowing import Closed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@entity(topic="ticks", kind="stream")
@dataclass(frozen=True, slots=True)
class Tick:
    key: Annotated[str, Key]
    value: int | None
    at: Annotated[datetime, EventTime]


@dataclass(frozen=True, slots=True)
class Prices:
    open: int | None
    high: int | None
    low: int | None
    close: int | None


@entity(source=Tick, windows=["10s", "30s"], grace=5)
@dataclass(frozen=True, slots=True)
class Bar:
    key: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    first: Annotated[int | None, agg.first(F.value)]
    last: Annotated[int | None, agg.last(F.value)]
    earliest: Annotated[int | None, agg.first(F.value, by="event_time")]
    latest: Annotated[int | None, agg.last(F.value, by="event_time")]
    least: Annotated[int | None, agg.min(F.value)]
    most: Annotated[int | None, agg.max(F.value)]
    total: Annotated[int, agg.sum(F.value)]
    mean: Annotated[float | None, agg.avg(F.value)]
    count: Annotated[int, agg.count()]
    values: Annotated[int, agg.count(F.value)]
    prices: Annotated[Prices, agg.ohlc(F.value)]
    text: Annotated[
        str, agg.reduce(lambda text, tick: f"{text}{tick.value},", "", result=lambda text: text[:-1])
    ]
    gap: Annotated[bool, Gap]


@entity(source=Tick, windows=["10s", "30s"], grace=5, scope="key", retention=1)
@dataclass(frozen=True, slots=True)
class KeyBar(Bar):
    pass


@entity(source=Tick, windows=["10s", "30s"], grace=5, gap="empty", gap_horizon=40)
@dataclass(frozen=True, slots=True)
class EmptyBar(Bar):
    pass


@entity(source=Tick, windows=["10s", "30s"], grace=5, gap="carry", gap_horizon=None, gap_keys=["b", "never"])
@dataclass(frozen=True, slots=True)
class CarriedBar(Bar):
    pass


class Given(NamedTuple):
    """A record: of a key and a value, at a second, in a partition; or an advance of the time."""

    second: int
    key: str | None = None
    value: int | None = None
    partition: int = 0

    @property
    def tick(self) -> Tick:
        assert self.key is not None
        return Tick(self.key, self.value, EPOCH + timedelta(seconds=self.second))


def bars(cls: type[Any], given: Sequence[Given]) -> list[Closed[Any]]:
    """Return the bars of ``cls``, partition by partition, as they close. No scope of a key."""
    closed: list[Closed[Any]] = []
    for number in sorted({one.partition for one in given}):
        partition = _Partition(cls, number)
        for one in given:
            if one.partition == number:
                closed += partition.take(one)
    return closed


class _Partition:
    def __init__(self, cls: type[Any], number: int) -> None:
        windowing = model_of(cls).windowing
        assert windowing is not None
        self.cls, self.number, self.windowing = cls, number, windowing
        self.grace = int(windowing.grace.total_seconds())
        self.sizes = [int(one.size.total_seconds()) for one in windowing.windows]
        self.has_gaps = windowing.gap != "skip"
        horizons = [windowing.gap_horizon(one) for one in windowing.windows]
        self.horizons = [None if one is None else one.total_seconds() for one in horizons]
        self.time: int | None = None
        self.inside: dict[tuple[int, int], dict[str, list[Given]]] = {}
        """The records of each window, by its end and the place of its size."""
        self.done = [0, 0]
        """Up to where windows are closed, of each size."""
        self.seen: dict[str, list[int]] = {}
        self.closes: dict[tuple[int, str], int] = {}

    def take(self, one: Given) -> list[Closed[Any]]:
        if self.time is None:
            if one.key is None:
                return []
            self.time = one.second
            self.done = [one.second - one.second % size for size in self.sizes]
        for place, size in enumerate(self.sizes):
            end = one.second - one.second % size + size
            if one.key is not None and end + self.grace > self.time:
                self.inside.setdefault((end, place), {}).setdefault(one.key, []).append(one)
        self.time = max(self.time, one.second)
        if self.has_gaps:
            self.pass_windows(self.time - self.grace)
        due = sorted(window for window in self.inside if window[0] + self.grace <= self.time)
        closed = [bar for window in due for bar in self.close(*window)]
        if self.has_gaps:
            self.forget()
        if one.key is not None:
            span = self.seen.setdefault(one.key, [one.second, one.second])
            span[:] = min(span[0], one.second), max(span[1], one.second)
        return closed

    def pass_windows(self, watermark: int) -> None:
        """Have windows without records close, too."""
        for place, size in enumerate(self.sizes):
            for end in range(self.done[place] + size, watermark + 1, size):
                self.inside.setdefault((end, place), {})
            self.done[place] = max(self.done[place], watermark - watermark % size)

    def close(self, end: int, place: int) -> list[Closed[Any]]:
        records = self.inside.pop((end, place))
        window = self.windowing.windows[place]
        start = end - self.sizes[place]
        at = EPOCH + timedelta(seconds=start)
        closed = [
            Closed(_bar(self.cls, key, at, ticks), window, at, self.number, False)
            for key, ticks in records.items()
        ]
        for key in self.gap_keys(place, start, end) if self.has_gaps else ():
            if key not in records:
                close = self.closes.get((place, key)) if self.windowing.gap == "carry" else None
                closed.append(Closed(_gap_bar(self.cls, key, at, close), window, at, self.number, True))
        for key, ticks in records.items():
            prices = [tick.value for tick in ticks if tick.value is not None]
            if prices:
                self.closes[place, key] = prices[-1]
        return closed

    def gap_keys(self, place: int, start: int, end: int) -> list[str]:
        horizon = self.horizons[place]
        found = [
            key
            for key, (first, last) in self.seen.items()
            if first < end and (horizon is None or last >= start - horizon)
        ]
        gap_keys = self.windowing.gap_keys
        assert not callable(gap_keys)
        given = [key for key in gap_keys if self.number == 0 or key in self.seen]
        return [*found, *(key for key in given if key not in found)]

    def forget(self) -> None:
        bounds = [None if one is None else at - one for at, one in zip(self.done, self.horizons, strict=True)]
        oldest = [one for one in bounds if one is not None]
        if len(oldest) == len(bounds):
            for key in [key for key, (_, last) in self.seen.items() if last < min(oldest)]:
                del self.seen[key]
                self.closes = {one: close for one, close in self.closes.items() if one[1] != key}


def _bar(cls: type[Any], key: str, start: datetime, ticks: list[Given]) -> Any:
    found = [tick for tick in ticks if tick.value is not None]
    values = [tick.value for tick in found if tick.value is not None]
    by_time = [tick.value for tick in sorted(found, key=lambda tick: tick.second)]
    first, last = (values[0], values[-1]) if values else (None, None)
    least, most = min(values, default=None), max(values, default=None)
    return cls(
        key=key,
        start=start,
        first=first,
        last=last,
        earliest=by_time[0] if by_time else None,
        latest=by_time[-1] if by_time else None,
        least=least,
        most=most,
        total=sum(values),
        mean=sum(values) / len(values) if values else None,
        count=len(ticks),
        values=len(values),
        prices=Prices(first, most, least, last),
        text=",".join(str(tick.value) for tick in ticks),
        gap=False,
    )


def _gap_bar(cls: type[Any], key: str, start: datetime, close: int | None) -> Any:
    carried = dict.fromkeys(("first", "last", "least", "most"), close)
    return cls(
        key=key, start=start, **carried, earliest=close, latest=close, total=0, mean=None, count=0, values=0,
        prices=Prices(close, close, close, close), text="", gap=True,
    )  # fmt: skip
