"""Commands ask the gate: they are held, refused, let pass and forced as loads are. Slots of the remote lane do not."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foreman.core import slots
from foreman.core.errors import NeverFits
from foreman.core.gate import Cause, Hold
from foreman.core.job import JobState, Mode, Payload
from foreman.core.lanes import Lane
from foreman.core.slots import SlotRequest
from foreman.core.submission import Submission
from foreman.engine import machine
from foreman.engine.intake import Ticket
from foreman.testing import StubOllama
from tests.engine.fake_machine import GB, FakeMachine
from tests.engine.running import PATIENCE, Running, answer, asked, ended, running
from tests.engine.serving import until

BUSY = {"load": 12.0}


@pytest.fixture
def fake() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
async def work(
    stub: StubOllama, tmp_path: Path, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """An engine at rest with llama3 loaded, which takes 4.7 GB; each look at its machine is a new one."""
    monkeypatch.setattr(machine, "FRESH_SECONDS", 0.0)
    async with running(stub, tmp_path / "foreman.db", reader=fake, gate="on", disk_reserve=30 * GB) as work:
        await work.warm()
        yield work


async def wanted(work: Running, gigabytes: int | None = None, lane: Lane = Lane.LOCAL, **more: str) -> Ticket:
    request = SlotRequest(lane, "sweep", None if gigabytes is None else gigabytes * GB)
    return await work.engine.submit(
        Submission(Payload(slots.PATH, (), request.body), request.key, "me", lane=lane, **more)  # type: ignore[arg-type]
    )


async def held(work: Running, *causes: Cause) -> list[Hold]:
    """The holds there are, as soon as these are their causes."""
    async with asyncio.timeout(PATIENCE):
        await until(lambda: tuple(hold.cause for _, hold in work.engine.gate.holds()) == causes)
    return [hold for _, hold in work.engine.gate.holds()]


async def granted_and_given_back(work: Running, slot: Ticket) -> None:
    assert slot.reader is not None
    async with asyncio.timeout(PATIENCE):
        await slot.reader.head()
    slot.reader.leave()
    await work.engine.release(slot.id, 0)


async def left(work: Running, slot: Ticket) -> None:
    """Its client wants it no more."""
    assert slot.reader is not None
    slot.reader.leave()
    await work.engine.release(slot.id, None)


def look_again(work: Running) -> None:
    """What the worker does by itself some seconds later."""
    work.jobs.local.wake.set()


@pytest.mark.parametrize(
    ("changes", "cause", "words"),
    [
        ({"load": 12.0}, Cause.LOAD, "sweep waits for the load to fall: 1.00 for each core, at most 0.33"),
        ({"foreign": ("lms load x",)}, Cause.FOREIGN, "sweep waits for other programs: lms load x"),
        ({"disk_free": 1 * GB}, Cause.DISK, "sweep waits for disk space: 1 GB are free, and 30 GB are kept free"),
        ({"available": 43 * GB}, Cause.MEMORY, "sweep needs 40 GB, 39 GB would be free beside the 4 GB"),
    ],
)
async def test_a_command_waits_for_the_machine_and_others_go_on(
    work: Running,
    fake: FakeMachine,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    cause: Cause,
    words: str,
) -> None:
    caplog.set_level(logging.INFO, "foreman")
    fake.becomes(**changes)
    slot = await wanted(work, 40)
    (hold,) = await held(work, cause)
    assert hold.text.startswith(words)
    (live,) = await work.engine.submit_many([asked("loaded", mode=Mode.DETACHED)])
    await ended(live)
    await ended(
        (await work.engine.submit_many([asked("far", "glm-4.6:cloud", mode=Mode.DETACHED, lane=Lane.REMOTE)]))[0]
    )
    for _ in range(3):
        reads = fake.reads
        look_again(work)
        async with asyncio.timeout(PATIENCE):
            await until(lambda reads=reads: fake.reads > reads)  # type: ignore[misc]
    fake.becomes(load=0.0, foreign=(), disk_free=500 * GB, available=80 * GB)
    look_again(work)
    await granted_and_given_back(work, slot)
    events = [record.event for record in caplog.records if str(getattr(record, "event", "")).startswith("gate_")]  # type: ignore[attr-defined]
    assert events == ["gate_held", "gate_released"]
    await work.settled()


async def test_a_command_gets_nothing_back_for_it_unloads_nothing(
    work: Running, fake: FakeMachine, stub: StubOllama
) -> None:
    """The same memory is enough for a model, in whose place the loaded one goes."""
    fake.becomes(available=44 * GB, total=48 * GB)
    slot = await wanted(work, 40)
    (hold,) = await held(work, Cause.MEMORY)
    # 48 GB, of which llama3 has 4.7 and 4 are kept free, whatever counts as available.
    assert hold.there == 48 * GB - 4_700_000_000 - 4 * GB
    await left(work, slot)
    fits = await wanted(work, 39)
    await granted_and_given_back(work, fits)
    assert stub.ledger.unloads == []


async def test_a_command_that_needs_more_than_there_is_fails_at_once_with_the_numbers(
    work: Running, fake: FakeMachine
) -> None:
    first, second = await work.lined_up("first", "second")
    refused = await wanted(work, 93)
    with pytest.raises(
        NeverFits, match="sweep needs at least 93 GB of memory, and this machine has 96 GB, of which 4 GB"
    ):
        await answer(refused)
    work.stub.release("/api/generate")
    assert await answer(first)
    assert await answer(second)
    await work.settled()
    assert [job.error_code for job in await work.stored() if job.state is JobState.FAILED] == ["never_fits"]


async def test_whether_it_can_ever_run_is_known_beforehand(work: Running) -> None:
    assert await work.engine.gate.never(str(SlotRequest(Lane.LOCAL, "sweep", 93 * GB).key))
    assert not await work.engine.gate.never(str(SlotRequest(Lane.LOCAL, "sweep", 92 * GB).key))
    work.engine.gate.on = False
    assert not await work.engine.gate.never(str(SlotRequest(Lane.LOCAL, "sweep", 93 * GB).key))


@pytest.mark.parametrize("gigabytes", [None, 40, 93])
async def test_a_command_can_be_forced_and_that_is_remembered(
    work: Running, fake: FakeMachine, gigabytes: int | None
) -> None:
    fake.becomes(**BUSY, foreign=("lms load x",), available=1 * GB)
    slot = await wanted(work, gigabytes, override="gate")
    await granted_and_given_back(work, slot)
    assert [job.override for job in await work.stored()] == ["gate"]
    await work.settled()


async def test_a_slot_of_the_remote_lane_passes_unseen_though_one_of_its_name_is_held(
    work: Running, fake: FakeMachine
) -> None:
    fake.becomes(**BUSY, total=8 * GB, available=1 * GB)
    here = await wanted(work, 2)
    await held(work, Cause.MEMORY)
    for gigabytes in (2, 93):
        far = await wanted(work, gigabytes, Lane.REMOTE)
        assert far.live is not None
        assert work.engine.gate.hold(far.live.key, None, far.live.lane) is None
        await granted_and_given_back(work, far)
    assert here.live is not None
    assert work.engine.gate.hold(here.live.key, None, here.live.lane) is not None
    await left(work, here)
    await work.settled()


async def test_where_the_memory_cannot_be_read_a_command_passes_and_that_is_said(
    work: Running, fake: FakeMachine, caplog: pytest.LogCaptureFixture
) -> None:
    fake.becomes(available=None)
    await granted_and_given_back(work, await wanted(work))
    assert not work.engine.gate.unknown
    await granted_and_given_back(work, await wanted(work, 40))
    assert list(work.engine.gate.unknown) == ["the free memory is not known"]
    assert [r.event for r in caplog.records if getattr(r, "event", "") == "gate_blind"] == ["gate_blind"]  # type: ignore[attr-defined]


async def test_a_command_is_no_load_and_leaves_no_forecast(work: Running) -> None:
    before = await work.store.forecasts(10)
    await granted_and_given_back(work, await wanted(work, 40))
    await work.settled()
    assert await work.store.forecasts(10) == before


async def test_a_gate_that_is_off_looks_at_no_command(stub: StubOllama, tmp_path: Path, fake: FakeMachine) -> None:
    fake.becomes(**BUSY, total=1)
    async with running(stub, tmp_path / "foreman.db", reader=fake) as work:
        await granted_and_given_back(work, await wanted(work, 40))
    assert fake.reads == 0
