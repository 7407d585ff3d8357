"""The engine in front of a stub, on a machine that is as a test says."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from foreman.core.errors import NeverFits, StorageFailed, StorageFull
from foreman.core.gate import Cause, Hold
from foreman.core.job import Hot, JobState, LoadKey, Mode
from foreman.engine import machine
from foreman.engine.clock import millis
from foreman.engine.gate import LOOK_SECONDS
from foreman.engine.live import Live
from foreman.testing import StubModel, StubOllama
from tests.engine.fake_machine import GB, FakeMachine
from tests.engine.running import GENERATE, PATIENCE, Running, answer, asked, ended, running
from tests.engine.serving import until

BUSY = {"load": 12.0}
LARGE = "llama3.1:70b=40000000000"
GATE = {"gate": "on", "disk_reserve": 30 * GB}
Machines = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def fake() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def machines(stub: StubOllama, tmp_path: Path, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Engines with a gate, on one machine, each look at which is a new one."""
    monkeypatch.setattr(machine, "FRESH_SECONDS", 0.0)

    @asynccontextmanager
    async def made(**settings: Any) -> AsyncIterator[Running]:
        async with running(stub, tmp_path / "foreman.db", **{**GATE, "reader": fake, **settings}) as work:
            yield work

    return made


@pytest.fixture
async def work(machines: Machines) -> AsyncIterator[Running]:
    """An engine at rest with llama3 loaded."""
    async with machines() as work:
        await work.warm()
        yield work


def key(model: str, **options: int) -> LoadKey:
    return LoadKey(model, tuple(sorted(options.items())))


async def detached(work: Running, prompt: str, model: str = "llama3", **values: Any) -> Live:
    (live,) = await work.engine.submit_many([asked(prompt, model, mode=Mode.DETACHED, **values)])
    return live


async def held(work: Running, *causes: Cause) -> list[Hold]:
    """The holds there are, as soon as these are their causes."""
    async with asyncio.timeout(PATIENCE):
        await until(lambda: tuple(hold.cause for _, hold in work.engine.gate.holds()) == causes)
    return [hold for _, hold in work.engine.gate.holds()]


def look_again(work: Running) -> None:
    """What the worker does by itself some seconds later."""
    work.jobs.local.wake.set()


def told(caplog: pytest.LogCaptureFixture, *events: str) -> list[tuple[str, object]]:
    """The events of these names in the log, each with what varies most."""
    records = [r for r in caplog.records if getattr(r, "event", None) in events]
    return [(r.event, r.fields.get("cause") or r.fields.get("how")) for r in records]  # type: ignore[attr-defined]


async def test_a_swap_is_held_while_the_machine_is_busy_and_jobs_of_the_loaded_model_go_on(
    work: Running, fake: FakeMachine
) -> None:
    fake.becomes(**BUSY)
    swap = await detached(work, "swap", "qwen3:8b")
    (hold,) = await held(work, Cause.LOAD)
    assert (hold.needed, hold.there) == (0.33, 1.0)
    for prompt in ("first", "second"):
        await ended(await detached(work, prompt))
    assert swap.state is JobState.QUEUED
    assert work.engine.gate.hold(swap.key, None, swap.lane) is not None
    fake.becomes(load=0.0)
    look_again(work)
    await ended(swap)
    assert work.engine.gate.holds() == []
    assert [job.state for job in await work.stored()] == [JobState.DONE] * 3


