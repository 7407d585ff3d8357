"""The ledger of reloads at work: what is paid, by whom and why, and what the order of work saves."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson
import pytest

from foreman.core.inventory import EMPTY
from foreman.core.job import LoadKey, Mode, Payload
from foreman.core.pulls import PullRequest
from foreman.core.reload import Cause, Reason
from foreman.core.residency import Swap
from foreman.core.submission import Submission
from foreman.engine.live import Live, LiveJobs
from foreman.engine.relay import Budget
from foreman.engine.reloads import KEPT, Reloads
from foreman.testing import Script, StubOllama
from tests.engine.clock import HandClock
from tests.engine.running import GENERATE, PATIENCE, Running, ended, running

MODELS = ("a", "b", "nomic-embed-text")


def job(model: str, client: str = "me", **options: int) -> Submission:
    body = orjson.dumps({"model": model, "prompt": "why", "options": options})
    key = LoadKey(f"{model}:latest", tuple(sorted(options.items())))
    return Submission(Payload(GENERATE, (("content-type", "application/json"),), body), key, client, Mode.DETACHED)


async def run(work: Running, *submissions: Submission) -> None:
    """All of them, submitted in one step, to their ends."""
    for live in await work.engine.submit_many(submissions):
        await ended(live)
    await work.rests()


def told(work: Running) -> list[tuple[str, str, Reason]]:
    return [(str(reload.key), reload.client, reload.cause.reason) for reload in work.engine.reloads.kept]


async def test_each_load_is_told_with_its_cause_and_who_wanted_it(tmp_path: Path) -> None:
    async with StubOllama(MODELS) as stub, running(stub, tmp_path / "foreman.db") as work:
        await run(work, job("a"))
        await run(work, job("a"))
        await run(work, job("b", "n8n"))
        await run(work, job("b", "ui", num_ctx=8192))
        await work.engine.target.unload("b:latest", PATIENCE)
        await work.engine.poller.look()
        await run(work, job("b", "ui", num_ctx=8192))
        assert told(work) == [
            ("a:latest", "me", Reason.FIRST),
            ("b:latest", "n8n", Reason.OTHER_MODEL),
            ("b:latest?num_ctx=8192", "ui", Reason.OTHER_OPTIONS),
            ("b:latest?num_ctx=8192", "ui", Reason.EXPIRED),
        ]
        ledger = work.engine.reloads
        assert ledger.kept[1].cause.evicted == ("a:latest",)
        assert ledger.kept[2].cause.options == {"num_ctx": (None, 8192)}
        assert all(reload.loaded and reload.seconds > 0 for reload in ledger.kept)
        assert ledger.paid.total() == 4
        assert ledger.seconds == pytest.approx(sum(reload.seconds for reload in ledger.kept))
        assert [load.name for load in stub.ledger.loads] == ["a:latest", "b:latest", "b:latest", "b:latest"]


async def test_to_pin_what_is_in_memory_costs_nothing(tmp_path: Path) -> None:
    async with StubOllama(MODELS) as stub, running(stub, tmp_path / "foreman.db") as work:
        body = {"model": "a", "prompt": "hi"}
        async with aiohttp.ClientSession() as http, http.post(stub.url + GENERATE, json=body) as answer:
            assert answer.status == 200
        await work.engine.poller.look()
        await run(work, job("a"))
        assert told(work) == []
        assert len(stub.ledger.loads) == 1


async def test_a_load_that_fails_is_told_and_not_counted_as_paid(tmp_path: Path) -> None:
    async with StubOllama(MODELS) as stub, running(stub, tmp_path / "foreman.db", max_attempts=1) as work:
        stub.script("a", [Script(status=500, error="llama runner process has terminated")])
        await run(work, job("a"))
        (reload,) = work.engine.reloads.kept
        assert not reload.loaded
        assert (work.engine.reloads.paid.total(), work.engine.reloads.failed) == (0, 1)


async def test_the_order_of_work_saves_what_arrival_would_have_paid(tmp_path: Path) -> None:
    async with StubOllama(MODELS) as stub, running(stub, tmp_path / "foreman.db") as work:
        await run(work, job("a"))
        await run(work, job("b"), job("a"), job("b"), job("a"), job("b"))
        avoided = work.engine.reloads.avoided
        assert avoided is not None
        # As they came: a b a b a b, which is five changes.
        assert [load.name for load in stub.ledger.loads] == ["a:latest", "b:latest"]
        assert avoided.count == 5 - 1
        first, second = (reload.seconds for reload in work.engine.reloads.kept)
        assert avoided.seconds == pytest.approx(2 * first + 2 * second)


async def test_a_pull_an_unknown_model_and_another_targets_rule_save_nothing(tmp_path: Path) -> None:
    async with StubOllama(MODELS) as stub, running(stub, tmp_path / "foreman.db", swap="target") as work:
        await run(work, job("a"), job("b"), job("a"))
        assert work.engine.reloads.avoided is None
    async with StubOllama(MODELS) as stub, running(stub, tmp_path / "second.db") as work:
        pull = PullRequest("new")
        submission = Submission(Payload("/api/pull", (), pull.body), pull.key, "me", Mode.DETACHED)
        await run(work, job("a"), submission, job("nomic-embed-text"), job("gone"), job("a"))
        avoided = work.engine.reloads.avoided
        assert avoided is not None
        assert avoided.count == 0


def test_the_newest_are_kept_and_all_are_counted() -> None:
    poller: Any = SimpleNamespace(models=EMPTY)
    ledger, live, key = Reloads(poller, Swap.EXCLUSIVE, HandClock()), living(), LoadKey("a:latest")
    for seconds in range(KEPT + 50):
        ledger.pay(live, key, Cause(Reason.FIRST, (), {}), float(seconds), loaded=True)
    assert [reload.seconds for reload in ledger.kept] == [float(seconds) for seconds in range(50, KEPT + 50)]
    assert ledger.paid == {("a:latest", Reason.FIRST): KEPT + 50}
    assert ledger.kept[0].at - ledger.kept[10].at == 10_000


def test_nobody_knows_the_seconds_before_the_first_load() -> None:
    poller: Any = SimpleNamespace(models=EMPTY)
    avoided = Reloads(poller, Swap.EXCLUSIVE, HandClock()).avoided
    assert avoided is not None
    assert (avoided.count, avoided.seconds) == (0, None)


def living() -> Live:
    return Live("id", "a:latest", LoadKey("a:latest"), GENERATE, "me", LiveJobs(Budget(1)).relay(), 0)
