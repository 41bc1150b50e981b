"""``statestore config``: a file with every setting in it, and a check of one."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from statestore.backends import find_engine
from statestore.cli import main
from statestore.settings import Section, Settings, load_settings


@pytest.fixture
def template(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["config", "template"]) == 0
    return capsys.readouterr().out


def uncommented(template: str) -> str:
    """Return the template with every section, and every setting that has a default."""
    return re.sub(r"^#(?=\[|[^ ]+ = )", "", template, flags=re.MULTILINE)


def settings_of(kind: Any) -> Iterator[str]:
    """Give the names of all settings and sections below ``kind``."""
    if get_origin(kind) is Mapping:
        yield from settings_of(get_args(kind)[1])
    elif isinstance(kind, type) and issubclass(kind, Section):
        for name, field in kind.model_fields.items():
            yield name
            yield from settings_of(field.annotation)


def test_the_template_changes_nothing(template: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(template)
    engines: dict[str, Any] = {"lmdb": {}, "memory": {}, "rocksdb": {}}
    assert load_settings(path) == Settings(backends=engines)


def test_what_it_shows_are_the_defaults(template: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(uncommented(template))
    settings = load_settings(path)
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            assert getattr(settings, name) == field.default
    assert settings.kafka == {"bootstrap.servers": "localhost:9092"}
    assert list(settings.tables) == ["Order"]
    assert settings.topics["orders"].config == {"segment.bytes": "1073741824"}
    for engine, options in settings.backends.items():
        kind = find_engine(engine).options_type
        assert kind(**options) == kind()


def test_every_setting_is_in_it_with_a_meaning(template: str) -> None:
    for name in settings_of(Settings):
        setting = re.search(rf"^# .+\n#{name} =", template, re.MULTILINE)
        assert setting or re.search(rf"[\[.]{name}[\].]", template), name
    for line_before in re.findall(r"^(.*)\n#[a-z_]+ =", template, re.MULTILINE):
        assert line_before.startswith("# ")


def test_its_sections_are_those_of_the_settings(template: str) -> None:
    assert set(tomllib.loads(uncommented(template))) == set(Settings.model_fields)


def test_check_prints_what_is_not_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATESTORE_DEFAULTS__MAX_LAG", "8")
    path = tmp_path / "s.toml"
    path.write_text(
        'kafka = "b:1"\n[schema_registry]\npassword = "hunter2"\n[tables.Order]\nbackend = "lmdb"\n'
    )
    assert main(["config", "check", str(path)]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["setting", "value", "from"]
    assert [row.split(maxsplit=2) for row in rows] == [
        ["defaults.max_lag", "8", "environment STATESTORE_DEFAULTS__MAX_LAG"],
        ["kafka.bootstrap.servers", "b:1", f"file {path}"],
        ["schema_registry.password", "***", f"file {path}"],
        ["tables.Order.backend", "lmdb", f"file {path}"],
    ]


def test_check_tells_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        """
        [defaults]
        backend = "rockdb"
        [tables.Order]
        backend = "lmbd"
        [tables.Order.windows."5min"]
        backend = "clay"
        [backends.lmdb]
        map_sise = 1
        [backends.rocksdb]
        bloom_bits = 99
        [backends.memory]
        max_bytes = "hunter2"
        """
    )
    assert main(["config", "check", str(path)]) == 1
    found = capsys.readouterr().err
    for fault in (
        "defaults.backend: backend 'rockdb' is not registered",
        "tables.Order.backend: backend 'lmbd' is not registered",
        "tables.Order.windows.5min.backend: backend 'clay' is not registered",
        "backends.lmdb.map_sise: no such option; known here: map_size, ",
        "backends.rocksdb.bloom_bits: Input should be less than or equal to 64",
        "backends.memory.max_bytes: Input should be a valid integer",
    ):
        assert re.search(rf"file {path}, line \d+: {re.escape(fault)}", found)
