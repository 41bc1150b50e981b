"""What mypy says of expressions: the mistakes that it can see, and nothing about what is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SNIPPET = """\
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import assert_type
from uuid import UUID

from statestore import F
from statestore.expressions.expr import Condition, Ref, Value


class Order: ...


def where(condition: Condition) -> None: ...


assert_type(F.amount, Ref)
assert_type(F["amount"], Ref)
assert_type(F[Order].amount, Ref)
assert_type(F.address["count"], Ref)
assert_type(F.amount > 100, Condition)
assert_type(100 < F.amount, Condition)
assert_type(F.a == F.b, Condition)
assert_type((F.a > 1) & ~F.b | (F.c == b"x"), Condition)
assert_type(F.price * F.quantity - 1, Value)
assert_type(2 * F.a, Value)
assert_type(F.id.in_([1, 2]), Condition)
assert_type(F.at.between(datetime(2026, 1, 1, tzinfo=UTC), F.until), Condition)
assert_type(F.a.is_null(), Condition)
where(F.paid)
where((F.a + 1 > Decimal(1)) & (F.day == date(2026, 1, 1)) & (F.token == UUID(int=1)))

where(F.a + 1)  # error: arg-type
F.a > None  # error: operator
F.a > [1]  # error: operator
F.a > 1 & F.b  # error: operator
(F.a > 1) & True  # error: operator
(F.a > 1) + 1  # error: operator
(F.a > 1) > F.b  # error: operator
~(F.a + 1)  # error: operator
F.a.in_(1)  # error: arg-type
F.a.in_([F.b])  # error: list-item
F.a.in_([None])  # error: list-item
F.a.between(1)  # error: call-arg
F.a.city  # error: attr-defined
F.a[1.5]  # error: index
F[1]  # error: call-overload
min(F.a)  # error: call-overload
for _ in F.a: ...  # error: misc
1 in F.a  # error: misc
"""


@pytest.mark.types
def test_mypy_sees_what_it_can(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET, encoding="utf-8")
    cache = ROOT / ".mypy_cache"
    out, err, _ = api.run(
        ["--strict", "--hide-error-context", "--no-pretty", f"--cache-dir={cache}", str(snippet)]
    )
    assert err == ""
    found = {
        (int(line), code)
        for line, code in re.findall(r"snippet\.py:(\d+): error: .*\[([\w-]+)\]$", out, re.MULTILINE)
    }
    wanted = {
        (number, code)
        for number, line in enumerate(SNIPPET.splitlines(), start=1)
        for code in re.findall(r"# error: ([\w-]+)$", line)
    }
    assert found == wanted, out
