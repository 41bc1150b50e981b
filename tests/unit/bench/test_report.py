"""The page that a run leaves: one file, complete, whatever the names in it are."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from statestore.bench.report import report
from statestore.bench.results import Results
from statestore.bench.svg import WIDTH, Bar, bars, log_axis, nines, ratios

VOID = {"meta"}
PLOTS_OF_A_WORKLOAD = [
    "Throughput, {}/s",
    "Latency (µs)",
    "{}/s over time, first round",
    "Most private memory",
    "Bytes written for each byte of the writes",
]


class Page(HTMLParser):
    """Reads a page as a browser would, and notes what is in it. Raises for a tag that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.plots: dict[str, list[str]] = {}
        """The titles of the plots of each section."""
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        named = dict(attrs)
        if tag == "section":
            self.ids.append(named["id"] or "")
            self.plots[self.ids[-1]] = []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] == "figcaption":
            self.plots[self.ids[-1]].append(data)


def test_every_workload_has_its_plots(measured: Results) -> None:
    page = Page(report(measured))
    works = [f"{name}-{keys}-1" for keys in (1_000, 100_000) for name in ("load-random", "ycsb-a")]
    assert page.ids == ["machine", "growth", *works, "disk", "left"]
    for work in works:
        unit = "keys" if work.startswith("load") else "ops"
        assert page.plots[work] == [title.format(unit) for title in PLOTS_OF_A_WORKLOAD]
    assert page.plots["growth"] == [
        "load-random (keys/s)",
        "ycsb-a (ops/s)",
        "On disk after compaction (MiB)",
        "Most private memory (MiB)",
        "Written for each byte of the writes (bytes)",
    ]
    assert page.plots["disk"] == ["Bytes on disk"]


def test_it_is_one_file_without_a_script_and_asks_for_nothing(measured: Results) -> None:
    text = report(measured)
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "image", "use"}
    assert not page.attributes & {"src", "href", "srcset", "onload"}
    assert not re.search(r"url\(|@import|https?:", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport" content="width=device-width' in text


def test_names_are_text_and_no_tags(measured: Results) -> None:
    page = Page(report(measured))
    assert "tiny" not in page.tags
    assert "<tiny> & company" in page.text
    assert any("Some <processor>" in text for text in page.text)
    assert any("half reads & half updates" in text for text in page.text)


def test_what_the_page_says_is_what_was_measured(measured: Results) -> None:
    text = Page(report(measured)).text
    assert "dict is the fastest; <tiny> & company follows, at 1/10.00 of the speed of dict." in text
    assert "dict, ycsb-e: no scans in the order of the keys" in text
    assert "945 k" in text  # dict in ycsb-a: the median of 900 k and 990 k
    assert any("11.1 MiB" in one for one in text)  # the content of 100,000 records


def test_every_plot_lies_within_its_picture(measured: Results) -> None:
    """Text may only begin inside; the page lets nothing be cut off at the right."""
    for picture in re.findall(r'<svg viewBox="0 0 360.*?</svg>', report(measured)):
        root = ElementTree.fromstring(picture)
        height = float(root.attrib["viewBox"].split()[3])
        for shape in root.iter():
            numbers = {
                name: float(shape.attrib[name]) for name in ("x", "y", "width", "cx") if name in shape.attrib
            }
            assert 0 <= numbers.get("x", 0) + numbers.get("width", 0) <= WIDTH
            assert 0 <= numbers.get("y", 0) <= height
            coordinates = [float(one) for one in re.findall(r"-?[\d.]+", shape.attrib.get("d", ""))]
            assert all(-height <= one <= WIDTH for one in coordinates)


def test_a_stall_is_a_gap(measured: Results) -> None:
    for turn in measured.turns:
        turn.samples[1].series[4:6] = [0, 0]
    page = report(measured)
    (strip,) = re.findall(
        r'<path class="fill s0" d="(M122 [^"]*)"><title>lmdb', page.split('id="ycsb-a-1000-1"')[1]
    )[:1]
    heights = re.findall(r"V([\d.]+)h", strip)
    assert [height == heights[4] for height in heights] == [number in (4, 5) for number in range(9)]


@pytest.mark.parametrize("left_out", ["growth", "disk", "left", "memory", "written"])
def test_what_there_is_nothing_of_has_no_section(measured: Results, left_out: str) -> None:
    if left_out == "growth":
        measured.turns = [turn for turn in measured.turns if turn.keys == 1_000]
    measured.left = [] if left_out == "left" else measured.left
    for turn in measured.turns:
        if left_out == "disk":
            turn.loaded = turn.used = turn.compacted = None
        for sample in turn.samples:
            sample.memory = None if left_out == "memory" else sample.memory
            sample.written = None if left_out == "written" else sample.written
    page = Page(report(measured))
    assert left_out not in page.ids
    named = {"memory": "Most private memory", "written": "ytes written for each byte of the writes"}
    for what, plot in named.items():
        is_there = [plot in title for title in page.plots["ycsb-a-1000-1"]]
        assert any(is_there) == (left_out != what)
    grown = [title for title in page.plots.get("growth", []) if title[0].isupper()]
    assert len(grown) == {"growth": 0, "left": 3}.get(left_out, 2)


def test_operations_longer_than_an_interval_have_no_speed_over_time(measured: Results) -> None:
    for turn in measured.turns:
        for one in turn.samples:
            one.operations, one.series = 1, [0] * 117 + [1]  # one restore: all of it in the last interval
    assert "≤" not in report(measured)


def test_a_page_of_a_run_in_which_nothing_worked_says_so(measured: Results) -> None:
    measured.turns = []
    assert Page(report(measured)).ids == ["machine", "left"]


def test_scales() -> None:
    assert [nines(percent) for percent in (0, 90, 99)] == pytest.approx([0, 1, 2])
    axis = log_axis("µs", [0.0, 0.5, 1_500.0])
    assert [text for _, text in axis.ticks] == ["0.1", "1", "10", "100", "1 k", "10 k"]
    assert log_axis("µs", []).least == 1
    assert bars("Nothing", []).startswith("<figure>")


def test_ratios_are_a_picture_of_their_own_with_marks_of_what_is_wanted() -> None:
    """On a logarithmic scale, in which each factor of ten is as long; what is not finite is at the end."""
    rows = [
        Bar("a & b", 0, 10.0, "10.0", 8.0, 12.0, wanted=1.0),
        Bar("slow", 1, 0.1, "0.100", wanted=0.9),
        Bar("endless", 0, math.inf, "inf", 1.0, math.inf),
    ]
    picture = ElementTree.fromstring(ratios("times the reference", rows))
    svg = "{http://www.w3.org/2000/svg}"
    widths = [float(one.attrib["width"]) for one in picture.iter(f"{svg}rect") if "x" in one.attrib]
    marks = [one.attrib["d"] for one in picture.iter(f"{svg}path") if one.attrib["class"] == "wanted"]
    left, end = 430.0, 740.0
    assert widths == pytest.approx([(end - left) * 2 / 3, 1.0, end - left], abs=0.1)
    assert marks[0].startswith(f"M{left + (end - left) / 3:.1f} ")
    assert len(marks) == 2
    texts = [one.text for one in picture.iter(f"{svg}text")]
    assert {"0.1", "1", "10", "100", "a & b", "inf", "times the reference"} <= set(texts)


def test_a_long_name_is_cut_and_whole_in_the_title() -> None:
    picture = bars("Speed", [Bar("a-backend-of-a-long-name", 0, 1.0, "1")])
    assert ">a-backend-of-a-l…</text>" in picture
    assert "<title>a-backend-of-a-long-name: 1</title>" in picture
