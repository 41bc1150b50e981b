"""The levels of the library's loggers."""

from __future__ import annotations

import logging

from statestore.settings.sections import LoggingSettings


def set_log_levels(settings: LoggingSettings) -> None:
    """Set the levels in ``settings``, for the whole process and so for all its managers."""
    for name, level in settings:
        if level is not None:
            logging.getLogger("statestore" if name == "level" else f"statestore.{name}").setLevel(level)
