"""Jobs that meet faults at the target."""

from pathlib import Path

from foreman.testing import Script, StubOllama
from foreman.testing.ledger import Entry
from tests.e2e.client import Got, chat, post
from tests.e2e.process import Foreman
from tests.e2e.stored import Stored, job_of

CHAT, V1 = "/api/chat", "/v1/chat/completions"
QUICK: dict[str, object] = {
    "retry_base_seconds": 0.01,
    "retry_cap_seconds": 0.02,
    "probe_seconds": 0.05,
    "idle_timeout_seconds": 0.3,
    "max_attempts": 3,
}


def about(stub: StubOllama, asked: str) -> list[Entry]:
    """The requests of a question that reached the target."""
    return [entry for entry in stub.ledger.entries if asked.encode() in entry.body]


async def failing(stub: StubOllama, foreman: Foreman, db: Path, script: Script, asked: str) -> tuple[Got, Stored]:
    """A chat that meets `script` at every attempt."""
    stub.script(CHAT, script)
    got = await post(foreman.url, *chat("llama3", asked))
    await foreman.settled(got.job)
    return got, job_of(db, asked)
