"""Every part for real, with as little of it as there can be. Never a time: those belong to the machine."""

import os
from pathlib import Path

import pytest

from bench.figures.budget import RESTARTED
from bench.figures.record import Record
from bench.figures.sections import sections
from bench.figures.tables import as_markdown, as_text
from bench.figures.turn import DIRECT, FOREMAN, NGINX, PASS_THROUGH
from bench.parts.run import PARTS, measured
from bench.parts.workloads import WORKLOADS
from bench.scale import Scale
from bench.servers import nginx

LITTLE = Scale(
    rounds=1,
    few_rounds=1,
    seconds=0.01,
    crowds=(20,),
    submitted=30,
    depths=(20,),
    claims=2,
    restart_rows=30,
    phase_seconds=0.05,
    scenarios=1,
    chats=4,
    load_seconds=0.05,
)
# One of each sort; the others differ from these in their numbers.
SHORT = [workload for workload in WORKLOADS if workload.name in ("lone", "clients-8", "whole", "embeddings", "tags")]


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


async def part(name: str, folder: Path, told: list[str]) -> Record:
    record = await measured(folder, (name,), LITTLE, SHORT, told.append)
    again = Record.read(record.json())
    assert again.turns == record.turns
    shown = sections(again)
    assert as_text(shown)
    assert as_markdown(shown).startswith("## ")
    return record


async def test_overhead_has_a_turn_of_each_way_at_each_workload(tmp_path: Path, told: list[str]) -> None:
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    record = await part("overhead", tmp_path, told)
    ways = [DIRECT, *([NGINX] if nginx.program() else []), PASS_THROUGH, FOREMAN]
    found = [(turn.workload, turn.subject) for turn in record.turns]
    assert found == [(workload.name, way) for workload in SHORT for way in ways]
    for turn in record.turns:
        assert turn.figures["first_p50"] > 0
        assert turn.figures["rate"] > 0
        assert (turn.figures["memory"] > 0) is (turn.subject != DIRECT)
        if turn.subject != DIRECT and turn.workload != "embeddings":
            assert turn.figures["cpu"] > 0
    (gap,) = [turn.figures["gap_p50"] for turn in record.turns if "gap_p50" in turn.figures]
    assert gap > 0
    if affinity is not None:
        assert os.sched_getaffinity(0) == affinity
    assert {"commit", "python", "packages", "processor", "fsync_us", "nginx"} <= record.machine.keys()


async def test_capacity_has_clients_that_wait_and_jobs_handed_in(tmp_path: Path, told: list[str]) -> None:
    record = await part("capacity", tmp_path, told)
    assert [row.clients for row in record.waiting] == [20]
    assert record.waiting[0].drain_seconds > 0
    assert [row.jobs for row in record.submitted] == [30]


async def test_storage_has_claims_and_restarts(tmp_path: Path, told: list[str]) -> None:
    record = await part("storage", tmp_path, told)
    assert [row.rows for row in record.claims] == [20]
    assert [row.rows for row in record.restarts] == [0, 30]


async def test_stall_has_every_phase(tmp_path: Path, told: list[str]) -> None:
    record = await part("stall", tmp_path, told)
    assert len({row.phase for row in record.pauses}) == len(record.pauses) == 8
    assert all(row.pings > 0 and row.longest >= row.p50 for row in record.pauses)


async def test_mixed_has_every_way_and_loses_no_chat(tmp_path: Path, told: list[str]) -> None:
    record = await part("mixed", tmp_path, told)
    assert [row.way for row in record.mixed] == [DIRECT, FOREMAN, RESTARTED]
    for row in record.mixed:
        assert (row.chats, row.load_keys, row.failures) == (4, 2, 0)
        assert row.loads >= row.load_keys
        assert 0 < row.longest_wait <= row.seconds
    assert [row.cut_off for row in record.mixed[:2]] == [0, 0]


def test_each_part_says_what_it_shows() -> None:
    assert all(part.shows for part in PARTS.values())
