"""The results as one HTML page: opens from a file, needs no network and no script, light and dark."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from statestore.bench.histogram import Latencies
from statestore.bench.machine import described
from statestore.bench.results import Results, Sample, Turn
from statestore.bench.summary import Row, Work, amplification, by_work, figure, most, sentence, size
from statestore.bench.svg import Axis, Bar, Line, Strip, bars, curves, legend, log_axis, percent_axis, strips

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1d2329; --soft: #5b6570;
  --rule: #dfe3e6; --s0: #1f6fd1; --s1: #c8453b; --s2: #1b8a5a; --s3: #b86e00; --s4: #7a4fc4; --s5: #0b8494;
  --s6: #b13f84; --s7: #66791a; --s8: #87582c; --s9: #5a6772; }
@media (prefers-color-scheme: dark) { :root { --page: #14181c; --card: #1c2126; --ink: #e6e9ec;
  --soft: #a0a9b2; --rule: #323a42; --s0: #6cabf7; --s1: #f08a80; --s2: #58c792; --s3: #e8ab4d; --s4: #b599ef;
  --s5: #4fc3d0; --s6: #e886bd; --s7: #b3c65a; --s8: #cf9d6c; --s9: #a3b0bb; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 110rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 0; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 1rem;
  margin: 1rem 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 1rem; }
figure { margin: 0; max-width: 560px; } figcaption { font-weight: 600; font-size: .9rem; margin: .4rem 0; }
svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { font-size: 12px; fill: var(--ink); }
svg.key { display: inline-block; width: 22px; height: 10px; margin-right: .35rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; color: var(--soft); margin: .5rem 0; }
.grid { stroke: var(--rule); fill: none; } .axis { stroke: var(--soft); fill: none; stroke-width: .5; }
.range { stroke: var(--ink); fill: none; } .line { stroke: currentColor; fill: none; stroke-width: 2; }
.dashed { stroke-dasharray: 5 3; } .fill { fill: currentColor; } .faint { opacity: .45; }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); } .s3 { color: var(--s3); }
.s4 { color: var(--s4); } .s5 { color: var(--s5); } .s6 { color: var(--s6); } .s7 { color: var(--s7); }
.s8 { color: var(--s8); } .s9 { color: var(--s9); }
.says { color: var(--soft); margin: .2rem 0 .6rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.text { text-align: left; white-space: normal; }
details { margin-top: .6rem; } summary { cursor: pointer; color: var(--soft); }
"""

COLOURS = 10
_PERCENTILES = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999)
_INTERVALS = 5
"""Intervals of a measurement from which on its throughput over time means something."""
_ENOUGH = 10
"""Operations beyond a percentile from which on it means something."""


def report(results: Results) -> str:
    """Return the page."""
    return "".join(_Page(results).parts())


