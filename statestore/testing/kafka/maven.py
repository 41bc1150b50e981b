"""The jars of Apache Kafka and the Java to run them, for brokers in tests.

Maven resolves the jars once; afterwards neither Maven nor the network is needed. The cache appears by one
rename, so a folder that is there is complete, and a lock file beside it lets one process of several fill it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

KAFKA_VERSION = "4.3.1"
JARS_VARIABLE = "STATESTORE_KAFKA_JARS"

_JAVA_VERSION = 17
_RESOLVE_SECONDS = 300
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>statestore</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = """\
    <dependency>
      <groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
    </dependency>"""
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


class BrokerUnavailableError(RuntimeError):
    """No broker can be run here: Java, Maven or the jars are missing. The message says which."""


def find_java() -> str:
    """Return the path of a ``java`` of version 17 or newer, from ``JAVA_HOME`` or else from ``PATH``.

    Raises ``BrokerUnavailableError`` where there is none.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        place = f"JAVA_HOME ({home})" if home else "PATH"
        raise BrokerUnavailableError(f"Java {_JAVA_VERSION} or newer is missing: no java in {place}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    if found is None or int(found[1]) < _JAVA_VERSION:
        text = answer.stderr.strip().partition("\n")[0] or f"exit status {answer.returncode}"
        raise BrokerUnavailableError(f"Java {_JAVA_VERSION} or newer is missing: {java} is {text}")
    return java


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars, filling it with Maven (some seconds, 45 MB) where it is missing.

    The folder is the one named by ``STATESTORE_KAFKA_JARS``, or ``~/.cache/statestore/kafka-<version>``.
    Raises ``BrokerUnavailableError`` where Maven is missing or fails, or the folder holds something else.
    Safe to call from several processes at once.
    """
    folder = Path(os.environ.get(JARS_VARIABLE) or _cache(f"kafka-{KAFKA_VERSION}")).absolute()
    remedy = f"delete it, or name another folder in {JARS_VARIABLE}"
    return _filled(folder, "kafka_2.13", f"Kafka {KAFKA_VERSION}", remedy)


def streams_jars() -> Path:
    """Return the folder of the jars of Kafka Streams, ``~/.cache/statestore/kafka-streams-<version>``.

    It is filled and fails as :func:`kafka_jars` does.
    """
    folder = _cache(f"kafka-streams-{KAFKA_VERSION}")
    return _filled(folder, "kafka-streams", f"Kafka Streams {KAFKA_VERSION}", "delete it")


def _cache(name: str) -> Path:
    return Path("~/.cache/statestore").expanduser() / name


def _filled(folder: Path, artifact: str, what: str, remedy: str) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.exists():
            _resolve(folder, (f"org.apache.kafka:{artifact}:{KAFKA_VERSION}", _LOGGING))
    if not (folder / f"{artifact}-{KAFKA_VERSION}.jar").is_file():
        raise BrokerUnavailableError(f"{folder} holds no {what}: {remedy}")
    return folder


def _resolve(folder: Path, artifacts: Sequence[str]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailableError(
            f"Maven is missing: no mvn in PATH to fetch Kafka {KAFKA_VERSION} into {folder}"
        )
    dependencies = "\n".join(_DEPENDENCY.format(*artifact.split(":")) for artifact in artifacts)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as work:
        pom = Path(work, "pom.xml")
        pom.write_text(_POM.format(dependencies=dependencies))
        jars = Path(work, "jars")
        command = [maven, "-q", "-B", "-f", str(pom), _COPY_DEPENDENCIES, f"-DoutputDirectory={jars}"]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=_RESOLVE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerUnavailableError(
                f"Maven did not fetch Kafka {KAFKA_VERSION} within {_RESOLVE_SECONDS} s"
            ) from error
        if run.returncode != 0:
            output = (run.stdout + run.stderr).strip()[-2000:]
            raise BrokerUnavailableError(f"Maven cannot fetch Kafka {KAFKA_VERSION}:\n{output}")
        jars.rename(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
