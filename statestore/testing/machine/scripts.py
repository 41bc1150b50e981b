"""Python scripts of what a test has done, line by line, with the imports that they need."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

INDENT = "    "
TITLE = "# This script fails in the same way:"


class Script:
    """Lines of Python that are run as they are added, in a block: ``opening`` is ``with … as driver:``.

    What raises has the text of the script in a note, so that the traceback of a test shows it.
    """

    def __init__(self) -> None:
        self.opening = ""
        self.names: dict[str, Any] = {}
        """What the lines can use."""
        self._imports: dict[str, set[str]] = {}
        self._remarks: list[str] = []
        self._lines: list[str] = []
        self._indent = INDENT

    # What is run

    def run(self, line: str) -> None:
        """Add a line, and run it."""
        with self._added(line):
            exec(line, self.names)

    def value(self, expression: str) -> Any:
        """Add an expression as a line, and return its value."""
        with self._added(expression):
            return eval(expression, self.names)

    @contextmanager
    def block(self, expression: str, name: str) -> Iterator[None]:
        """Add what begins a block, ``with expression as name:``, and run the lines of the block within it."""
        with self._added(f"with {expression} as {name}:"), eval(expression, self.names) as entered:
            self.names[name] = entered
            self._indent += INDENT
            yield
            self._indent = self._indent.removesuffix(INDENT)

    @contextmanager
    def _added(self, line: str) -> Iterator[None]:
        self._lines.append(self._indent + line)
        try:
            yield
        except Exception as error:
            if not any(note.startswith(TITLE) for note in getattr(error, "__notes__", ())):
                error.add_note(self.text())
            raise

    def found(self, line: str) -> None:
        """Let ``line`` stand for the last one: what was found there, as an assertion."""
        self._lines[-1] = self._indent + line

    def fail(self, line: str, message: str) -> NoReturn:
        """Raise ``AssertionError`` with the script, whose last line is now ``line``."""
        self.found(line)
        error = AssertionError(message)
        error.add_note(self.text())
        raise error

    def text(self) -> str:
        """Return the whole script."""
        imports = [
            f"from {module} import {', '.join(sorted(names))}"
            for module, names in sorted(self._imports.items())
        ]
        return "\n".join([TITLE, *self._remarks, *imports, "", self.opening, *self._lines])

    # What is written in it

    def name(self, subject: Any, otherwise: str = "") -> str:
        """Return the name of a class or function in the script, imported from where it is.

        Where it cannot be imported, it is called ``otherwise``, and a remark says where it is from.
        """
        wanted = getattr(subject, "__name__", otherwise)
        module = getattr(subject, "__module__", None) or ""
        can_be_imported = getattr(sys.modules.get(module), wanted, None) is subject and module != "__main__"
        name = wanted if wanted.isidentifier() else otherwise
        while self.names.get(name, subject) is not subject:
            name += "_"
        if name in self.names:
            return name
        self.names[name] = subject
        if can_be_imported:
            self._imports.setdefault(module, set()).add(name if name == wanted else f"{wanted} as {name}")
        else:
            self._remarks.append(f"# {name}: {_place_of(subject, module)}")
        return name

    def source(self, value: Any, otherwise: str = "value") -> str:
        """Return an expression of ``value``: of fields of entities, entities, and lists and dicts of them.

        What has none is called ``otherwise``.
        """
        if is_dataclass(value) and not isinstance(value, type):
            given = [one.name for one in fields(value) if one.init]
            arguments = ", ".join(f"{name}={self.source(getattr(value, name))}" for name in given)
            return f"{self.name(type(value))}({arguments})"
        if isinstance(value, datetime):
            parts = [value.year, value.month, value.day, value.hour, value.minute, value.second]
            parts += [value.microsecond] if value.microsecond else []
            zone = self.imported("datetime", "UTC", UTC)
            return f"{self.name(datetime)}({', '.join(map(str, parts))}, tzinfo={zone})"
        if isinstance(value, date):
            return f"{self.name(date)}({value.year}, {value.month}, {value.day})"
        if isinstance(value, Decimal | UUID):
            return f"{self.name(type(value))}({str(value)!r})"
        if isinstance(value, list):
            return f"[{', '.join(map(self.source, value))}]"
        if isinstance(value, tuple):
            return f"({', '.join(map(self.source, value))}{',' if len(value) == 1 else ''})"
        if isinstance(value, Mapping):
            pairs = (f"{self.source(key)}: {self.source(one)}" for key, one in value.items())
            return f"{{{', '.join(pairs)}}}"
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return repr(value)
        return self.name(value, otherwise)

    def imported(self, module: str, name: str, value: Any) -> str:
        """Return ``name``, with which ``module`` exports ``value``."""
        self.names[name] = value
        self._imports.setdefault(module, set()).add(name)
        return name


def _place_of(subject: Any, module: str) -> str:
    code = getattr(subject, "__code__", None)
    if code is not None:
        return f"as in {Path(code.co_filename).name}, line {code.co_firstlineno}"
    file = getattr(sys.modules.get(module), "__file__", None)
    return f"as in {Path(file).name}" if file else "as in your test"
