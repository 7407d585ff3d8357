"""What once took a machine down, all at once: five pairs that must never be, at the real foreman, one test each.

Each shows that the pair never comes about, that who had to wait could read why, and that both were done in the end.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import Script, StubModel, StubOllama, StubRemote
from tests.e2e.own import GENERATE, call, handed, prompt
from tests.e2e.process import PATIENCE, Foreman
from tests.e2e.puppet import Puppet, serving_on
from tests.e2e.test_remotes import settings_file
from tests.e2e.test_run import ended, started
from tests.engine.fake_machine import GB
from tests.polling import until

CHAT, PULL = "/v1/chat/completions", "/api/pull"
LARGE, OTHER = "llama3.1:70b", "qwen2.5:72b"
MODELS = ("llama3", StubModel.parse(f"{LARGE}=40000000000"), StubModel.parse(f"{OTHER}=47000000000"))
# A command that writes when it begins, waits until it may end, and writes when it does: its argument is a folder.
COMMAND = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "began").write_text(str(time.time()))
while not (folder / "end").exists():
    time.sleep(0.02)
(folder / "ended").write_text(str(time.time()))
"""

Span = tuple[float, float]


@dataclass
class Post:
    """A foreman in front of a target and a remote API, on a machine of the test."""

    stub: StubOllama
    remote: StubRemote
    foreman: Foreman
    machine: Puppet
    home: Path
    _commands: list[Path] = field(default_factory=list)

    async def far(self, text: str) -> str:
        return await handed(self.foreman, {"model": "far/m", "messages": [{"role": "user", "content": text}]}, CHAT)

    async def fleet(self, size: int) -> list[str]:
        """So many agents that wait for the remote API."""
        jobs = [await self.far(f"agent {n}") for n in range(size)]
        await self.remote.wait_for(lambda: self.remote.under_way() == size, PATIENCE)
        return jobs

    async def command(self, lane: str, name: str, *words: str) -> "Command":
        folder = self.home / name
        folder.mkdir()
        line = (lane, "--label", name, *words, "--", sys.executable, "-c", COMMAND, str(folder))
        return Command(folder, await started(self.foreman.url, self.home, *line))

    async def waiting(self, name: str) -> dict[str, Any] | None:
        """The job of this model or label in /queue, if it waits there."""
        _, queue, _ = await call(self.foreman, "GET", "/queue")
        found = [job for job in queue["waiting"] if name in (job["label"], job["model"], job["id"])]
        return found[0] if found else None

    async def waits(self, name: str, reason: str) -> dict[str, Any]:
        """A job that waits for this reason, as soon as it does."""
        async with asyncio.timeout(PATIENCE):
            while (job := await self.waiting(name)) is None or job["reason"] != reason:
                pass
        return job

    async def done(self, *jobs: str) -> None:
        await self.foreman.settled(*jobs)
        for job in jobs:
            assert (await call(self.foreman, "GET", f"/jobs/{job}"))[1]["state"] == "done"

    def remote_spans(self) -> list[Span]:
        return [(one.at, one.ended_at) for one in self.remote.calls if one.ended_at is not None]

    def local_spans(self) -> list[Span]:
        """All that made the target work: loads, inference, pulls."""
        heavy = [entry for path in (GENERATE, PULL) for entry in self.stub.ledger.on(path)]
        return [(entry.at, entry.ended_at) for entry in heavy if entry.ended_at is not None]


