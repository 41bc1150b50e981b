"""The conformance suite of backends: a group of tests in a file each, and what they share."""

from __future__ import annotations

from statestore.testing.conformance.machine import backend_machine
from statestore.testing.conformance.sharing import SharingConformance
from statestore.testing.conformance.suite import BackendConformance

__all__ = ["BackendConformance", "SharingConformance", "backend_machine"]
