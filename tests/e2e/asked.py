"""What reached the target because a client wanted it."""

from foreman.testing import Entry, StubOllama

LOOKS = ("/api/version", "/api/tags", "/api/ps")


def asked(stub: StubOllama) -> list[Entry]:
    """All requests but foreman's own looks at the target, which come when they come; oldest first."""
    return [entry for entry in stub.ledger.entries if entry.path not in LOOKS]
