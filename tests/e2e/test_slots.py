"""Slots over HTTP at the real process: asked for, waited for, kept, given back, lost, and found again after kill -9."""

import asyncio
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e.client import post
from tests.e2e.holders import ask, beat, held, release, waits
from tests.e2e.own import GENERATE, call, handed, prompt, state_of
from tests.e2e.process import Foreman, serving
from tests.e2e.test_cli import run

HELD = Script(hold=0)


def asked(stub: StubOllama) -> list[str]:
    """The prompts that reached the target, in order; loads of models have none."""
    return [text for entry in stub.ledger.on(GENERATE) if (text := orjson.loads(entry.body).get("prompt"))]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_is_granted_kept_and_given_back(foreman: Foreman) -> None:
    slot = await (await ask(foreman, label="night?ly 100% ü", memory="40GB")).granted()
    assert slot == {
        "id": slot["id"],
        "lane": "local",
        "label": "night?ly 100% ü",
        "memory": 40 * 10**9,
        "heartbeat_seconds": 10.0,
        "expiry_seconds": 30.0,
    }
    status, told = await beat(foreman, slot["id"])
    assert (status, told) == (200, {"id": slot["id"], "expiry_seconds": 30.0, "cancel_requested": False})
    _, queue, _ = await call(foreman, "GET", "/queue")
    (running,) = queue["lanes"]["local"]["running"]
    shown = [running[name] for name in ("id", "state", "path", "label", "memory")]
    assert shown == [slot["id"], "working", "/slots", "night?ly 100% ü", 40 * 10**9]
    status, job = await release(foreman, slot["id"], {"exit_status": 3})
    assert (status, job["state"], job["error"]) == (200, "done", None)
    _, kept, _ = await call(foreman, "GET", f"/jobs/{slot['id']}/response")
    assert kept == {**slot, "exit_status": 3}
    assert [(await beat(foreman, slot["id"]))[0], (await release(foreman, slot["id"]))[0]] == [409, 409]
    status, problem, _ = await call(foreman, "POST", f"/jobs/{slot['id']}/retry")
    assert (status, "retry" in job["links"]) == (409, False), problem


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "lane must be one of local, remote"),
        ({"lane": "fast"}, "lane must be one of local, remote"),
        ({"lane": ["local"]}, "lane must be one of local, remote"),
        ({"lane": "local", "memory": "lots"}, "memory must be a size such as"),
        ({"lane": "local", "memory": "0"}, "memory must be a size above 0"),
        ({"lane": "local", "memory": -1}, "memory must be a size above 0"),
        ({"lane": "local", "memory": "9000TB"}, "memory must be a size above 0 and at most 64 TiB"),
        ({"lane": "local", "memory": True}, "memory must be a size such as"),
        ({"lane": "local", "label": "a\nb"}, "label must be 1 to 80 characters"),
        ({"lane": "local", "label": ""}, "label must be 1 to 80 characters"),
        ({"lane": "local", "expiry_seconds": 0}, "expiry_seconds must be a number from 1 to 3600"),
        ({"lane": "local", "wait": 3}, "wait is unknown; a slot has lane, label, memory, expiry_seconds, override"),
        ({"lane": "local", "override": "all"}, "override must be gate"),
        (["local"], "the body must be an object"),
    ],
)
async def test_what_is_wrong_is_named(foreman: Foreman, body: Any, named: str) -> None:
    status, problem, _ = await call(foreman, "POST", "/slots", body)
    assert (status, problem["code"]) == (400, "bad_request")
    assert problem["detail"].startswith(named)
    assert (await foreman.health())["queue"]["depth"] == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_slot_is_told_and_a_bad_end_too(foreman: Foreman) -> None:
    nobody = "01M7Y85ES1M7RYVESTD1QG1G0Z"
    assert [(await beat(foreman, nobody))[0], (await release(foreman, nobody))[0]] == [404, 404]
    slot = await held(foreman)
    status, problem = await release(foreman, slot, {"exit_status": 256})
    assert (status, problem["detail"]) == (400, "exit_status must be a whole number from 0 to 255")
    assert (await release(foreman, slot))[0] == 200
    done = await handed(foreman, prompt("a job"))
    await foreman.settled(done)
    assert (await beat(foreman, done))[0] == 409


