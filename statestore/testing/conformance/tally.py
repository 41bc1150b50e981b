"""What the tests of the conformance suite did, beside passing: for the report of ``statestore prove``."""

from __future__ import annotations

from collections import Counter

from statestore.backends.contract import Engine

DONE: Counter[str] = Counter()
"""How much was done of what a report counts: ``kills``, ``sequences`` of calls, files ``damaged``."""

NOT_APPLICABLE: set[str] = set()
"""Why what a test is named after does not apply to the engine, although the test has passed."""


def keeps(engine: Engine) -> bool:
    """Return whether the content outlives a close; where it does not, the test's name promises too much."""
    if not engine.persistent:
        NOT_APPLICABLE.add(
            "the engine keeps nothing (persistent = False); tested is that a reopened store is empty, and "
            "that a checkpoint is refused"
        )
    return engine.persistent