class _Page:
    def __init__(self, results: Results) -> None:
        self._results = results
        self._colour = {one.name: number % COLOURS for number, one in enumerate(results.candidates)}
        self._dashed = {one.name: one.kind == "reference" for one in results.candidates}
        self._works = by_work(results)

    def parts(self) -> Iterator[str]:
        results = self._results
        title = f"Storage backends, measured {results.started[:10]}"
        yield (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        )
        yield from self._head()
        yield from self._growth()
        for work, rows in self._works.items():
            yield from self._work(work, rows)
        yield from self._disk()
        yield from self._left()
        yield "</body></html>\n"

    def _head(self) -> Iterator[str]:
        results = self._results
        options = results.options.items()
        facts = [
            *described(results.machine, results.versions),
            ("load of the machine", _loads(results.turns)),
            ("options", ", ".join(f"{name} {value}" for name, value in options if value not in ("", None))),
            ("took", f"{results.seconds:.0f} s"),
        ]
        yield '<section id="machine"><h2>Machine and options</h2><div class="wide"><table>'
        for name, value in facts:
            yield f'<tr><th>{escape(name)}</th><td class="text">{escape(str(value))}</td></tr>'
        yield "</table></div>"
        yield legend((one.name, self._colour[one.name], self._dashed[one.name]) for one in results.candidates)
        yield '<details><summary>What is measured</summary><div class="wide"><table>'
        for one in results.candidates:
            yield f'<tr><td>{escape(one.name)}</td><td class="text">{escape(one.says)}</td></tr>'
        yield "</table></div></details></section>"

    def _work(self, work: Work, rows: Sequence[Row]) -> Iterator[str]:
        name = _named(work)
        says = self._results.workloads.get(work.workload, "")
        yield f'<section id="{escape(_id(work), quote=True)}"><h2>{escape(name)}</h2>'
        yield f'<p class="says">{escape(says)}</p><p>{escape(sentence(rows))}</p>'
        yield legend(
            (row.candidate, self._colour[row.candidate], self._dashed[row.candidate]) for row in rows
        )
        yield '<div class="plots">'
        yield bars(f"Throughput, {rows[0].unit}/s", [self._bar(row) for row in rows])
        samples = self._samples(work)
        yield self._latencies(samples)
        long = [row for row in rows if _has_speed_over_time(samples[row.candidate][0])]
        if long:
            over_time = [self._strip(row, samples[row.candidate][0]) for row in long]
            yield strips(f"{rows[0].unit}/s over time, first round", over_time)
        if any(row.memory is not None for row in rows):
            yield bars(
                "Most private memory",
                [
                    Bar(row.candidate, self._colour[row.candidate], row.memory or 0, size(row.memory))
                    for row in rows
                ],
            )
        if any(row.amplification is not None for row in rows):
            yield bars("Bytes written for each byte of the writes", [self._amplified(row) for row in rows])
        yield "</div>"
        yield from _table(rows)
        yield "</section>"

    def _bar(self, row: Row) -> Bar:
        speed = row.throughput
        text = figure(speed.median) + (" too much" if row.late else "")
        return Bar(row.candidate, self._colour[row.candidate], speed.median, text, speed.least, speed.most)

    def _amplified(self, row: Row) -> Bar:
        text = _times(row.amplification)
        return Bar(row.candidate, self._colour[row.candidate], row.amplification or 0, text)

    def _samples(self, work: Work) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = {}
        for turn in self._results.turns:
            for one in turn.samples:
                if (turn.keys, one.workload, one.threads) == work:
                    found.setdefault(turn.candidate, []).append(one)
        return found

    def _latencies(self, samples: dict[str, list[Sample]]) -> str:
        lines = []
        for name, colour in self._colour.items():
            if name in samples:
                points = list(_distribution(samples[name]))
                lines.append(Line(name, colour, points, self._dashed[name]))
        values = [value for line in lines for _, value in line.points]
        furthest = max((percent for line in lines for percent, _ in line.points), default=50.0)
        return curves("Latency", lines, percent_axis(furthest), log_axis("µs", values))

    def _strip(self, row: Row, sample: Sample) -> Strip:
        keys = sample.throughput * sample.seconds / max(1, sample.operations)
        whole = sample.series[:-1]  # the last interval is not a whole one
        rate = [count * keys / sample.interval for count in whole]
        return Strip(row.candidate, self._colour[row.candidate], rate, f"≤ {figure(max(rate))}")

    def _growth(self) -> Iterator[str]:
        """Plot speed and memory over the number of keys, where there are several."""
        if len({work.keys for work in self._works}) < 2:
            return
        yield '<section id="growth"><h2>How they grow</h2>'
        yield legend(
            (one.name, self._colour[one.name], self._dashed[one.name]) for one in self._results.candidates
        )
        yield '<div class="plots">'
        kinds = dict.fromkeys((work.workload, work.threads) for work in self._works)
        for workload, threads in kinds:
            works = [work for work in self._works if (work.workload, work.threads) == (workload, threads)]
            unit = self._works[works[0]][0].unit
            speeds = self._over_keys(works, lambda row: row.throughput.median)
            name = workload + (f", {threads} threads" if threads > 1 else "")
            yield curves(name, speeds, _key_axis(works), log_axis(f"{unit}/s", _heights(speeds)))
        works = [work for work in self._works if work.threads == 1]
        for title, unit, value in (
            ("On disk after compaction", "MiB", lambda turn: _mebibytes(turn.compacted)),
            ("Most private memory", "MiB", _most_memory),
            ("Written for each byte of the writes", "bytes", lambda turn: amplification(turn.samples)),
        ):
            if lines := self._turns_over_keys(value):
                yield curves(title, lines, _key_axis(works), log_axis(unit, _heights(lines)))
        yield "</div></section>"

    def _over_keys(self, works: Sequence[Work], value: Callable[[Row], float]) -> list[Line]:
        lines = []
        for name, colour in self._colour.items():
            points = [
                (float(work.keys), value(row))
                for work in works
                for row in self._works[work]
                if row.candidate == name
            ]
            lines.append(Line(name, colour, points, self._dashed[name]))
        return [line for line in lines if line.points]

    def _turns_over_keys(self, value: Callable[[Turn], float | None]) -> list[Line]:
        """Return the lines of what is known of turns with the store of records, medians of the rounds."""
        lines = []
        for name, colour in self._colour.items():
            found: dict[int, list[float]] = {}
            for turn in self._results.turns:
                if turn.candidate == name and turn.store == "records" and (known := value(turn)) is not None:
                    found.setdefault(turn.keys, []).append(known)
            points = [(float(keys), statistics.median(values)) for keys, values in sorted(found.items())]
            if points:
                lines.append(Line(name, colour, points, self._dashed[name]))
        return lines

    def _disk(self) -> Iterator[str]:
        """Plot the bytes on disk, of the largest store there is."""
        turns = [turn for turn in self._results.turns if turn.used is not None]
        if not turns:
            return
        keys = max(turn.keys for turn in turns)
        rows = []
        for one in self._results.candidates:
            own = [turn for turn in turns if turn.candidate == one.name and turn.keys == keys]
            if not own:
                continue
            for label, sizes, faint in (
                (one.name, [turn.loaded for turn in own], False),
                ("… used", [turn.used for turn in own], True),
                ("… compacted", [turn.compacted for turn in own], False),
            ):
                value = most(sizes)
                rows.append(Bar(label, self._colour[one.name], value or 0, size(value), faint=faint))
        content = max((turn.content or 0 for turn in turns if turn.keys == keys), default=0)
        yield f'<section id="disk"><h2>On disk, {keys:,} keys</h2>'
        says = "After the load, after all workloads, and after a compaction."
        yield f'<p class="says">{says} Keys and values alone: {size(content)}.</p>'
        yield f'<div class="plots">{bars("Bytes on disk", rows)}</div></section>'

    def _left(self) -> Iterator[str]:
        if not self._results.left:
            return
        yield '<section id="left"><h2>What was not measured</h2><ul>'
        for one in self._results.left:
            what = one.workload or "any workload"
            failed = "failed: " if one.failed else ""
            yield f"<li>{escape(f'{one.candidate}, {what}: {failed}{one.why}')}</li>"
        yield "</ul></section>"


