"""``make bench-docs``: copies the last results into ``docs/performance.md``."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
BETWEEN = re.compile(r"(<!-- results -->\n).*(<!-- end of results -->)", re.DOTALL)


def publish(folder: Path, page: Path) -> None:
    """Replace the text between the page's two marks by the rows in ``folder``, and replace the plot."""
    text = page.read_text()
    if not BETWEEN.search(text):
        raise SystemExit(f"{page} has no marks for the results: <!-- results --> and <!-- end of results -->")
    tables = (folder / "results.md").read_text()
    page.write_text(BETWEEN.sub(lambda found: f"{found[1]}\n{tables}\n{found[2]}", text))
    shutil.copy(folder / "ratios.svg", page.with_name("performance.svg"))


if __name__ == "__main__":
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".benchmarks" / "results"
    if not (results / "results.md").exists():
        raise SystemExit(f"{results} has no results: run make bench first")
    publish(results, PAGE)
