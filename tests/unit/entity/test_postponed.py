"""Entities in a module whose annotations are strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pytest

from statestore.entity import Key, entity, model_of
from statestore.errors import ConfigError


@dataclass
class Node:
    children: list[Node]


@dataclass
class Left:
    right: Right | None


@dataclass
class Right:
    left: dict[str, Left]


def test_names_of_the_module_resolve() -> None:
    @entity(topic="t")
    @dataclass
    class Local:
        id: Annotated[int, Key]
        text: str | None

    assert [field.name for field in model_of(Local).key_fields] == ["id"]


def test_names_local_to_a_function_are_an_error_with_the_remedy() -> None:
    @dataclass
    class Part:
        x: int

    @dataclass
    class Local:
        id: Annotated[int, Key]
        part: Part

    with pytest.raises(ConfigError, match=r"'Part' cannot be resolved.*module level.*from __future__ import"):
        entity(Local, topic="t")


def test_a_dataclass_that_contains_itself_is_refused(faults: Callable[..., tuple[str, ...]]) -> None:
    @dataclass
    class Tree:
        id: Annotated[int, Key]
        root: Node
        pair: Left

    found = faults(entity, Tree, topic="t")
    assert ["Node in Node" in found[0], "Left in Right in Left" in found[1], len(found)] == [True, True, 2]