async def test_a_held_job_is_looked_at_again_by_itself(
    work: Running, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foreman.engine.gate.LOOK_SECONDS", 0.01)
    fake.becomes(**BUSY)
    swap = await detached(work, "swap", "qwen3:8b")
    (first,) = await held(work, Cause.LOAD)
    reads = fake.reads
    async with asyncio.timeout(PATIENCE):
        await until(lambda: fake.reads >= reads + 3)
    (later,) = await held(work, Cause.LOAD)
    assert later.since == first.since
    assert later.next_look > first.next_look
    fake.becomes(load=0.0)
    await ended(swap)


async def test_the_same_model_with_other_options_is_looked_at_too(work: Running, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    first, second = await work.lined_up("first", "second")
    reload = await detached(work, "reload", key=key("llama3:latest", num_ctx=8192))
    work.stub.release(GENERATE)
    assert await answer(first)
    assert await answer(second)
    await held(work, Cause.LOAD)
    assert reload.state is JobState.QUEUED
    fake.becomes(load=0.0)
    look_again(work)
    await ended(reload)
    assert [load.options for load in work.stub.ledger.loads][:2] == [{}, {"num_ctx": 8192}]


async def test_what_fits_passes_what_does_not(stub: StubOllama, machines: Machines, fake: FakeMachine) -> None:
    stub.library.add(StubModel.parse(LARGE))
    async with machines() as work:
        await work.warm()
        fake.becomes(available=20 * GB)
        large = await detached(work, "large", "llama3.1:70b", key=key("llama3.1:70b", num_ctx=4096))
        (hold,) = await held(work, Cause.MEMORY)
        # 40 GB of file, 0.5 of cache, 0.8 to run; llama3 gives back its 4.7, and 4 stay free.
        assert hold.text.startswith("llama3.1:70b needs 41.3 GB, 20.7 GB would be free")
        await ended(await detached(work, "small", "qwen3:8b"))
        assert large.state is JobState.QUEUED
        assert work.stub.ledger.loads[-1].name == "qwen3:8b"
        fake.becomes(available=41 * GB)  # and 5.2 come back
        look_again(work)
        await ended(large)


async def test_a_job_that_overrides_the_gate_passes_and_is_remembered(work: Running, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    waits = await detached(work, "waits", "qwen3:8b")
    await held(work, Cause.LOAD)
    forced = await detached(work, "forced", "qwen3:8b", override="gate")
    await ended(forced)
    assert [(job.override, job.state) for job in await work.stored()][1] == ("gate", JobState.DONE)
    # What it waited for has been loaded.
    await ended(waits)


async def test_what_never_fits_fails_at_once_though_another_job_runs(work: Running, fake: FakeMachine) -> None:
    fake.becomes(total=8 * GB, available=8 * GB)
    first, second = await work.lined_up("first", "second")
    refused = await work.engine.submit(asked("refused", "qwen3:8b"))
    with pytest.raises(NeverFits, match=r"qwen3:8b needs at least 5.2 GB .* 8 GB, of which 4 GB are kept free"):
        await answer(refused)
    assert first.live is not None
    assert first.live.state is JobState.WORKING
    again = await work.engine.submit(asked("again", "qwen3:8b"))
    with pytest.raises(NeverFits):
        await answer(again)
    with pytest.raises(NeverFits, match="at least 5"):
        await work.engine.ticket(refused.id)
    work.stub.release(GENERATE)
    assert await answer(first)
    assert await answer(second)
    await work.settled()
    failed = [job for job in await work.stored() if job.state is JobState.FAILED]
    assert [(job.error_code, job.attempts) for job in failed] == [("never_fits", 0)] * 2


async def test_what_never_fits_can_be_forced(work: Running, fake: FakeMachine) -> None:
    fake.becomes(total=8 * GB, available=8 * GB)
    await ended(await detached(work, "forced", "qwen3:8b", override="gate"))
    (job,) = await work.stored()
    assert job.state is JobState.DONE


async def test_jobs_of_an_earlier_process_are_refused_too(machines: Machines, fake: FakeMachine) -> None:
    async with machines(gate="off") as work:
        await work.engine.pause(True)
        for prompt in ("one", "two"):
            await detached(work, prompt, "qwen3:8b")
    fake.becomes(total=8 * GB, available=8 * GB)
    async with machines() as work:
        await work.engine.pause(False)
        async with asyncio.timeout(PATIENCE):
            await until(lambda: work.jobs.local.depth.total == 0)
        await work.settled()
        assert work.seen(None) == []


async def test_a_job_that_has_its_time_is_refused_when_that_has_come(work: Running, fake: FakeMachine) -> None:
    fake.becomes(total=8 * GB, available=8 * GB)
    live = await detached(work, "later", "qwen3:8b", not_before=millis(work.clock) + 50)
    await ended(live)
    assert live.state is JobState.FAILED


async def test_a_job_that_waits_for_its_time_is_no_reason_to_look(work: Running, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    later = await detached(work, "later", "qwen3:8b", not_before=millis(work.clock) + 3_600_000)
    await ended(await detached(work, "now"))
    await work.rests()
    assert work.engine.gate.holds() == []
    assert work.engine.gate.pause(None) is None
    await work.engine.cancel(later.id)


async def test_a_model_that_was_forced_in_holds_its_jobs_no_more(
    work: Running, fake: FakeMachine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "foreman")
    fake.becomes(**BUSY)
    waits = await detached(work, "waits", "qwen3:8b")
    other = await detached(work, "other", "llama3", key=key("llama3:latest", num_ctx=8192))
    await held(work, Cause.LOAD, Cause.LOAD)
    await ended(await detached(work, "forced", "qwen3:8b", override="gate"))
    assert work.engine.gate.hold(waits.key, None, waits.lane) is None
    await ended(waits)
    (hold,) = await held(work, Cause.LOAD)
    assert hold.text.startswith("llama3:latest")
    assert told(caplog, "gate_released")[0][1] in ("loaded", "gone")
    await work.engine.cancel(other.id)


async def test_a_store_that_cannot_be_read_lets_nothing_pass(
    work: Running, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise StorageFailed("no")

    with monkeypatch.context() as broken:
        broken.setattr(work.store, "ready_keys", fails)
        found = await work.engine.gate.admits(Hot())
        assert found.admitted == ()
        swap = await detached(work, "swap", "qwen3:8b")
        async with asyncio.timeout(PATIENCE):
            await until(lambda: work.engine.gate.pause(None) == LOOK_SECONDS)
    look_again(work)
    await ended(swap)
    assert work.engine.gate.pause(None) is None


async def test_a_refusal_that_cannot_be_written_is_tried_again(
    work: Running, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(*_: object) -> None:
        raise StorageFull("no room")

    fake.becomes(total=8 * GB, available=8 * GB)
    with monkeypatch.context() as broken:
        broken.setattr(work.store, "refuse", full)
        swap = await detached(work, "swap", "qwen3:8b")
        async with asyncio.timeout(PATIENCE):
            await until(lambda: any(getattr(r, "event", "") == "refusal_unsaved" for r in caplog.records))
            await until(lambda: work.engine.gate.pause(None) == LOOK_SECONDS)
    look_again(work)
    await ended(swap)
    assert swap.state is JobState.FAILED


async def test_holds_are_told_when_they_begin_change_and_end(
    work: Running, fake: FakeMachine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "foreman")
    followed = work.engine.events.last
    fake.becomes(**BUSY)
    swap = await detached(work, "swap", "qwen3:8b")
    await held(work, Cause.LOAD)
    reads = fake.reads
    look_again(work)
    async with asyncio.timeout(PATIENCE):
        await until(lambda: fake.reads > reads)
    fake.becomes(foreign=("ollama pull big",))
    look_again(work)
    await held(work, Cause.FOREIGN)
    fake.becomes(foreign=(), load=0.0)
    look_again(work)
    await ended(swap)
    assert told(caplog, "gate_held", "gate_released") == [
        ("gate_held", Cause.LOAD),
        ("gate_held", Cause.FOREIGN),
        ("gate_released", "admitted"),
    ]
    events = work.engine.events.since(followed) or []
    causes = [event.hold and event.hold.cause for event in events if event.live is swap]
    assert causes[:4] == [None, Cause.LOAD, Cause.FOREIGN, None]
    assert set(causes[4:]) == {None}


async def test_a_hold_ends_with_the_last_job_it_holds(
    work: Running, fake: FakeMachine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "foreman")
    fake.becomes(**BUSY)
    one, two = await detached(work, "one", "qwen3:8b"), await detached(work, "two", "qwen3:8b")
    await held(work, Cause.LOAD)
    await work.engine.cancel(one.id)
    assert len(work.engine.gate.holds()) == 1
    await work.engine.cancel(two.id)
    assert work.engine.gate.holds() == []
    assert told(caplog, "gate_held", "gate_released") == [("gate_held", Cause.LOAD), ("gate_released", "gone")]


async def test_a_reading_that_is_missing_lets_a_load_pass_and_is_told_once(
    work: Running, fake: FakeMachine, caplog: pytest.LogCaptureFixture
) -> None:
    fake.becomes(available=None, foreign=None)
    await ended(await detached(work, "swap", "qwen3:8b"))
    await ended(await detached(work, "back"))
    assert list(work.engine.gate.unknown) == ["the free memory is not known", "what other programs do is not known"]
    assert [name for name, _ in told(caplog, "gate_blind")] == ["gate_blind"]
    fake.becomes(available=80 * GB, foreign=())
    await ended(await detached(work, "swap", "qwen3:8b"))
    assert not work.engine.gate.unknown


async def test_a_model_that_was_left_loaded_passes_and_is_only_pinned(
    machines: Machines, fake: FakeMachine, stub: StubOllama
) -> None:
    async with machines() as work:
        await work.warm()
    fake.becomes(**BUSY)
    async with machines() as work:
        await ended(await detached(work, "again"))
        await work.rests()
        reload = await detached(work, "reload", key=key("llama3:latest", num_ctx=8192))
        await held(work, Cause.LOAD)
        await work.engine.cancel(reload.id)
    assert len(stub.ledger.loads) == 1


async def test_what_runs_elsewhere_and_what_is_not_there_pass_unseen(work: Running, fake: FakeMachine) -> None:
    fake.becomes(**BUSY, foreign=("ollama pull x",), available=0)
    await ended(await detached(work, "cloud", "glm-4.6:cloud"))
    await ended(await detached(work, "gone", "gone:latest"))
    assert work.engine.gate.holds() == []


async def test_a_gate_that_is_off_asks_nothing_and_keeps_nothing(
    machines: Machines, fake: FakeMachine, stub: StubOllama
) -> None:
    fake.becomes(**BUSY, total=1)
    async with machines(gate="off") as work:
        await work.warm()
        await ended(await detached(work, "swap", "qwen3:8b"))
        assert await work.store.forecasts(10) == []
    assert fake.reads == 0
    assert stub.ledger.on("/api/show") == []


@pytest.mark.parametrize(
    ("gate", "target", "on"),
    [
        ("auto", "http://127.0.0.1:11434", True),
        ("auto", "http://localhost:11434/x", True),
        ("auto", "http://[::1]:11434", True),
        ("auto", "http://box.lan:11434", False),
        ("on", "http://box.lan:11434", True),
        ("off", "http://127.0.0.1:11434", False),
    ],
)
def test_by_itself_the_gate_is_on_where_the_target_is_here(gate: Any, target: str, on: bool) -> None:
    from foreman.app import gate_is_on
    from foreman.settings import Settings

    assert gate_is_on(Settings(gate=gate, target=target)) is on


async def test_in_a_crowd_nothing_is_loaded_that_was_not_admitted(
    machines: Machines, fake: FakeMachine, stub: StubOllama
) -> None:
    """Jobs of three models come while the machine is busy; what is loaded stays, and in the end all are done."""
    async with machines() as work:
        await work.warm()
        fake.becomes(**BUSY)
        lives = [
            await detached(work, f"job {n}", ("llama3", "qwen3:8b", "llama3")[n % 3], key=found)
            for n in range(30)
            for found in [
                key(("llama3:latest", "qwen3:8b", "llama3:latest")[n % 3], **({"num_ctx": 9} if n % 3 == 2 else {}))
            ]
        ]
        for live in lives[::3]:
            await ended(live)
        assert [load.name for load in stub.ledger.loads] == ["llama3:latest"]
        await held(work, Cause.LOAD, Cause.LOAD)
        fake.becomes(load=0.0)
        look_again(work)
        for live in lives:
            await ended(live)
        assert {job.state for job in await work.stored()} == {JobState.DONE}
        await work.settled()


async def test_a_held_job_keeps_its_place_when_its_client_leaves_and_comes_back(
    work: Running, fake: FakeMachine
) -> None:
    fake.becomes(**BUSY)
    ticket = await work.engine.submit(asked("swap", "qwen3:8b"))
    await held(work, Cause.LOAD)
    assert ticket.live is not None
    assert ticket.reader is not None
    work.engine.left(ticket.live, ticket.reader)
    async with asyncio.timeout(PATIENCE):
        await ticket.live.ended.wait()
    assert work.engine.gate.holds() == []
    await work.settled()


async def test_a_load_beside_a_pull_is_held(work: Running, fake: FakeMachine) -> None:
    fake.becomes(foreign=("ollama pull llama3:70b",))
    swap = await detached(work, "swap", "qwen3:8b")
    (hold,) = await held(work, Cause.FOREIGN)
    assert hold.text == "qwen3:8b waits for other programs: ollama pull llama3:70b"
    fake.becomes(foreign=())
    look_again(work)
    await ended(swap)


async def test_two_large_models_together_are_held_apart(
    stub: StubOllama, machines: Machines, fake: FakeMachine
) -> None:
    """The first is foreman's own and goes before the second comes; the other one is another program's and stays."""
    for text in (LARGE, "qwen2.5:72b=47000000000"):
        stub.library.add(StubModel.parse(text))
    async with machines() as work:
        await work.warm()  # which shows that the target gives 4096 tokens
        await ended(await detached(work, "first", "llama3.1:70b"))
        await work.rests()
        fake.becomes(available=10 * GB)  # of 96: 40 are the first's, and 46 somebody else's
        second = await detached(work, "second", "qwen2.5:72b")
        (hold,) = await held(work, Cause.MEMORY)
        assert hold.there == 46 * GB
        fake.becomes(available=56 * GB)  # the other program has ended
        look_again(work)
        await ended(second)
        assert stub.ledger.unloads == ["llama3:latest", "llama3.1:70b"]


async def test_the_machine_is_read_while_a_job_runs(work: Running, fake: FakeMachine) -> None:
    """Without it nobody could tell afterwards which part of the load was foreman's own."""
    assert fake.reads >= 1
    work.engine.gate._sampled_at = float("-inf")
    reads = fake.reads
    first, second = await work.lined_up("first", "second")
    async with asyncio.timeout(PATIENCE):
        await until(lambda: fake.reads > reads)
    work.stub.release(GENERATE)
    assert await answer(first)
    assert await answer(second)
