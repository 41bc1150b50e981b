"""What the options of every engine have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from statestore.errors import ConfigError


class EngineOptions(BaseModel):
    """Base of an engine's options: a frozen model, complete with defaults.

    Raises :class:`~statestore.errors.ConfigError`, which names every wrong option. The docstring under each
    option describes it: ``statestore config template`` prints it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a secret
    )

    def __init__(self, **given: Any) -> None:
        if faults := self.faults(given):
            raise ConfigError([f"{type(self).__name__}.{option}: {fault}" for option, fault in faults])
        super().__init__(**given)

    @classmethod
    def faults(cls, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the name of each option in ``given`` that is wrong, and what is wrong with it."""
        try:
            BaseModel.__init__(cls.__new__(cls), **given)
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            return [
                (
                    ".".join(map(str, fault["loc"])),
                    f"no such option; known here: {known}"
                    if fault["type"] == "extra_forbidden"
                    else fault["msg"].removeprefix("Value error, "),
                )
                for fault in error.errors(include_input=False, include_url=False)
            ]
        return []
