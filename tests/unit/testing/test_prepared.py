"""What brokers begin with is made once, whole or not at all, and each broker has ids of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from statestore.testing.kafka.prepared import CLASSES, DATA, copy_data, prepared


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "kafka.jar").touch()
    return folder


def fill(folder: Path) -> None:
    (folder / CLASSES).touch()
    (folder / DATA).mkdir()
    (folder / DATA / "meta.properties").write_text("version=1\ncluster.id=a\ndirectory.id=b\n")


def never(folder: Path) -> None:
    raise AssertionError(f"{folder} is made again")


def test_it_is_made_once_for_the_same_jars(jars: Path) -> None:
    made = prepared("java", jars, fill)
    assert prepared("java", jars, never) == made
    (jars / "other.jar").touch()
    assert prepared("java", jars, fill) != made


def test_one_that_fails_leaves_nothing(jars: Path) -> None:
    with pytest.raises(AssertionError, match="made again"):
        prepared("java", jars, never)
    assert (prepared("java", jars, fill) / CLASSES).exists()
    assert len(list(jars.parent.iterdir())) == 3  # the jars, what was made, and the lock


def test_each_copy_has_ids_of_its_own(jars: Path, tmp_path: Path) -> None:
    folder = prepared("java", jars, fill)
    texts = []
    for name in ("one", "two"):
        copy_data(folder, tmp_path / name)
        texts.append((tmp_path / name / "meta.properties").read_text().splitlines())
    assert texts[0][0] == texts[1][0] == "version=1"
    assert len({*texts[0], *texts[1]}) == 5
    assert all(len(line.partition("=")[2]) == 22 for line in texts[0][1:])
