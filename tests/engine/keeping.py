"""Kept connections for tests."""

from foreman.engine.target import Target
from foreman.engine.wire import Wire


def wire_of(target: Target) -> Wire:
    """The one connection there is."""
    (wire,) = target._wires._open
    return wire
