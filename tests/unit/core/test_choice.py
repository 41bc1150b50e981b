"""Which implementation and which fast paths a process gets, and what it is told when one is missing."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from types import ModuleType

import pytest

import statestore

pytestmark = pytest.mark.slow


# Only core is imported: all of statestore would take three times as long in each of these programs.
CORE_ALONE = f"""
import sys, types
sys.modules["statestore"] = types.ModuleType("statestore")
sys.modules["statestore"].__path__ = {statestore.__path__!r}
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    chosen = ("STATESTORE_PURE_PYTHON", "STATESTORE_WITHOUT")
    clean = {name: text for name, text in os.environ.items() if name not in chosen}
    return subprocess.run(
        [sys.executable, "-P", "-c", CORE_ALONE + code],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


SHOW = "from statestore import core; print(core.IMPLEMENTATION, core.KeyCodec.__module__)"


def test_the_variable_chooses_the_twin() -> None:
    assert run(SHOW, STATESTORE_PURE_PYTHON="1").stdout == "pure statestore.core.pure\n"


@pytest.mark.parametrize("value", [None, "0", ""])
def test_anything_else_is_the_extension(native: ModuleType, value: str | None) -> None:
    environment = {} if value is None else {"STATESTORE_PURE_PYTHON": value}
    assert run(SHOW, **environment).stdout == "native statestore._native\n"


def test_a_missing_extension_is_an_error_with_its_remedy() -> None:
    hidden = "import sys; sys.modules['statestore._native'] = None; import statestore.core"
    failed = run(hidden)
    assert failed.returncode != 0
    message = failed.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: the extension statestore._native is missing or cannot be loaded")
    assert "set STATESTORE_PURE_PYTHON=1" in message
    assert run(hidden, STATESTORE_PURE_PYTHON="1").returncode == 0


USED = "from statestore import core; print(*filter(core.uses, core.FAST_PATHS))"
ALL = "fetcher bulk cache scan decoder program"


@pytest.mark.parametrize(
    ("without", "used"),
    [
        (None, ALL),
        ("", ALL),
        *((name, ALL.replace(name, "").replace("  ", " ").strip()) for name in ALL.split()),
        ("cache, scan", "fetcher bulk decoder program"),
        (",bulk,", "fetcher cache scan decoder program"),
        (ALL.replace(" ", ","), ""),
    ],
)
def test_single_fast_paths_are_turned_off_by_name(without: str | None, used: str) -> None:
    environment = {} if without is None else {"STATESTORE_WITHOUT": without}
    assert run(USED, STATESTORE_PURE_PYTHON="1", **environment).stdout == used + "\n"


def test_an_unknown_fast_path_is_an_error_that_lists_the_known() -> None:
    failed = run(USED, STATESTORE_PURE_PYTHON="1", STATESTORE_WITHOUT="cache,fast,Scan")
    assert failed.returncode != 0
    message = failed.stderr.strip().splitlines()[-1]
    assert message == f"ImportError: STATESTORE_WITHOUT=Scan,fast: choose of {ALL.replace(' ', ', ')}"


@pytest.mark.parametrize(
    "name",
    [
        "KeyCodec",
        "KeyCodec.encode",
        "KeyCodec.encode_prefix",
        "KeyCodec.decode",
        "KeyRange",
        "window_key",
        "split_window_key",
        "fold",
        "WriteRun",
        "WriteRun.write",
        "WriteRun.puts",
        "WriteRun.deletes",
        "WriteRun.feed",
        "RecordCache",
        "PointReads",
        "PointReads.get",
        "PointReads.get_many",
        "Readable",
        "BytesReads",
        "BytesReads.get",
    ],
)
def test_both_implementations_say_the_same_about_themselves(
    native: ModuleType, pure: ModuleType, name: str
) -> None:
    ours: object = native
    twin: object = pure
    for part in name.split("."):
        ours, twin = getattr(ours, part), getattr(twin, part)
    assert inspect.getdoc(ours)
    assert inspect.getdoc(ours) == inspect.getdoc(twin)  # Python 3.13 takes the indentation off one of them
