"""docs/files.md has the namespaces that keys of stores have."""

from __future__ import annotations

import re
from pathlib import Path

from statestore.storage import layout

DOCUMENT = (Path(__file__).parents[3] / "docs" / "files.md").read_text(encoding="utf-8")


def test_the_table_of_namespaces_is_that_of_the_layout() -> None:
    table = re.findall(r"^\| `0x(..)` \| (.*) \|$", DOCUMENT, re.MULTILINE)
    assert {bytes.fromhex(byte): what for byte, what in table} == layout.NAMESPACES
    constants = [value for name, value in vars(layout).items() if not name.startswith("_")]
    assert {value[:1] for value in constants if isinstance(value, bytes)} == set(layout.NAMESPACES)
