"""``statestore prove``: the conformance suite in a process of its own, and a report of what it proved."""
