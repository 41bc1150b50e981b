"""What is missing for a broker is named, with what has to be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from statestore.testing.kafka.maven import BrokerUnavailableError, find_java, kafka_jars


def test_java_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(
        BrokerUnavailableError, match=r"Java 17 .* missing: .*bin/java is openjdk version .11"
    ):
        find_java()


def test_missing_maven_is_named_only_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STATESTORE_KAFKA_JARS", str(tmp_path / "jars"))
    with pytest.raises(BrokerUnavailableError, match="Maven is missing"):
        kafka_jars()
    (tmp_path / "jars").mkdir()
    with pytest.raises(BrokerUnavailableError, match=r"jars holds no Kafka 4\.3\.1: delete it"):
        kafka_jars()
    (tmp_path / "jars" / "kafka_2.13-4.3.1.jar").touch()
    assert kafka_jars() == tmp_path / "jars"


def test_failing_maven_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no route to anywhere; exit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    cache = tmp_path / "cache"
    monkeypatch.setenv("STATESTORE_KAFKA_JARS", str(cache / "kafka"))
    with pytest.raises(BrokerUnavailableError, match="no route to anywhere"):
        kafka_jars()
    assert [path.name for path in cache.iterdir()] == ["kafka.lock"]
