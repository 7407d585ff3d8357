"""The gate over HTTP, on a machine that is as a test says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from foreman.core.gate import Admit, Candidate, Hold, Kind, Readings, Refuse, Thresholds, judge
from foreman.engine import machine
from foreman.testing import StubOllama
from foreman.web.machine import sentence
from tests.engine.fake_machine import GB, FakeMachine
from tests.engine.running import PATIENCE
from tests.web.conftest import Front, Fronts

BUSY = {"load": 12.0}
QWEN = {"model": "qwen3:8b", "prompt": "why", "stream": False}
CHAT = {"model": "qwen3:8b", "messages": [{"role": "user", "content": "why"}]}


@pytest.fixture
def fake() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
async def front(fronts: Fronts, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """llama3 is loaded, and each look at the machine is a new one."""
    monkeypatch.setattr(machine, "FRESH_SECONDS", 0.0)
    async with fronts(fake, gate="on", disk_reserve=30 * GB, hold_seconds=0.0, heartbeat_seconds=0.01) as front:
        async with front.http.post("/api/generate", json={**QWEN, "model": "llama3"}) as answer:
            assert b'"done":true' in await answer.read()
        yield front


async def get(front: Front, path: str) -> Any:
    async with front.http.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def handed(front: Front, body: dict[str, Any] = QWEN, **more: Any) -> str:
    async with front.http.post("/jobs", json={"path": "/api/generate", "body": body, **more}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["id"])


async def shown(front: Front, job: str, state: str = "", reason: str = "") -> Any:
    """A job, as soon as it has this state and this reason."""
    async with asyncio.timeout(PATIENCE):
        while True:
            view = await get(front, f"/jobs/{job}")
            if view["state"] == state or (reason and view["reason"] == reason):
                return view


def calm(front: Front, fake: FakeMachine) -> None:
    """The machine has room again, and the worker looks at once."""
    fake.becomes(load=0.0, available=80 * GB)
    front.engine.jobs.local.wake.set()


async def test_a_held_job_says_why_wherever_it_is_shown(front: Front, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    job = await handed(front)
    view = await shown(front, job, reason="held")
    assert (view["hold"]["cause"], view["hold"]["needed"], view["hold"]["there"]) == ("load", 0.33, 1.0)
    assert (await get(front, "/queue"))["lanes"]["local"]["waits_for"] == "held"
    assert view["hold"]["text"] == "qwen3:8b waits for the load to fall: 1.00 for each core, at most 0.33 is allowed"
    assert view["hold"]["since"] < view["hold"]["next_look"]
    assert view["expected_start"] is None
    (waiting,) = (await get(front, "/queue"))["waiting"]
    assert (waiting["id"], waiting["reason"]) == (job, "held")
    seen = await get(front, "/machine")
    assert [(hold["load_key"], hold["cause"]) for hold in seen["held"]] == [("qwen3:8b", "load")]
    calm(front, fake)
    view = await shown(front, job, "done")
    assert (view["reason"], view["hold"], view["override"]) == (None, None, None)
    assert (await get(front, "/machine"))["held"] == []


async def test_followers_hear_of_a_hold_and_of_its_end(front: Front, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    async with front.http.get("/events") as answer:
        await answer.content.readuntil(b"\n\n")
        job = await handed(front)
        causes: list[str | None] = []
        async with asyncio.timeout(PATIENCE):
            while not causes or causes[-1] != "ended":
                frame = (await answer.content.readuntil(b"\n\n")).decode()
                if "event: job" not in frame:
                    continue
                event = orjson.loads(frame.partition("data: ")[2])
                if event["id"] != job:
                    continue
                causes.append(event["hold"] and event["hold"]["cause"])
                if causes == [None, "load"]:
                    calm(front, fake)
                if event["state"] == "done":
                    causes.append("ended")
    assert causes[:3] == [None, "load", None]
    assert "load" not in causes[2:]


async def test_who_waits_on_a_stream_is_told_in_the_heartbeats(front: Front, fake: FakeMachine) -> None:
    fake.becomes(available=5 * GB)
    async with front.http.post("/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
        assert answer.status == 200
        async with asyncio.timeout(PATIENCE):
            while b"reason=held" not in (line := await answer.content.readuntil(b"\n\n")):
                assert line.startswith(b":")
        assert line.startswith(b": foreman job=")
        assert b" state=queued model=qwen3:8b position=1 reason=held hold=memory: qwen3:8b needs " in line
        assert b" GB would be free" in line
        calm(front, fake)
        rest = await answer.read()
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/api/generate", QWEN, lambda told: told["error"]),
        ("/v1/chat/completions", CHAT, lambda told: told["error"]["message"]),
        (
            "/v1/messages",
            {**CHAT, "max_tokens": 9},
            lambda told: (told["type"] == "error") and told["error"]["message"],
        ),
    ],
)
async def test_what_never_fits_is_an_error_of_its_api_with_the_numbers(
    fronts: Fronts, fake: FakeMachine, path: str, body: dict[str, Any], told: Any
) -> None:
    fake.becomes(total=8 * GB, available=8 * GB)
    async with fronts(fake, gate="on") as front, front.http.post(path, json=body) as answer:
        assert (answer.status, answer.headers["X-Foreman-Error"]) == (507, "never_fits")
        assert answer.headers["X-Should-Retry"] == "false"
        assert "Retry-After" not in answer.headers
        expected = "qwen3:8b needs at least 5.2 GB of memory, and this machine has 8 GB, of which 4 GB are kept free"
        assert told(await answer.json()) == expected
        job = answer.headers["X-Foreman-Job"]
        view = await shown(front, job, "failed")
        assert view["error"] == {"code": "never_fits", "message": expected}
        async with front.http.get(f"/jobs/{job}/response") as response:
            assert (response.status, response.content_type) == (507, "application/problem+json")
        async with front.http.post(f"/jobs/{job}/retry", headers={"X-Foreman-Override": "gate"}) as retried:
            again = await retried.json()
        assert (again["override"], again["retry_of"]) == ("gate", job)
        await shown(front, again["id"], "done")


async def test_a_request_overrides_the_gate_by_a_header(front: Front, fake: FakeMachine, stub: StubOllama) -> None:
    fake.becomes(**BUSY)
    async with front.http.post("/api/generate", json=QWEN, headers={"X-Foreman-Override": "gate"}) as answer:
        assert b'"done":true' in await answer.read()
        job = answer.headers["X-Foreman-Job"]
    assert (await shown(front, job, "done"))["override"] == "gate"
    assert all("x-foreman-override" not in {name.lower() for name, _ in e.headers} for e in stub.ledger.entries)


async def test_a_job_overrides_the_gate_by_a_field(front: Front, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    held = await handed(front)
    await shown(front, held, reason="held")
    assert (await shown(front, await handed(front, override="gate"), "done"))["override"] == "gate"
    await shown(front, held, "done")  # its model is loaded now


@pytest.mark.parametrize("value", ["Gate", "", "all", "gate,gate"])
async def test_there_is_nothing_else_to_override(front: Front, value: str) -> None:
    async with front.http.post("/api/generate", json=QWEN, headers={"X-Foreman-Override": value}) as answer:
        assert answer.status == 400
        assert "X-Foreman-Override must be gate" in (await answer.json())["error"]
    job = {"path": "/api/generate", "body": QWEN, "override": value}
    async with front.http.post("/jobs", json=[job]) as answer:
        assert answer.status == 400
        assert (await answer.json())["detail"].startswith("[0].override must be gate")


async def test_the_machine_is_told_in_figures_and_in_a_sentence(front: Front, fake: FakeMachine) -> None:
    seen = await get(front, "/machine")
    assert seen["gate"] == {"setting": "on", "on": True}
    assert seen["readings"]["memory_available"] == 80 * GB
    assert seen["readings"]["load_per_core"] == round(1 / 12, 3)
    assert seen["thresholds"]["disk_reserve"] == 30 * GB
    assert [runner["model"] for runner in seen["resident"]] == ["llama3:latest"]
    assert (seen["next"], seen["held"], seen["unknown"]) == (None, [], [])
    fake.becomes(available=5 * GB)
    job = await handed(front)
    await shown(front, job, reason="held")
    seen = await get(front, "/machine")
    assert seen["next"] == {
        "job": job,
        "load_key": "qwen3:8b",
        "verdict": "hold",
        "needed": 6_542_177_280,
        "basis": "5.2 GB for its file, 0.8 GB to run, 0.5 GB for a context of 4096 tokens",
        "there": 5_700_000_000,  # 4.7 GB come back, 4 stay free
        "text": "next: qwen3:8b needs 6.5 GB, 5.7 GB would be free beside the 4 GB that are kept free: holds",
    }
    calm(front, fake)
    await shown(front, job, "done")


async def test_a_gate_that_is_off_tells_what_it_would_say(fronts: Fronts, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    async with fronts(fake) as front:
        await front.engine.pause(True)
        await handed(front)
        seen = await get(front, "/machine")
        assert seen["gate"] == {"setting": "off", "on": False}
        assert seen["next"]["verdict"] == "hold"
        assert seen["held"] == []
        await front.engine.pause(False)


async def test_past_loads_are_told_with_what_was_expected(front: Front) -> None:
    await shown(front, await handed(front), "done")
    async with asyncio.timeout(PATIENCE):
        while len(loads := (await get(front, "/machine/forecasts"))["forecasts"]) < 2:
            pass
    newest, first = loads
    assert (newest["load_key"], newest["basis"], newest["size"]) == ("qwen3:8b", "estimate", 5_200_000_000)
    assert newest["expected"] == 6_542_177_280
    assert (first["load_key"], first["context_length"]) == ("llama3:latest", 4096)


async def test_the_machine_is_asked_for_only_by_get(front: Front) -> None:
    async with front.http.post("/machine", json={}) as answer:
        assert answer.status == 405
    async with front.http.get("/machine/else") as answer:
        assert answer.status == 404
    assert isinstance(front.http, aiohttp.ClientSession)


async def test_the_head_of_each_lane_is_told_with_what_runs_and_waits(front: Front, fake: FakeMachine) -> None:
    async with asyncio.timeout(PATIENCE):
        while (seen := await get(front, "/machine"))["lanes"]["local"]["running"]:
            pass
    assert {name: (lane["queued"], lane["running"], lane["next"]) for name, lane in seen["lanes"].items()} == {
        "local": (0, [], None),
        "remote": (0, [], None),
    }
    await front.engine.pause(True)
    far = await handed(front, {**QWEN, "model": "gpt-oss:cloud"})
    async with front.http.post("/slots", json={"lane": "local", "label": "sweep", "memory": "90GB"}) as asked:
        slot = asked.headers["X-Foreman-Job"]
        await handed(front)
        await handed(front)
        seen = await get(front, "/machine")
        here, there = seen["lanes"]["local"], seen["lanes"]["remote"]
        assert (here["queued"], here["waits_for"], here["next"]["job"], here["next"]["verdict"]) == (
            3, "paused", slot, "hold",
        )  # fmt: skip
        assert here["next"]["text"] == (
            "next: sweep needs 90 GB, 76 GB would be free beside the 4 GB that are kept free: holds"
        )
        assert seen["next"] == here["next"]
        assert (there["queued"], there["next"]["job"]) == (1, far)
        assert there["next"]["text"] == "next: gpt-oss:latest-cloud needs no load: may start"
        async with front.http.delete(f"/slots/{slot}") as left:
            assert left.status == 200
    assert (await get(front, "/machine"))["lanes"]["local"]["next"]["text"] == (
        "next: qwen3:8b needs 6.5 GB, 80.7 GB would be free: may start"
    )
    await front.engine.pause(False)


async def test_a_slot_that_runs_is_told_in_its_lane(front: Front) -> None:
    async with front.http.post("/slots", json={"lane": "local", "label": "sweep"}) as asked:
        slot = (await asked.json())["id"]
    (running,) = (await get(front, "/machine"))["lanes"]["local"]["running"]
    assert (running["id"], running["label"]) == (slot, "sweep")
    async with front.http.delete(f"/slots/{slot}") as left:
        assert left.status == 200


async def test_a_slot_that_needs_more_than_there_is_is_refused_with_the_numbers(
    front: Front, fake: FakeMachine
) -> None:
    fake.becomes(**BUSY)
    asked = {"lane": "local", "label": "sweep", "memory": "93GB"}
    async with front.http.post("/slots", json=asked) as answer:
        assert (answer.status, answer.headers["X-Foreman-Error"]) == (507, "never_fits")
        assert answer.content_type == "application/problem+json"
        expected = "sweep needs at least 93 GB of memory, and this machine has 96 GB, of which 4 GB are kept free"
        assert (await answer.json())["detail"] == expected
    (job,) = (await get(front, "/jobs?limit=1"))["jobs"]
    assert (job["label"], job["state"], job["error"]["code"]) == ("sweep", "failed", "never_fits")
    for headers, more in (({}, {"override": "gate"}), ({"X-Foreman-Override": "gate"}, {})):
        async with front.http.post("/slots", json={**asked, **more}, headers=headers) as answer:
            slot = (await answer.json())["id"]
        assert (await get(front, f"/jobs/{slot}"))["override"] == "gate"
        async with front.http.delete(f"/slots/{slot}") as left:
            assert left.status == 200
    async with front.http.post("/slots", json={**asked, "lane": "remote"}) as answer:
        slot = (await answer.json())["id"]
    async with front.http.delete(f"/slots/{slot}") as left:
        assert left.status == 200


async def test_a_slot_that_is_held_says_why_and_white_space_keeps_its_client(front: Front, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    async with front.http.post("/slots", json={"lane": "local", "label": "sweep"}) as answer:
        slot = answer.headers["X-Foreman-Job"]
        view = await shown(front, slot, reason="held")
        assert view["hold"]["text"].startswith("sweep waits for the load to fall: 1.00 for each core")
        assert (await get(front, "/queue"))["lanes"]["local"]["waits_for"] == "held"
        async with asyncio.timeout(PATIENCE):
            assert await answer.content.readexactly(3) == b"   "
        calm(front, fake)
        assert (await answer.json(loads=lambda text: orjson.loads(text)))["id"] == slot
    async with front.http.delete(f"/slots/{slot}") as left:
        assert left.status == 200


LIMITS = Thresholds()
NEVER = (
    "next: llama3:70b needs at least 40 GB of memory, and this machine has 32 GB, of which 4 GB are kept free: refused"
)
LOAD = Candidate(Kind.LOAD, "llama3:70b", memory=43 * GB, least=40 * GB)


@pytest.mark.parametrize(
    ("readings", "there", "text"),
    [
        (
            Readings(available=64 * GB, total=96 * GB),
            60 * GB,
            "next: llama3:70b needs 43 GB, 60 GB would be free: may start",
        ),
        (Readings(), None, "next: llama3:70b needs 43 GB, the free memory is not known: may start"),
        (
            Readings(available=42 * GB),
            38 * GB,
            "next: llama3:70b needs 43 GB, 38 GB would be free beside the 4 GB that are kept free: holds",
        ),
        (
            Readings(total=32 * GB),
            None,
            NEVER,
        ),
    ],
)
def test_a_forecast_is_one_plain_sentence(readings: Readings, there: int | None, text: str) -> None:
    verdict = judge(LOAD, readings, LIMITS)
    assert isinstance(verdict, Admit | Hold | Refuse)
    assert sentence(LOAD, verdict, there) == text


def test_a_pull_is_told_without_memory() -> None:
    assert sentence(Candidate(Kind.PULL, "pull phi4:14b"), Admit(), 38 * GB) == "next: pull phi4:14b: may start"


def test_a_command_that_says_nothing_of_its_memory_is_told_without() -> None:
    assert sentence(Candidate(Kind.COMMAND, "sweep"), Admit(), 38 * GB) == "next: sweep: may start"
    told = sentence(Candidate(Kind.COMMAND, "sweep", memory=9 * GB), Admit(), 38 * GB)
    assert told == "next: sweep needs 9 GB, 38 GB would be free: may start"