def _distribution(samples: Iterable[Sample]) -> Iterator[tuple[float, float]]:
    """Give percentiles and their microseconds, as far as the number of operations carries them."""
    latencies = Latencies(*(sample.histogram for sample in samples))
    count = latencies.count
    percents = [one for one in _PERCENTILES if one <= 50 or count * (1 - one / 100) >= _ENOUGH]
    yield from zip(percents, latencies.percentiles(*percents), strict=True)


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield '<details><summary>Figures</summary><div class="wide"><table><tr>'
    titles = (
        "",
        f"{rows[0].unit}/s",
        "least",
        "most",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "longest µs",
        "CPU µs",
        "memory",
        "write amp.",
    )
    yield "".join(f"<th>{escape(title)}</th>" for title in titles)
    yield "</tr>"
    for row in rows:
        speed = row.throughput
        numbers = (speed.median, speed.least, speed.most, row.p50, row.p99, row.p999, row.longest, row.cpu)
        cells = (row.candidate, *map(figure, numbers), size(row.memory), _times(row.amplification))
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    yield "</table></div></details>"


def _mebibytes(value: int | None) -> float | None:
    return None if value is None else value / (1 << 20)


def _most_memory(turn: Turn) -> float | None:
    return _mebibytes(most(one.memory for one in turn.samples))


def _times(amplification: float | None) -> str:
    return "-" if amplification is None else figure(amplification)


def _named(work: Work) -> str:
    return f"{work.workload}, {work.keys:,} keys" + (f", {work.threads} threads" if work.threads > 1 else "")


def _id(work: Work) -> str:
    return f"{work.workload}-{work.keys}-{work.threads}"


def _key_axis(works: Sequence[Work]) -> Axis:
    return log_axis("keys", [float(work.keys) for work in works])


def _heights(lines: Iterable[Line]) -> list[float]:
    return [height for line in lines for _, height in line.points]


def _loads(turns: Sequence[Turn]) -> str:
    loads = [turn.load for turn in turns if turn.load is not None]
    return f"{min(loads):.1f} to {max(loads):.1f}" if loads else "not told"


def _has_speed_over_time(sample: Sample) -> bool:
    """Of operations that are longer than an interval, a restore for one, the intervals tell nothing."""
    return _INTERVALS <= len(sample.series) <= sample.operations
