"""What all brokers of one Java and one Kafka begin with, made once: ten seconds, and 50 MB beside the jars.

To format a data directory takes a JVM of its own, and the JVM of a broker reads and verifies thousands of
classes. Together that is more than half of what a broker costs until it serves.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from statestore.testing.kafka.maven import locked

DATA = "data"
"""The folder of a formatted data directory."""
CLASSES = "classes.jsa"
"""The archive of loaded classes; it is not there where the JVM makes none."""


def prepared(java: str, jars: Path, fill: Callable[[Path], None]) -> Path:
    """Return the folder of both, which ``fill`` makes in an empty one. Safe in several processes at once."""
    made_of = [
        os.path.realpath(java),
        str(jars),
        *sorted(f"{jar.name} {jar.stat().st_mtime_ns}" for jar in jars.iterdir()),
    ]
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]
    folder = jars.with_name(f"{jars.name}-prepared-{digest}")
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as work:
                made = Path(work, "made")
                made.mkdir()
                fill(made)
                made.rename(folder)
    return folder


def copy_data(folder: Path, data: Path) -> None:
    """Make ``data`` a formatted data directory, with ids of its own."""
    shutil.copytree(folder / DATA, data)
    properties = data / "meta.properties"
    text = properties.read_text()
    properties.write_text(
        re.sub(r"(?m)^(cluster|directory)\.id=.*$", lambda found: f"{found[1]}.id={new_id()}", text)
    )


def new_id() -> str:
    """Return a random id as Kafka writes them.

    Its leading zero byte keeps it from beginning with ``-``, which the format tool takes for an option.
    """
    return base64.urlsafe_b64encode(b"\0" + os.urandom(15)).decode().rstrip("=")
