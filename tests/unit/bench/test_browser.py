"""The page in a real browser, Chromium without a window: narrow and wide, light and dark."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from statestore.bench.report import COLOURS, report
from statestore.bench.results import Results

pytestmark = [pytest.mark.browser, pytest.mark.slow(seconds=4)]

PLOTS = """figures => figures.map(one => {
    const picture = one.querySelector("svg").getBoundingClientRect();
    const texts = [...one.querySelectorAll("text")].map(text => text.getBoundingClientRect());
    return {
        name: one.querySelector("figcaption").textContent, left: picture.left, top: picture.top,
        width: picture.width, height: picture.height, shapes: one.querySelectorAll("path, rect").length,
        least: Math.min(...texts.map(text => text.height)),
        from: Math.min(...texts.map(text => text.left)), to: Math.max(...texts.map(text => text.right)),
    };
})"""
"""What a browser makes of each plot, in pixels."""

COLOURS_OF = """() => {
    const of = (element, property) => getComputedStyle(element)[property];
    return {
        card: of(document.querySelector("section"), "backgroundColor"),
        text: of(document.querySelector("svg text"), "fill"),
        series: [...document.querySelectorAll("#machine .line")].map(one => of(one, "stroke")),
    };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium in PATH")
    with sync_playwright() as driver:
        # As root, as in a container, its sandbox does not start; the page is our own.
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


def opened(
    browser: Browser, path: Path, width: int, scheme: Literal["light", "dark"], said: list[str]
) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)

    def hear(message: ConsoleMessage) -> None:
        said.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("width", [400, 1_600])
def test_every_plot_is_there_and_can_be_read(
    browser: Browser, measured: Results, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report(measured), encoding="utf-8")
    said: list[str] = []
    page = opened(browser, path, width, "light", said)
    plots: list[dict[str, Any]] = page.locator("figure").evaluate_all(PLOTS)
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert said == []
    assert wide <= width  # nothing to scroll aside
    assert len(plots) == 5 + 4 * 5 + 1
    for plot in plots:
        assert plot["width"] >= 280, plot
        assert plot["height"] >= 60, plot
        assert plot["shapes"] >= 2, plot
        assert plot["least"] >= 10, plot  # pixels of the smallest text
        assert plot["from"] >= 0, plot
        assert plot["to"] <= width, plot
    beside = {plot["left"] for plot in plots}
    assert len(beside) == 1 if width == 400 else len(beside) >= 4


def test_light_and_dark_have_contrast(browser: Browser, measured: Results, tmp_path: Path) -> None:
    while len(measured.candidates) < COLOURS:
        measured.candidates.append(measured.candidates[0])
    path = tmp_path / "report.html"
    path.write_text(report(measured), encoding="utf-8")
    cards = set()
    said: list[str] = []
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page = opened(browser, path, 800, scheme, said)
        colours = page.evaluate(COLOURS_OF)
        page.close()
        assert said == []
        cards.add(colours["card"])
        assert contrast(colours["text"], colours["card"]) >= 7
        # What WCAG asks of graphics, for each colour that a plot uses.
        assert all(contrast(colour, colours["card"]) >= 3 for colour in colours["series"])
    assert len(cards) == 2


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
