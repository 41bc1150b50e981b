"""Whether what the server has is what was declared."""

from __future__ import annotations

from collections.abc import Iterator

from statestore.deploy.answers import Description, comparable_type
from statestore.deploy.steps import Step
from statestore.ksql.statements import SourceColumn


def differences(step: Step, found: Description) -> list[str]:
    """Return how the stream or table on the server differs from the declaration, each with a remedy.

    A statement without columns is compared by its kind and topic alone.
    """
    return list(_differences(step, found))


def _differences(step: Step, found: Description) -> Iterator[str]:
    remedy = (
        f"change the declaration to what is there, or remove it (DROP {found.kind} {step.object}) if "
        "nothing needs it, or declare another name (ksql_name=…)"
    )
    kind = step.planned.action.removeprefix("create ").upper()
    if step.planned.creates and found.kind and kind != found.kind:
        yield f"{step.object} is a {found.kind} on the server, but declared as a {kind}: {remedy}"
        return
    if step.topic is not None and found.topic and step.topic != found.topic:
        yield (
            f"{step.object} has topic {found.topic!r} on the server, but {step.topic!r} is declared: {remedy}"
        )
    if step.planned.is_persistent and not found.written_by:
        yield (
            f"{step.object} is on the server, but no query writes to it, as the plan's statement would: "
            f"remove it (DROP {found.kind} {step.object}) and apply again, or declare another name "
            "(ksql_name=…)"
        )
    if not step.planned.columns:
        return
    declared = {one.name: one for one in step.planned.columns}
    there = {one.name: one for one in found.columns}
    for name in (*declared, *(one for one in there if one not in declared)):
        wanted, has = _shown(declared.get(name)), _shown(there.get(name))
        if _comparable(declared.get(name)) != _comparable(there.get(name)):
            yield f"{step.object}: column {name} is {has} on the server, but {wanted} is declared: {remedy}"


def _shown(column: SourceColumn | None) -> str:
    return "missing" if column is None else column.type + (" (key)" if column.is_key else "")


def _comparable(column: SourceColumn | None) -> tuple[str, bool] | None:
    return None if column is None else (comparable_type(column.type), column.is_key)
