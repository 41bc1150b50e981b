"""A settings file with every setting in it, made from the models."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from statestore.runtime.plugins import BACKENDS, installed
from statestore.settings.engines import options_type
from statestore.settings.paths import is_nested, is_section
from statestore.settings.sections import Settings

_EXAMPLES = {"kafka": '"bootstrap.servers" = "localhost:9092"', "config": '"segment.bytes" = "1073741824"'}
"""An example for a section whose names are not the library's."""
_NAMES = {"tables": "Order", "windows": '"5min"', "topics": "orders"}
"""An example for a name that the user gives, by section."""

_HEAD = """\
Settings of statestore. A commented-out setting shows its default; one without a value has no default.

Settings in code go before environment variables, these before this file, this file before entity classes.
The environment variable of max_lag in [defaults] is STATESTORE_DEFAULTS__MAX_LAG, and so on."""


def template() -> str:
    """Return a TOML file with every section and setting, each commented out with its default."""
    blocks = ["\n".join(_comment(_HEAD)), *("\n".join(block) for block in _sections(Settings, ""))]
    return "\n\n".join(blocks) + "\n"


def _sections(kind: type[BaseModel], above: str) -> Iterator[list[str]]:
    for name, field in kind.model_fields.items():
        inner: Any = field.annotation
        path, text, mark = f"{above}{name}", field.description or "", ""
        if name == "backends":
            for engine in installed(BACKENDS):
                yield [*_comment(text), f"[{path}.{engine}]", *_settings(options_type(engine))]
            continue
        if get_origin(inner) is Mapping and is_nested(inner := get_args(inner)[1]):
            path, mark = f"{path}.{_NAMES[name]}", "#"  # an example: alone, it would name what is not there
        if is_section(inner):
            yield [*_comment(inner.__doc__), f"{mark}[{path}]", *_settings(inner)]
            yield from _sections(inner, f"{path}.")
        elif name in _EXAMPLES:
            yield [*_comment(text), f"{'#' if above else ''}[{path}]", f"#{_EXAMPLES[name]}"]


def _settings(kind: type[BaseModel]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if not is_nested(field.annotation):
            default = field.get_default(call_default_factory=True)
            yield from _setting(name, default, f"{field.description or ''} {_choices(field.annotation)}")


def _setting(name: str, default: Any, text: str) -> Iterator[str]:
    yield from _comment(text)
    if default is None:
        yield f"#{name} ="
    else:  # of these values TOML is written as JSON is
        yield f"#{name} = {json.dumps(default)}"


def _choices(kind: Any) -> str:
    """Return the choices of a setting, where they are a few words."""
    kinds = (kind, *get_args(kind))
    words = [word for one in kinds if get_origin(one) is Literal for word in get_args(one)]
    return f"One of {', '.join(map(json.dumps, words))}." if words else ""


def _comment(text: str | None) -> list[str]:
    paragraphs = (text or "").replace("``", "").strip().split("\n\n")
    return [f"# {line}" for one in paragraphs for line in textwrap.wrap(" ".join(one.split()), 100)]