async def test_no_inference_runs_beside_a_held_slot_and_no_slot_is_granted_beside_inference(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", heartbeat_seconds=0.05) as foreman:
        slot = await held(foreman)
        first = await handed(foreman, prompt("first"))
        second = await ask(foreman, label="second")
        third = await handed(foreman, prompt("third"))
        assert [(await waits(foreman, job))["position"] for job in (first, second.id, third)] == [1, 3, 2]
        assert (await waits(foreman, second.id))["reason"] == "command"
        assert asked(stub) == []
        await second.padded()
        stub.script(GENERATE, [Script(), HELD])  # the first is the load
        assert (await release(foreman, slot))[0] == 200
        await stub.ledger.held()
        assert asked(stub) == ["first"]
        await waits(foreman, second.id)
        stub.release(GENERATE)
        granted = await second.granted()
        # White space while it waited.
        assert (granted["id"], second.text[:2]) == (second.id, b"  ")
        assert asked(stub) == ["first", "third"]
        assert (await release(foreman, second.id))[0] == 200
        assert [entry.ended_at is not None for entry in stub.ledger.on(GENERATE)] == [True] * 3


async def test_remote_slots_are_bounded_and_the_lanes_take_turns(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", remote_slots=2) as foreman:
        far = [await held(foreman, "remote"), await held(foreman, "remote")]
        local, third = await ask(foreman), await ask(foreman, "remote")
        found = [await waits(foreman, slot.id) for slot in (local, third)]
        assert [(job["reason"], job["why"]) for job in found] == [
            ("remote_lane", "2 remote jobs run"),
            ("local_lane", "older local jobs wait"),
        ]
        await release(foreman, far[0])
        await waits(foreman, local.id)
        await waits(foreman, third.id)
        await release(foreman, far[1])
        await local.granted()
        await waits(foreman, third.id)
        await release(foreman, local.id)
        assert (await third.granted())["id"] == third.id


async def test_who_hangs_up_while_waiting_leaves_the_queue_even_where_jobs_are_finished_without_clients(
    stub_url: str, tmp_path: Path
) -> None:
    async with serving(stub_url, tmp_path / "foreman.db", on_client_gone="finish") as foreman:
        slot = await held(foreman)
        waiting, left = await ask(foreman), await ask(foreman)
        told = asyncio.create_task(post(foreman.url, "/slots", {"lane": "local", "label": "named"}))
        await foreman.queued(3)
        await waiting.hang_up()
        await foreman.settled(waiting.id)
        assert await state_of(foreman, waiting.id) == "cancelled"
        status, job = await release(foreman, left.id)
        assert (status, job["state"]) == (200, "cancelled")
        with pytest.raises(aiohttp.ClientPayloadError):
            await left.granted()
        _, queue, _ = await call(foreman, "GET", "/queue")
        (named,) = queue["waiting"]
        status, job, _ = await call(foreman, "DELETE", f"/jobs/{named['id']}")
        assert (status, job["state"]) == (200, "cancelled")
        got = await told
        assert (got.whole, got.body.strip()) == (False, b'{"error":"the job was cancelled"}')
        assert (await beat(foreman, slot))[0] == 200


async def test_a_cancel_of_a_held_slot_is_told_to_its_holder_and_frees_nothing(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:
        slot = await held(foreman)
        job = await handed(foreman, prompt("next"))
        status, told, _ = await call(foreman, "DELETE", f"/jobs/{slot}")
        assert (status, told["state"]) == (202, "working")
        assert (await beat(foreman, slot))[1]["cancel_requested"] is True
        await waits(foreman, job)
        assert asked(stub) == []
        status, told = await release(foreman, slot)
        assert (status, told["state"]) == (200, "cancelled")
        await foreman.settled(job)
        assert asked(stub) == ["next"]


async def test_a_slot_that_is_not_heard_of_is_freed(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:
        slot = await held(foreman, expiry_seconds=1)
        job = await handed(foreman, prompt("next"))
        await foreman.settled(slot, job)
        _, lost, _ = await call(foreman, "GET", f"/jobs/{slot}")
        assert (lost["state"], lost["error"]) == (
            "failed",
            {"code": "slot_lost", "message": "no heartbeat came for 1 s"},
        )
        assert (await beat(foreman, slot))[0] == 409
        assert asked(stub) == ["next"]


@pytest.mark.parametrize("lane", ["local", "remote"])
async def test_after_kill_9_a_held_slot_is_found_and_its_lane_is_kept(tmp_path: Path, lane: str) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            slot = await held(foreman, lane)
            job = await handed(foreman, prompt("next"))
            await waits(foreman, job)
        async with serving(stub.url, db) as foreman:
            await foreman.event("slot_found", job=slot)
            _, shown, _ = await call(foreman, "GET", f"/jobs/{slot}")
            assert (shown["state"], shown["attempts"]) == ("working", 1)
            assert shown["heartbeat"]["heard_at"] is None
            assert shown["heartbeat"]["expires_at"] > shown["claimed_at"]
            queue = await run(foreman, tmp_path, "queue")
            assert "held, not heard of since foreman was started; expires " in queue.out
            assert (await beat(foreman, slot))[0] == 200
            (running,) = (await call(foreman, "GET", "/queue"))[1]["lanes"][lane]["running"]
            assert shown["claimed_at"] < running["heartbeat"]["heard_at"] < running["heartbeat"]["expires_at"]
            assert "not heard of" not in (await run(foreman, tmp_path, "queue")).out
            assert "last heard of" in (await run(foreman, tmp_path, "jobs", "show", slot)).out
            await waits(foreman, job)
            assert asked(stub) == []
            assert (await release(foreman, slot))[1]["state"] == "done"
            await foreman.settled(job)
        assert asked(stub) == ["next"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_after_kill_9_a_slot_that_is_not_heard_of_is_freed_after_its_expiry(
    tmp_path: Path, cancelled: bool
) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            slot = await held(foreman, expiry_seconds=4)
            job = await handed(foreman, prompt("next"))
            if cancelled:
                await call(foreman, "DELETE", f"/jobs/{slot}")
        async with serving(stub.url, db) as foreman:
            found = await foreman.event("slot_found", job=slot)
            freed = await foreman.event("job_finished", job=slot)
            await foreman.settled(job)
            assert await state_of(foreman, slot) == ("cancelled" if cancelled else "failed")
        # Nothing began in between, and the lane was kept for all of the expiry.
        assert found["ts"] < freed["ts"]
        assert freed["fields"]["total_ms"] >= 4000
        assert asked(stub) == ["next"]


async def test_a_stop_waits_for_no_slot_and_the_next_start_finds_it(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db, drain_seconds=3600) as foreman:
            slot = await held(foreman)
            waiting = await ask(foreman, key="the same")
            foreman.send(signal.SIGTERM)
            with pytest.raises(aiohttp.ClientPayloadError):
                await waiting.granted()
            assert await foreman.ended() == 0
        async with serving(stub.url, db) as foreman:
            assert (await beat(foreman, slot))[0] == 200
            # Who asks again with the same key keeps its place.
            again = await ask(foreman, key="the same")
            assert again.id == waiting.id
            job = await handed(foreman, prompt("last"))
            await waits(foreman, again.id)
            await release(foreman, slot)
            assert (await again.granted())["id"] == waiting.id
            # And who asks once more is told of the same slot.
            assert (await (await ask(foreman, key="the same")).granted())["id"] == waiting.id
            await waits(foreman, job)
            await release(foreman, again.id)
            await foreman.settled(job)
            status, _, _ = await call(foreman, "POST", "/slots", {"lane": "local"}, Idempotency_Key="the same")
            assert status == 409
        assert asked(stub) == ["last"]


@pytest.fixture
async def stub_url() -> Any:
    async with StubOllama() as stub:
        yield stub.url


async def test_a_crowd_of_slots_and_jobs_is_never_mixed(tmp_path: Path) -> None:
    """Commands say when they have begun and ended; nothing the target did may lie in between."""
    spans: list[tuple[float, float]] = []

    async def command(foreman: Foreman, number: int) -> None:
        slot = await held(foreman, label=f"{number}")
        began = time.time()
        for _ in range(3):
            assert (await beat(foreman, slot))[0] == 200
        spans.append((began, time.time()))
        assert (await release(foreman, slot))[0] == 200

    async with StubOllama(tokens=4) as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:

        async def inference(number: int) -> None:
            model = ("llama3", "qwen3:8b")[number % 2]
            job = await handed(foreman, prompt(f"{number}", model))
            await foreman.settled(job)

        await asyncio.gather(*(command(foreman, n) for n in range(10)), *map(inference, range(10)))
        worked = [(entry.at, entry.ended_at or entry.at) for entry in stub.ledger.on(GENERATE)]
    assert (len(spans), len(set(asked(stub)))) == (10, 10)
    together = sorted([*spans, *worked])
    assert all(one[1] <= other[0] for one, other in pairwise(together))


async def test_a_slot_whose_client_died_with_foreman_while_it_waited_does_not_keep_the_lane(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            slot = await held(foreman)
            waiting = await ask(foreman, expiry_seconds=1)
            job = await handed(foreman, prompt("next"))
        await waiting.hang_up()
        async with serving(stub.url, db) as foreman:
            await release(foreman, slot)
            await foreman.settled(waiting.id, job)
            assert await state_of(foreman, waiting.id) == "failed"
        assert asked(stub) == ["next"]


async def test_while_the_target_is_down_slots_are_granted_and_jobs_say_what_they_wait_for(tmp_path: Path) -> None:
    async with (
        StubOllama() as stub,
        serving(stub.url, tmp_path / "foreman.db", probe_seconds=0.05, poll_seconds=0.05) as foreman,
    ):
        await foreman.event("target_up")
        stub.refuse()
        await foreman.event("target_down")
        job = await handed(foreman, prompt("first"))
        here = await held(foreman)
        there, next_here = await ask(foreman, "remote"), await ask(foreman, label="next")
        assert (await waits(foreman, job))["reason"] == "target_down"
        assert (await waits(foreman, there.id))["reason"] == "local_lane"
        _, queue, _ = await call(foreman, "GET", "/queue")
        assert [queue["lanes"][lane]["waits_for"] for lane in ("local", "remote")] == ["remote_lane", "local_lane"]
        await release(foreman, here)
        await release(foreman, (await there.granted())["id"])
        await release(foreman, (await next_here.granted())["id"])
        _, queue, _ = await call(foreman, "GET", "/queue")
        assert queue["lanes"]["local"]["waits_for"] == "target_down"
        assert (await waits(foreman, job))["attempts"] == 0
        await stub.accept()
        await foreman.settled(job)
        assert await state_of(foreman, job) == "done"
