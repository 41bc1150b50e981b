"""The test vectors of docs/key-format.md: the format of keys on disk and in topics must never change."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from statestore.errors import DecodeError

DOCUMENT = Path(__file__).parents[3] / "docs" / "key-format.md"
NAMES = {"UTC": UTC, "UUID": UUID, "date": date, "datetime": datetime}


def rows(first_cells: str) -> list[list[str]]:
    """The rows, as their three cells without back quotes, of the table that begins with ``first_cells``."""
    table = DOCUMENT.read_text().split(first_cells)[1].split("\n\n")[0]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


VECTORS = rows("| types | values | key |")
REFUSED = rows("| types | key | because |")


def test_the_document_has_vectors_of_every_type() -> None:
    assert {kind for kinds, _, _ in VECTORS for kind in re.findall(r"\w+", kinds)} == {
        "int", "str", "bytes", "uuid", "datetime", "date"
    }  # fmt: skip
    assert len(VECTORS) >= 30
    assert len(REFUSED) >= 11


@pytest.mark.parametrize(("kinds", "text", "key"), VECTORS)
def test_vector(core: ModuleType, kinds: str, text: str, key: str) -> None:
    codec = core.KeyCodec(kinds.split(", "))
    values: tuple[Any, ...] = eval(text, dict(NAMES))
    data = b"" if key == "(empty)" else bytes.fromhex(key)
    assert codec.encode(values) == data
    assert codec.decode(data) == values


@pytest.mark.parametrize(("kinds", "key", "why"), REFUSED)
def test_refused(core: ModuleType, kinds: str, key: str, why: str) -> None:
    with pytest.raises(DecodeError):
        core.KeyCodec(kinds.split(", ")).decode(bytes.fromhex(key))
