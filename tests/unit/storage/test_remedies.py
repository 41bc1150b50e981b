"""What errors say to do can be done, and helps."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from statestore import (
    ConfigError,
    Settings,
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreManager,
    StoreUnavailableError,
)
from statestore.settings import make_options

ROOT = Path(__file__).parents[3]


def constants(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
            yield "{}".join(map(str, parts))


@cache
def texts() -> list[str]:
    """Return all texts of the library, those that are written in several pieces as one."""
    files = [file for folder in ("statestore", "backends") for file in sorted((ROOT / folder).rglob("*.py"))]
    return [text for file in files for text in constants(file.read_text(encoding="utf-8"))]


def test_every_option_of_a_backend_that_an_error_names_is_one() -> None:
    named = [
        (backend, option)
        for text in texts()
        for options, backend in re.findall(r"(\w+(?:(?:, | or )\w+)*) under \[backends\.(\w+)\]", text)
        for option in re.split(r", | or ", options)
    ]
    assert {backend for backend, _ in named} == {"rocksdb", "lmdb", "memory"}
    for backend, option in named:
        assert hasattr(make_options(backend, {}), option), (backend, option)


def test_every_extra_that_an_error_names_is_one() -> None:
    project: Any = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {extra for text in texts() for extra in re.findall(r"statestore\[(\w+)\]", text)}
    assert {"arrow", "avro"} <= named <= project["project"]["optional-dependencies"].keys()


SHORT = """
import resource, sys
from pathlib import Path
from statestore import StoreManager, StoreUnavailableError

with StoreManager(sys.argv[1], backend="lmdb") as stores:
    with stores.open("rows").batch() as batch:
        for number in range(16):
            batch.put(b"%d" % number, bytes(4 << 20))
with StoreManager(sys.argv[1], backend="lmdb") as stores:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (32 << 20), hard))
    try:
        stores.open("rows")
    except StoreUnavailableError as error:
        assert error.remedy.startswith("raise `ulimit -v`"), error
    else:
        sys.exit("there was room")
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    assert len(stores.open("rows")) == 16
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing bounds the address space")
def test_where_a_file_cannot_be_mapped_the_limit_helps(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", SHORT, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("file", ["manifest.json", "rows/store.json"])
def test_a_newer_format_is_left_to_the_version_that_wrote_it(file: str, tmp_path: Path) -> None:
    with StoreManager(tmp_path) as stores:
        stores.open("rows").put(b"a", b"1")
    path = tmp_path / file
    written = path.read_text(encoding="utf-8")
    path.write_text(json.dumps({**json.loads(written), "format": 99}), encoding="utf-8")
    with pytest.raises(StoreFormatError, match="format 99") as told, StoreManager(tmp_path) as stores:
        stores.open("rows", on_missing="empty")
    assert told.value.remedy == "use the version that wrote it, or a newer one"
    assert path.exists()
    path.write_text(written, encoding="utf-8")  # as the newer version has it
    with StoreManager(tmp_path) as stores:
        assert stores.open("rows").get(b"a") == b"1"


def test_max_bytes_of_the_memory_backend_can_be_raised_or_rows_deleted(tmp_path: Path) -> None:
    def manager(most: int) -> StoreManager:
        return StoreManager(
            tmp_path, backend="memory", settings=Settings(backends={"memory": {"max_bytes": most}})
        )

    with manager(1000) as stores:
        rows = stores.open("rows")
        rows.put(b"a", bytes(900))
        with pytest.raises(StoreFullError, match=r"raise max_bytes under .*, or delete something"):
            rows.put(b"b", bytes(900))
        rows.delete(b"a")
        rows.put(b"b", bytes(900))
    with manager(2000) as stores:
        rows = stores.open("rows")
        rows.update({b"a": bytes(900), b"b": bytes(900)})


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_a_file_in_the_place_of_a_directory_is_moved_away(backend: str, tmp_path: Path) -> None:
    with StoreManager(tmp_path, backend=backend) as stores:
        (tmp_path / "rows").write_text("a note")
        with pytest.raises(StoreUnavailableError) as told:
            stores.open("rows")
        assert told.value.remedy == "a file is where a directory should be: move it away"
        (tmp_path / "rows").rename(tmp_path / "note")
        stores.open("rows").put(b"a", b"1")


def test_a_directory_in_the_place_of_a_file_is_moved_away(tmp_path: Path) -> None:
    with StoreManager(tmp_path) as stores:
        stores.open("rows").close()
        file = tmp_path / "rows" / "store.json"
        file.rename(tmp_path / "kept")
        file.mkdir()
        with pytest.raises(StoreUnavailableError) as told:
            stores.open("rows")
        assert told.value.remedy == "a directory is where a file should be: move it away"
        file.rename(tmp_path / "rows" / "away")
        (tmp_path / "kept").rename(file)
        stores.open("rows").put(b"a", b"1")


FEW = """
import os, resource, sys
from statestore import StoreManager, StoreUnavailableError

with StoreManager(sys.argv[1]) as stores:
    stores.open("rows").put(b"a", b"1")
with StoreManager(sys.argv[1]) as stores:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))), hard))
    try:
        stores.open("rows")
    except StoreUnavailableError as error:
        assert "ulimit -n" in error.remedy, error
    else:
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64  # it was raised
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert stores.open("rows").get(b"a") == b"1"
"""


def test_where_no_file_can_be_opened_the_limit_helps(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", FEW, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("backend", "file"),
    [
        ("rocksdb", "rows/g000001/IDENTITY"),
        ("rocksdb", "rows/g000001/rocksdict-config.json"),
        ("lmdb", "rows/g000001/000001/lock.mdb"),
        ("memory", "LOCK"),
    ],
)
def test_a_directory_in_the_place_of_an_engines_file_is_moved_away(
    backend: str, file: str, tmp_path: Path
) -> None:
    with StoreManager(tmp_path, backend=backend) as stores:
        stores.open("rows").put(b"a", b"1")
    place = tmp_path / file
    place.unlink(missing_ok=True)
    place.mkdir()

    def count() -> int:
        with StoreManager(tmp_path, backend=backend) as stores:
            return len(stores.open("rows"))

    with pytest.raises(StoreUnavailableError) as told:
        count()
    assert told.value.remedy == "a directory is where a file should be: move it away"
    place.rename(tmp_path / ".away")
    assert count() == (backend != "memory")


@pytest.mark.parametrize("backend", ["memory", "rocksdb", "lmdb"])
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", r"'' is empty: give a path, '\.' for the working directory"),
        ("a\0b", r"'a\\x00b' has a zero byte"),
        ("a\udcff", r"'a\\udcff' has bytes that are not UTF-8.*rename the directory"),
    ],
)
def test_a_path_that_no_data_directory_has_is_refused_before_anything_is_created(
    path: str, says: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        StoreManager(path, backend=backend)
    assert list(tmp_path.iterdir()) == []
    StoreManager(".", backend=backend).close()
    assert (tmp_path / "manifest.json").exists()


def test_a_description_that_no_parser_can_read_is_damage(tmp_path: Path) -> None:
    with StoreManager(tmp_path) as stores:
        stores.open("rows").put(b"a", b"1")
    (tmp_path / "rows" / "store.json").write_text("[" * 100_000)
    with StoreManager(tmp_path) as stores, pytest.raises(StoreCorruptError, match="is not JSON"):
        stores.open("rows")
