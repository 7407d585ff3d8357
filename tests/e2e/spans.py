"""Work as spans of time, whoever recorded it, and what may not have been at once where the lanes take turns.

Times are unix seconds of one clock: the stubs, and those who hold slots, must live in the process of the test.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from foreman.testing import StubOllama, StubRemote
from tests.mixing import at_work, is_remote

PULL = "/api/pull"


@dataclass(frozen=True)
class Span:
    """From when to when there was work in a lane (`local` or `remote`), and what it was, in words."""

    lane: str
    began: float
    ended: float
    what: str


def of_target(stub: StubOllama) -> list[Span]:
    """Inference, loads and pulls."""
    return [
        Span("remote" if is_remote(entry) else "local", entry.at, entry.ended_at or entry.at, _named(entry.body))
        for entry in [*at_work(stub), *stub.ledger.on(PULL)]
    ]


def of_remote(remote: StubRemote) -> list[Span]:
    return [Span("remote", call.at, call.ended_at or call.at, _named(call.body)) for call in remote.calls]


def _named(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def together(spans: Sequence[Span], slots: int) -> Iterable[str]:
    """What was at once and must not be: local work beside any other, and more remote work than there are slots."""
    under_way: list[Span] = []
    for span in sorted(spans, key=lambda span: span.began):
        under_way = [other for other in under_way if other.ended > span.began]
        for other in under_way:
            if "local" in (span.lane, other.lane):
                yield f"{other.lane} {other.what} and {span.lane} {span.what} were at once"
        under_way.append(span)
        remote = sum(other.lane == "remote" for other in under_way)
        if remote > slots:
            yield f"{remote} remote ones at once, with {slots} slots: {span.what} was too many"