class Command:
    """A real `foreman run` and the child of it."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process

    @property
    def began(self) -> bool:
        return (self.folder / "began").exists()

    async def runs(self) -> None:
        await until(lambda: self.began)

    async def ends(self) -> None:
        """It may end, and does."""
        (self.folder / "end").touch()
        assert (await ended(self.process))[0] == 0

    @property
    def span(self) -> Span:
        return float((self.folder / "began").read_text()), float((self.folder / "ended").read_text())


def overlaps(ones: Iterable[Span], others: Iterable[Span]) -> list[tuple[Span, Span]]:
    others = list(others)
    return [(one, other) for one in ones for other in others if one[0] < other[1] and other[0] < one[1]]


@asynccontextmanager
async def posted(tmp_path: Path, **settings: object) -> AsyncIterator[Post]:
    async with AsyncExitStack() as stack:
        stub = await stack.enter_async_context(StubOllama(MODELS))
        remote = await stack.enter_async_context(StubRemote("sk-canary-0123456789abcdef"))
        machine = Puppet(tmp_path / "machine.json")
        config = settings_file(tmp_path, remote)
        foreman = await stack.enter_async_context(
            serving_on(machine, stub.url, tmp_path / "foreman.db", config=config, **settings)
        )
        yield Post(stub, remote, foreman, machine, tmp_path)


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    async with posted(tmp_path) as post:
        yield post


async def test_local_heavy_work_beside_an_active_remote_fleet(post: Post) -> None:
    post.remote.open.clear()
    fleet = await post.fleet(3)
    sweep = await post.command("--local", "sweep", "--memory", "20GB")
    await post.waits("sweep", "remote_lane")
    pull = await handed(post.foreman, {"model": "phi4:14b"}, PULL)
    load = await handed(post.foreman, prompt("local"))
    late = await post.far("late")
    # These wait for the one before them, and that for the fleet.
    assert (await post.waits(pull, "pull"))["position"] == 2
    assert (await post.waits(load, "swap"))["position"] == 3
    assert (await post.waits(late, "local_lane"))["lane"] == "remote"
    _, queue, _ = await call(post.foreman, "GET", "/queue")
    assert [queue["lanes"][lane]["waits_for"] for lane in ("local", "remote")] == ["remote_lane", "local_lane"]
    assert (sweep.began, post.local_spans(), post.remote.under_way()) == (False, [], 3)
    post.remote.open.set()
    await sweep.runs()
    assert (await post.waits(late, "local_lane"))["lane"] == "remote"
    assert (post.remote.under_way(), len(post.remote.calls)) == (0, 3)
    await sweep.ends()
    await post.done(*fleet, pull, load, late)
    assert len(post.remote_spans()) == 4
    assert overlaps([sweep.span, *post.local_spans()], post.remote_spans()) == []
    assert overlaps([sweep.span], post.local_spans()) == []


async def test_a_large_load_while_the_fleet_runs(post: Post) -> None:
    post.remote.open.clear()
    fleet = await post.fleet(5)
    large = await handed(post.foreman, prompt("large", LARGE))
    await post.waits(LARGE, "remote_lane")
    # What the fleet started elsewhere on the machine is there still when its calls are over.
    post.machine.becomes(available=38 * GB, load=8.0)
    assert post.stub.ledger.loads == []
    post.remote.open.set()
    hold = (await post.waits(LARGE, "held"))["hold"]
    assert (hold["cause"], hold["there"]) == ("memory", 34 * GB)
    assert hold["text"].startswith(f"{LARGE} needs ")
    post.machine.becomes(available=80 * GB)
    async with asyncio.timeout(PATIENCE):
        while (hold := (await post.waits(LARGE, "held"))["hold"])["cause"] != "load":
            pass
    assert hold["text"] == f"{LARGE} waits for the load to fall: 0.67 for each core, at most 0.33 is allowed"
    others = await post.far("goes past what is held")
    await post.done(*fleet, others)
    assert post.stub.ledger.loads == []
    post.machine.becomes(load=1.0)
    await post.done(large)
    assert [load.name for load in post.stub.ledger.loads] == [LARGE]
    assert overlaps(post.local_spans(), post.remote_spans()) == []


async def test_a_load_beside_a_pull(post: Post) -> None:
    post.stub.script(PULL, [Script(hold=1)])
    pull = await handed(post.foreman, {"model": "phi4:14b"}, PULL)
    await post.stub.ledger.held()
    load = await handed(post.foreman, prompt("beside"))
    assert (await post.waits(load, "swap"))["position"] == 1
    _, queue, _ = await call(post.foreman, "GET", "/queue")
    assert queue["lanes"]["local"]["waits_for"] == "slot"
    assert post.stub.ledger.loads == []
    # Somebody else's pull begins before foreman's own has ended.
    post.machine.becomes(foreign=["ollama pull llama3:70b"])
    post.stub.release(PULL)
    await post.done(pull)
    hold = (await post.waits(load, "held"))["hold"]
    assert hold["text"] == "llama3:latest waits for other programs: ollama pull llama3:70b"
    assert post.stub.ledger.loads == []
    post.machine.becomes(foreign=[])
    await post.done(load)
    (pulled,) = [(entry.at, entry.ended_at or 0.0) for entry in post.stub.ledger.on(PULL)]
    loads = [(entry.at, entry.ended_at or 0.0) for entry in post.stub.ledger.on(GENERATE)]
    assert len(loads) == 2  # the load, and the job
    assert overlaps([pulled], loads) == []


async def test_two_large_models_together(post: Post) -> None:
    post.stub.script(GENERATE, [Script(), Script(hold=0)])  # the load, and the job
    first = await handed(post.foreman, prompt("first", LARGE, options={"num_ctx": 4096}))
    await post.stub.ledger.held()
    second = await handed(post.foreman, prompt("second", OTHER, options={"num_ctx": 4096}))
    assert (await post.waits(OTHER, "swap"))["position"] == 1
    post.machine.becomes(available=10 * GB)  # of 96: 40 are the first's, and 46 another program's
    post.stub.release(GENERATE)
    await post.done(first)
    hold = (await post.waits(OTHER, "held"))["hold"]
    # The first one's go before it comes, and 4 GB stay free.
    assert (hold["cause"], hold["there"]) == ("memory", 46 * GB)
    assert post.stub.ledger.unloads == []
    _, seen, _ = await call(post.foreman, "GET", "/machine")
    assert seen["next"]["text"].endswith(", 46 GB would be free beside the 4 GB that are kept free: holds")
    post.machine.becomes(available=56 * GB)  # the other program has ended
    await post.done(second)
    assert (post.stub.ledger.unloads, [load.name for load in post.stub.ledger.loads]) == ([LARGE], [LARGE, OTHER])
    unload, *after = [entry.at for entry in post.stub.ledger.on(GENERATE) if unloads(entry.body)] + [
        entry.at for entry in post.stub.ledger.on(GENERATE) if entry.model == OTHER
    ]
    assert all(unload < at for at in after)


def unloads(body: bytes) -> bool:
    return bool(body) and orjson.loads(body).get("keep_alive") == 0


async def test_more_than_the_bound_of_remote_calls(tmp_path: Path) -> None:
    async with posted(tmp_path, remote_slots=5) as post:
        post.remote.open.clear()
        fleet = await post.fleet(3)
        agents = [await post.command("--remote", f"agent {n}") for n in range(2)]
        for agent in agents:
            await agent.runs()
        more = [await post.far(f"more {n}") for n in range(4)]
        third = await post.command("--remote", "agent 2")
        for number, name in enumerate((*more, "agent 2"), 1):
            waiting = await post.waits(name, "slot")
            assert waiting["position"] == number
        _, queue, _ = await call(post.foreman, "GET", "/queue")
        lane = queue["lanes"]["remote"]
        assert (lane["slots"], len(lane["running"]), lane["waits_for"]) == (5, 5, "slot")
        assert (post.remote.under_way(), third.began) == (3, False)
        await agents[0].ends()
        await post.remote.wait_for(lambda: post.remote.under_way() == 4, PATIENCE)
        post.remote.open.set()
        await third.runs()
        await agents[1].ends()
        await third.ends()
        await post.done(*fleet, *more)
        spans = [*post.remote_spans(), *(agent.span for agent in (*agents, third))]
        assert len(spans) == 10
        assert max(sum(one[0] <= at < one[1] for one in spans) for at, _ in spans) <= 5
        assert post.remote.most <= 5
