"""Workers of ``flask_app``: each opens its manager with the application, and closes it at its end."""

from __future__ import annotations

from typing import Any

bind = "127.0.0.1:8000"
workers = 2
threads = 8
preload_app = False
"""A manager does not survive a fork: with ``True`` each request would raise ``ForkedProcessError``."""


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn counts them
    from flask_app import stores

    stores.close()
