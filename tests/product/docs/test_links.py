"""Links from one document to another lead somewhere, and the files that ARCHITECTURE.md names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_architecture_names_files_that_exist() -> None:
    """A file is named by its path in the project or in ``statestore/``."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/*.]+\.(?:py|pxi|h|md))`", text))
    assert len(named) > 50
    folders = (ROOT, ROOT / "statestore")
    assert sorted(name for name in named if not any([*folder.glob(name)] for folder in folders)) == []
