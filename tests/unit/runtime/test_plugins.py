"""Backends and formats are found by name, ours without the metadata of packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from statestore.backends import find_engine
from statestore.errors import ConfigError
from statestore.runtime import plugins


def test_each_of_ours_is_what_its_name_says() -> None:
    for group, own in plugins.OWN.items():
        for name in own:
            found = plugins.find(group, name)
            assert found is not None
            assert callable(found.load()), name
    assert all(find_engine(name).name == name for name in plugins.OWN[plugins.BACKENDS])


def test_ours_need_no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda **_: EntryPoints(()))
    assert plugins.installed(plugins.BACKENDS) == ["lmdb", "memory", "rocksdb"]
    assert find_engine("lmdb").name == "lmdb"
    with pytest.raises(ConfigError, match="'clay' is not registered; registered: lmdb, memory, rocksdb"):
        find_engine("clay")


def test_those_of_others_come_by_entry_point_and_take_no_name_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = [EntryPoint(name, "json:loads", plugins.BACKENDS) for name in ("clay", "lmdb")]

    def entry_points(**wanted: Any) -> EntryPoints:
        return EntryPoints(foreign).select(**wanted)

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    assert plugins.installed(plugins.BACKENDS) == ["clay", "lmdb", "memory", "rocksdb"]
    clay = plugins.find(plugins.BACKENDS, "clay")
    assert clay is not None
    assert clay.value == "json:loads"
    assert find_engine("lmdb").name == "lmdb"
