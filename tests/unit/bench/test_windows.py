"""Stores of windows: a backend's and a plain binding's have the same rows, and give the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from statestore.bench.candidates import Kind, backend
from statestore.bench.content import Content
from statestore.bench.references import REFERENCES, installed_references
from statestore.bench.windows import FETCHED, LEAST_KEYS, SIZE, WINDOWS, WindowGround, fetches, puts
from statestore.bench.workload import Site
from statestore.bench.workloads import WORKLOADS, lacking

ROWS = 3 * WINDOWS * LEAST_KEYS
KINDS = [backend("memory"), *(REFERENCES[name] for name in installed_references())]
KINDS = [one for one in KINDS if "windows" in one.stores and one.abilities.ordered]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Callable[[Kind], WindowGround]]:
    made: list[WindowGround] = []

    def fill(kind: Kind) -> WindowGround:
        site = Site(kind, tmp_path / kind.name, False, Content(16, "10", 1), ROWS)
        made.append(WindowGround(site))
        return made[-1]

    yield fill
    for ground in made:
        ground.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_put_is_fetched_in_the_order_of_the_starts(
    filled: Callable[[Kind], WindowGround], kind: Kind
) -> None:
    """Each candidate gives what the rows say, which are those of all candidates."""
    ground = filled(kind)
    rows = list(islice(puts(ground, Random(1)), ground.keys * 4 + 1))
    for put, arguments in rows:
        put(*arguments)
    written = {(key, start): value for _, (key, start, value) in rows}
    last = max(start for _, start in written)
    for key in {key for key, _ in written}:
        found = ground.store.fetch(key, last - 4 * SIZE, last)
        assert found == sorted((start, value) for (one, start), value in written.items() if one == key)[:4]
    for fetch, arguments in islice(fetches(ground, Random(2)), 50):
        got = fetch(*arguments)
        assert isinstance(got, list)
        starts = [start for start, _ in got]
        assert starts == list(range(arguments[1], arguments[2], SIZE))
        assert len(starts) == FETCHED
    assert ground.given == (ROWS + len(rows)) * (16 + 8 + 10)


def test_a_row_that_is_refused_is_told_at_the_end(tmp_path: Path) -> None:
    ground = WindowGround(Site(backend("memory"), tmp_path, False, Content(16, "10", 1), ROWS))
    key, start, value = ground.row()
    ground.store.put(key, start, value)
    ground.store.put(key, start - WINDOWS * SIZE, value)
    with pytest.raises(RuntimeError, match="1 rows came when their windows had ended: give fewer --threads"):
        ground.close()


def test_a_store_that_has_not_all_rows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statestore.bench.windows.ComposedWindows.write", lambda self, rows: None)
    site = Site(REFERENCES["sqlite3"], tmp_path, False, Content(16, "10", 1), ROWS)
    with pytest.raises(RuntimeError, match="95 windows of a key were written, and 0 are there"):
        WindowGround(site)


def test_a_binding_without_an_order_has_no_windows() -> None:
    for name in ("window-put", "window-fetch"):
        assert lacking(WORKLOADS[name], REFERENCES["dict"].abilities) == "no scans in the order of the keys"
