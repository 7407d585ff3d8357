"""What a stub's own record says of local and remote work: how much there was at once, and what was mixed."""

from collections.abc import Sequence
from itertools import accumulate

import orjson

from foreman.testing import StubModel, StubOllama
from foreman.testing.ledger import Entry

PATHS = ("/api/chat", "/api/generate", "/v1/chat/completions")
# One whose name says that it runs elsewhere, and one of which only the target says so.
CLOUD = "gpt-oss:120b-cloud"
HOSTED = StubModel(name="hosted", remote_host="https://ollama.com:443")
REMOTE = (CLOUD, "hosted")


def is_remote(entry: Entry) -> bool:
    return entry.model in REMOTE


def at_work(stub: StubOllama) -> list[Entry]:
    """Every request that works the target or what is behind it: jobs, and loads of models."""
    return [entry for entry in stub.ledger.entries if entry.path in PATHS and not _unloads(entry)]


def _unloads(entry: Entry) -> bool:
    return bool(entry.body) and orjson.loads(entry.body).get("keep_alive") == 0


def remote(stub: StubOllama) -> list[Entry]:
    return [entry for entry in at_work(stub) if is_remote(entry)]


def local(stub: StubOllama) -> list[Entry]:
    return [entry for entry in at_work(stub) if not is_remote(entry)]


def most(entries: Sequence[Entry]) -> int:
    """How many there were at once, at most."""
    moments = [(entry.at, 1) for entry in entries] + [(entry.ended_at or entry.at, -1) for entry in entries]
    return max(accumulate(change for _, change in sorted(moments)), default=0)


def mixed(stub: StubOllama) -> list[tuple[Entry, Entry]]:
    """What was local and remote at the same time."""
    return [(one, other) for one in local(stub) for other in remote(stub) if _together(one, other)]


def _together(one: Entry, other: Entry) -> bool:
    return one.at < (other.ended_at or other.at) and other.at < (one.ended_at or one.at)
