"""The gate of a real process that reads the real machine: thresholds that no machine meets make it hold."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from foreman.testing import StubOllama
from tests.e2e.own import GENERATE, call, handed, prompt, state_of
from tests.e2e.process import PATIENCE, Foreman, serving
from tests.e2e.puppet import serving_on
from tests.e2e.test_cli import run
from tests.e2e.test_run import ended, ran, started
from tests.polling import until

# More than any disk has, so this machine must always hold.
NO_DISK = {"gate": "auto", "disk_reserve": "1024TiB", "max_load_per_core": 1000, "foreign_processes": ""}
NO_MEMORY = {**NO_DISK, "disk_reserve": 0, "memory_reserve": "1024TiB"}
FORCED = {"X_Foreman_Override": "gate"}


@asynccontextmanager
async def both(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[StubOllama, Foreman]]:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", **settings) as foreman:
        yield stub, foreman


async def shown(foreman: Foreman, job: str, reason: str) -> dict[str, Any]:
    """A job, as soon as this is why it waits."""
    async with asyncio.timeout(PATIENCE):
        while True:
            _, view, _ = await call(foreman, "GET", f"/jobs/{job}")
            if view["reason"] == reason:
                return dict(view)


async def test_a_machine_without_room_holds_a_load_and_lets_pass_what_is_loaded_or_forced(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_DISK) as (stub, foreman):
        held = await handed(foreman, prompt("held", "qwen3:8b"))
        hold = (await shown(foreman, held, "held"))["hold"]
        assert hold["cause"] == "disk"
        assert hold["there"] < hold["needed"] == 1024 * 2**40
        status, _, headers = await call(foreman, "POST", GENERATE, prompt("forced"), **FORCED)
        assert status == 200
        assert (await call(foreman, "GET", f"/jobs/{headers['X-Foreman-Job']}"))[1]["override"] == "gate"
        for _ in range(3):
            assert (await call(foreman, "POST", GENERATE, prompt("loaded")))[0] == 200
        assert await state_of(foreman, held) == "queued"
        assert [load.name for load in stub.ledger.loads] == ["llama3:latest"]
        _, seen, _ = await call(foreman, "GET", "/machine")
        assert seen["gate"] == {"setting": "auto", "on": True}
        assert seen["readings"]["cores"] >= 1
        assert seen["readings"]["disk_free"] > 0
        assert seen["next"]["job"] == held
        assert seen["next"]["text"].startswith("next: qwen3:8b waits for disk space: ")
        assert seen["next"]["text"].endswith(": holds")
        assert (await call(foreman, "DELETE", f"/jobs/{held}"))[0] == 200
        await foreman.event("gate_released", load_key="qwen3:8b", how="gone")
        named = [event["event"] for event in foreman.events if event["event"].startswith("gate_held")]
        assert named == ["gate_held"]


async def test_a_held_job_outlives_a_kill_and_runs_where_there_is_room(tmp_path: Path) -> None:
    async with StubOllama() as stub:
        async with serving(stub.url, tmp_path / "foreman.db", **NO_DISK) as foreman:
            job = await handed(foreman, prompt("held"))
            await shown(foreman, job, "held")
            await foreman.kill()
        async with serving(stub.url, tmp_path / "foreman.db", **NO_DISK) as foreman:
            assert (await shown(foreman, job, "held"))["attempts"] == 0
            assert stub.ledger.loads == []
        async with serving(stub.url, tmp_path / "foreman.db", **{**NO_DISK, "disk_reserve": 0}) as foreman:
            await foreman.settled(job)
            assert await state_of(foreman, job) == "done"


async def test_a_job_that_is_held_is_let_past_while_it_waits(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_DISK) as (stub, foreman):
        held = await handed(foreman, prompt("held", "qwen3:8b"))
        await shown(foreman, held, "held")
        route = f"/jobs/{held}/override"
        for body, words in (
            ({"override": "disk"}, "override must be gate"),
            ({}, "override must be gate"),
            ({"gate": True}, "gate is unknown"),
            ([], "must be an object"),
        ):
            status, told, _ = await call(foreman, "PUT", route, body)
            assert (status, words in told["detail"]) == (400, True), told
        assert (await call(foreman, "PUT", f"/jobs/{'0' * 26}/override", {"override": "gate"}))[0] == 404
        status, told, _ = await call(foreman, "PUT", route, {"override": "gate"})
        assert (status, told["override"]) == (200, "gate")
        await foreman.settled(held)
        assert await state_of(foreman, held) == "done"
        assert (await call(foreman, "PUT", route, {"override": "gate"}))[0] == 409
        assert [load.name for load in stub.ledger.loads] == ["qwen3:8b"]


async def test_the_command_line_lets_jobs_past(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_DISK) as (_, foreman):
        ids = [(await run(foreman, tmp_path, "submit", model, "why")).out.strip() for model in ("llama3", "qwen3:8b")]
        for job in ids:
            await shown(foreman, job, "held")
        let = await run(foreman, tmp_path, "jobs", "override", *ids)
        assert (let.status, let.out) == (0, "")
        assert let.talk == "".join(f"job {job} overrides the gate\n" for job in ids)
        for job in ids:
            await foreman.settled(job)
        again = await run(foreman, tmp_path, "jobs", "override", ids[0])
        assert (again.status, again.out) == (4, "")
        assert "is done: only a job that waits" in again.talk


async def test_a_pull_is_forced_past_what_holds_it(tmp_path: Path) -> None:
    # This very test is heavy work of others.
    async with both(tmp_path, **{**NO_DISK, "disk_reserve": 1, "foreign_processes": "pytest"}) as (stub, foreman):
        waits = await handed(foreman, {"model": "phi4:mini"}, "/api/pull")
        await shown(foreman, waits, "held")
        forced = await run(foreman, tmp_path, "pull", "--force", "phi4:mini")
        assert forced.status == 0, forced.talk
        assert await state_of(foreman, waits) == "done"
        assert len(stub.ledger.on("/api/pull")) == 1


async def test_what_can_never_fit_fails_at_once_with_the_numbers(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_MEMORY) as (stub, foreman):
        # From a first load foreman knows how much a graphics card takes, if there is one.
        assert (await call(foreman, "POST", GENERATE, prompt("first"), **FORCED))[0] == 200
        await foreman.event("model_size")
        status, told, headers = await call(foreman, "POST", GENERATE, prompt("large", "qwen3:8b"))
        assert (status, headers["X-Foreman-Error"]) == (507, "never_fits")
        assert told["error"].startswith("qwen3:8b needs at least ")
        status, told, _ = await call(foreman, "POST", "/v1/chat/completions", {
            "model": "qwen3:8b", "messages": [{"role": "user", "content": "why"}]})  # fmt: skip
        assert status == 507
        assert told["error"]["message"].startswith("qwen3:8b needs at least ")
        assert (await call(foreman, "POST", GENERATE, prompt("large", "qwen3:8b"), **FORCED))[0] == 200
        assert [load.name for load in stub.ledger.loads] == ["llama3:latest", "qwen3:8b"]


async def test_a_client_that_waits_hears_why(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_DISK, hold_seconds=0.01, heartbeat_seconds=0.05) as (_, foreman):
        body = {"model": "llama3", "messages": [{"role": "user", "content": "why"}], "stream": True}
        async with (
            aiohttp.ClientSession(foreman.url) as session,
            session.post("/v1/chat/completions", json=body) as answer,
        ):
            async with asyncio.timeout(PATIENCE):
                while b"reason=held" not in (line := await answer.content.readuntil(b"\n\n")):
                    pass
            assert line.startswith(b": foreman job=")
            assert b"reason=held hold=disk: llama3:latest waits for disk space" in line


async def test_the_command_line_shows_holds_forces_jobs_and_tells_of_past_loads(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_DISK) as (_, foreman):
        none = await run(foreman, tmp_path, "doctor", "--forecast")
        assert (none.status, none.out, none.talk) == (0, "", "no load was looked at yet\n")
        held = (await run(foreman, tmp_path, "submit", "qwen3:8b", "why")).out.strip()
        await shown(foreman, held, "held")
        assert "is held: qwen3:8b waits for disk space" in (await run(foreman, tmp_path, "queue")).out
        for count, model in enumerate(("llama3", "qwen3:8b", "llama3"), 1):
            forced = await run(foreman, tmp_path, "submit", "--force", "--wait", model, "why")
            assert forced.status == 0
            await foreman.event("model_size", count)
        told = await run(foreman, tmp_path, "doctor", "--forecast")
        head, last, estimated, first, summary = told.out.splitlines()
        assert head.split() == ["LOADED", "LOAD", "KEY", "EXPECTED", "TOOK", "ERROR", "FROM"]
        assert re.search(r" llama3:latest +4.7 GB +4.7 GB +\+0.0 % +the last load$", last)
        assert re.search(r" qwen3:8b +6.5 GB +5.2 GB +\+25.8 % +an estimate$", estimated)
        assert first.endswith(("-", "an estimate"))
        assert summary.startswith("from the last load: 1, median +0.0 %, +0.0 % to +0.0 %; from an estimate: ")
        loads = (await run(foreman, tmp_path, "doctor", "--forecast", "--json")).json()["forecasts"]
        assert [load["size"] for load in loads] == [4_700_000_000, 5_200_000_000, 4_700_000_000]


@pytest.mark.parametrize("value", ["perhaps", "1"])
async def test_a_gate_that_is_neither_on_nor_off_is_refused_at_the_start(value: str, tmp_path: Path) -> None:
    from tests.e2e.process import arguments, spawn

    foreman = await spawn(*arguments("http://127.0.0.1:9", tmp_path / "x.db", gate=value), home=tmp_path)
    assert await foreman.ended() == 2
    assert "must be one of auto, on, off" in foreman.lines[-1]


async def test_a_command_that_is_held_says_why_and_can_be_forced(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_DISK) as (_, foreman):
        command = ("--local", "--label", "sweep", "--memory", "1GB")
        waiting = await started(foreman.url, tmp_path, *command, "--", "echo", "held")
        assert waiting.stderr is not None
        async with asyncio.timeout(PATIENCE):
            line = (await waiting.stderr.readline()).decode()
        assert re.match(
            r"\w+  queued  sweep  position 1, is held: sweep waits for disk space: .* are kept free\n", line
        )
        assert await ran(foreman.url, tmp_path, *command, "--force", "--", "echo", "forced") == (0, "forced\n", "")
        _, listed, _ = await call(foreman, "GET", "/jobs?limit=1")
        assert [(job["label"], job["override"]) for job in listed["jobs"]] == [("sweep", "gate")]
        waiting.terminate()
        await ended(waiting)
        await foreman.queued(0)


async def test_a_command_that_can_never_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    async with both(tmp_path, **NO_MEMORY) as (_, foreman):
        words = ("--local", "--label", "sweep", "--memory", "1GB", "--", "touch", str(tmp_path / "begun"))
        status, out, talk = await ran(foreman.url, tmp_path, *words)
        assert (status, out, talk.count("\n")) == (4, "", 1)
        assert "sweep needs at least 1 GB of memory, and this machine has " in talk
        assert not (tmp_path / "begun").exists()


async def test_a_heavy_program_holds_a_load_unless_it_is_a_command_with_a_slot(tmp_path: Path) -> None:
    sweep = tmp_path / "nightly-sweep"
    sweep.write_text('#!/bin/sh\ntouch "$1/begun"; while [ ! -e "$1/end" ]; do sleep 0.05; done\n')
    sweep.chmod(0o700)
    calm = {"gate": "auto", "max_load_per_core": 1000, "memory_reserve": 0, "foreign_processes": sweep.name}
    pytest.importorskip("psutil", reason="psutil is not installed")
    async with StubOllama() as stub, serving_on(None, stub.url, tmp_path / "foreman.db", **calm) as foreman:
        own = await started(foreman.url, tmp_path, "--local", "--", str(sweep), str(tmp_path))
        await until(lambda: (tmp_path / "begun").exists())
        assert (await call(foreman, "GET", "/machine"))[1]["readings"]["foreign"] == []
        (tmp_path / "end").touch()
        assert (await ended(own))[0] == 0
        (tmp_path / "end").unlink()
        (tmp_path / "begun").unlink()
        foreign = await asyncio.create_subprocess_exec(sweep, tmp_path)
        try:
            await until(lambda: (tmp_path / "begun").exists())
            job = await handed(foreman, prompt("held"))
            hold = (await shown(foreman, job, "held"))["hold"]
            assert hold["cause"] == "foreign"
            assert hold["text"].startswith("llama3:latest waits for other programs: sh ")
            assert stub.ledger.loads == []
        finally:
            (tmp_path / "end").touch()
            await foreign.wait()
        await foreman.settled(job)
        assert await state_of(foreman, job) == "done"
