"""Values in messages: bounded, without secrets, and never an exception of their own."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.runtime.text import MOST_CHARACTERS, bounded_repr, typed_repr


class Raises:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Text(str):
    __slots__ = ()


Listless: Any = type("list", (), {})  # reprlib goes by the name of the type and asks for a list's length


@dataclasses.dataclass
class Large:
    text: str


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        ("a", "'a'"),
        (b"a\0", r"b'a\x00'"),
        (10**38, str(10**38)),
        (10**5000, "<int of 16610 bits>"),
        ((1, 10**5000), "(1, <int of 16610 bits>)"),
        ({"a": [1, (2, 3)]}, "{'a': [1, (2, 3)]}"),
        (Text("x"), "'x'"),
        (Listless(), "<no repr: it raised>"),
        ("\ud800", r"'\ud800'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_texts(value: Any, text: str) -> None:
    assert bounded_repr(value) == text


def test_a_repr_that_raises_is_told_as_such() -> None:
    assert "Raises" in bounded_repr(Raises())
    assert "Raises" in bounded_repr([Raises()])


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, [["y" * 500] * 100] * 100, Large("z" * 10**6), {"k" * 999: "v" * 999}],
    ids=lambda value: type(value).__name__,
)
def test_long_ones_are_cut_in_the_middle(value: Any) -> None:
    text, whole = bounded_repr(value), repr(value)
    assert len(text) <= MOST_CHARACTERS
    assert "..." in text
    assert (text[:2], text[-1]) == (whole[:2], whole[-1])


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary() | st.floats() | st.builds(Raises),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    ),
    st.integers(0, 300),
)
def test_never_longer_than_asked(value: Any, most: int) -> None:
    assert len(bounded_repr(value, most)) <= most


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_secrets_of_mappings_are_hidden(kind: Any) -> None:
    shown = bounded_repr({"client": kind({"sasl.password": "hunter2", "client.id": "me"})})
    assert "hunter2" not in shown
    assert "'sasl.password': '***'" in shown
    assert "'client.id': 'me'" in shown


def test_the_type_is_told_where_the_repr_does_not() -> None:
    assert typed_repr("3") == "'3'"
    assert typed_repr(True) == "True"
    assert typed_repr(Text("3")) == "'3' (Text)"
    assert typed_repr(Large("x")) == "Large(text='x')"
