"""The samples of docs/backends.md: the whole example, the suite's own test, and a package that works."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from statestore import ConfigError, Key, StoreManager, entity
from statestore.settings.template import template
from statestore.testing import TestDriver

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "examples" / "sqlite_backend.py").read_text(encoding="utf-8")


def samples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_is_the_whole_example() -> None:
    *steps, _ = samples("py")  # the last one is of sharing
    assert "\n\n".join(steps) == EXAMPLE


def test_the_example_is_as_short_as_the_page_says() -> None:
    lines = len(EXAMPLE.splitlines())
    assert lines <= 150
    assert f"{lines} lines" in PAGE


def test_the_test_is_the_projects_own() -> None:
    own = (ROOT / "tests" / "contract" / "conformance" / "test_example.py").read_text(encoding="utf-8")
    missing = [line for line in samples("python")[0].splitlines() if line not in own.splitlines()]
    assert missing == []


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What installing the package of the page leaves behind, in a directory that is looked through."""
    package = tomllib.loads(samples("toml")[0])
    name, version = package["project"]["name"], package["project"]["version"]
    assert package["tool"]["setuptools"]["py-modules"] == ["sqlite_backend"]
    metadata = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in package["project"]["entry-points"].items()
        for line in (f"[{group}]", *(f"{point} = {place}" for point, place in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.mark.usefixtures("installed")
def test_a_manager_finds_the_package_by_its_name(tmp_path: Path) -> None:
    settings = {"backends": {"sqlite": {"cache_kib": 512}}}
    for number in range(2):
        with StoreManager(tmp_path / "state", backend="sqlite", settings=settings) as stores:
            kv = stores.open("sessions")
            assert kv.count() == number
            kv.put(b"%d" % number, b"")
    assert len(list((tmp_path / "state").rglob("data.db"))) == 1
    with pytest.raises(
        ConfigError, match=r"backends\.sqlite\.cache_mib: no such option; known here: cache_kib"
    ):
        StoreManager(
            tmp_path / "state", backend="sqlite", settings={"backends": {"sqlite": {"cache_mib": 1}}}
        )


@pytest.mark.usefixtures("installed")
def test_the_template_of_settings_has_its_options() -> None:
    assert "KiB of pages that each connection keeps in memory." in template()


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    amount: int


@pytest.mark.usefixtures("installed")
def test_a_table_has_its_rows_there_and_follows_its_topic() -> None:
    with TestDriver(entities=[Order], backend="sqlite") as driver:
        driver.add(Order(1, 30))
        driver.restart(kill=True)
        driver.add(Order(2, 12))
        driver.delete(Order, 1)
        assert driver.table(Order).to_list() == [Order(2, 12)]
