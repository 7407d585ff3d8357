"""Which job a store gives out next, and to whom it gives none."""

import os
from dataclasses import replace

import pytest

from foreman.core.job import Hot, JobState, Next, Payload
from foreman.core.lanes import Lane
from foreman.engine.store import Finished, Store
from tests.engine.stored import back, done, job_id, new_job
from tests.engine.storing import claimed, state, submit


@pytest.mark.parametrize(
    ("hot", "expected"),
    [
        (Hot(), 1),
        (Hot(("c?num_ctx=2",), ("c",)), 4),
        (Hot(("c?num_ctx=9",), ("c",)), 3),
        (Hot(("c",), ("b",)), 3),
        (Hot((), ("x",)), 1),
        (Hot((), ("c", "b")), 2),
        (Hot(("c?num_ctx=2", "c"), ()), 3),
    ],
)
async def test_the_hottest_is_claimed_first_then_the_oldest(store: Store, hot: Hot, expected: int) -> None:
    await submit(store, "a", "b", "c")
    await store.submit(new_job(4, "c", (("num_ctx", 2),)))
    assert await claimed(store, hot) == expected


@pytest.mark.parametrize(
    ("hot", "expected"),
    [
        (Hot(admitted=()), None),
        (Hot(("b",), ("b",), ()), 2),
        (Hot(("b",), ("b",), ("a",)), 2),
        (Hot((), ("b",), ("a",)), 1),  # it is loaded with other options, and they were not admitted
        (Hot((), ("b",), ("a", "b")), 2),
        (Hot(admitted=("c", "none")), 3),
    ],
)
async def test_a_claim_takes_only_what_is_loaded_or_admitted(store: Store, hot: Hot, expected: int | None) -> None:
    await submit(store, "a", "b", "c")
    assert await claimed(store, hot) == expected


async def test_the_load_keys_of_ready_jobs_come_in_the_order_of_their_oldest(store: Store) -> None:
    for number, (model, not_before) in enumerate(
        [("late", 9_000), ("b", 0), ("due", 4_000), ("a", 0), ("b", 0), ("late", 0), ("a", 8_000)], 1
    ):
        await store.submit(new_job(number, model, not_before=not_before))
    assert await store.ready_keys(9, 5_000) == ["b", "due", "a", "late"]
    assert await store.ready_keys(9, 9_999) == ["late", "b", "due", "a"]
    assert await store.ready_keys(2, 5_000) == ["b", "due"]
    await store.claim(Next(), 5_000)
    assert await store.ready_keys(9, 5_000) == ["due", "a", "b", "late"]


async def test_what_overrides_the_gate_need_not_be_admitted(store: Store) -> None:
    await submit(store, "a", "b")
    await store.submit(new_job(3, "a", override="gate"))
    assert await claimed(store, Hot(admitted=())) == 3
    job = await store.get(job_id(3))
    assert job is not None
    assert job.override == "gate"


async def test_what_can_never_run_is_refused_as_a_whole(store: Store) -> None:
    await submit(store, "a", "b", "a")
    await store.submit(new_job(4, "a", override="gate"))
    await store.submit(new_job(5, "a", not_before=9_000))
    await store.submit(new_job(6, "a", (("num_ctx", 1),)))
    await store.submit(new_job(7, "a", idem_key="k", req_hash=b"h"))
    assert sorted(await store.refuse("a", "never_fits", "far too large", 50)) == [job_id(1), job_id(3), job_id(7)]
    assert await store.refuse("a", "never_fits", "far too large", 60) == []
    job = await store.get(job_id(1))
    assert job is not None
    assert (job.state, job.error_code, job.error, job.finished_at) == ("failed", "never_fits", "far too large", 50)
    assert [await state(store, number) for number in (2, 4, 5, 6)] == [JobState.QUEUED] * 4
    # The same request may be sent again with its key, and then override the gate.
    assert (await store.submit(new_job(8, "a", idem_key="k", req_hash=b"h", override="gate"))).existing is None


async def test_a_claim_carries_the_request(store: Store) -> None:
    body = os.urandom(100_000)
    payload = Payload("/v1/chat/completions", (("x-odd", "\udcff\x01"), ("accept", "*/*")), body)
    await store.submit(new_job(1, payload=payload))
    claim = await store.claim(Next(), 5_000)
    assert claim is not None
    assert claim.payload == payload == await store.payload(job_id(1))
    assert (claim.job.state, claim.job.attempts, claim.job.claimed_at) == (JobState.LOADING, 1, 5_000)
    assert await store.get(job_id(1)) == claim.job


async def test_one_job_at_a_time(store: Store) -> None:
    await submit(store, "a", "b")
    assert await claimed(store) == 1
    assert await claimed(store) is None
    await store.finish(1, done())
    assert await claimed(store) == 2


REMOTE = Next(lane=Lane.REMOTE)


async def test_another_lane_is_not_claimed(store: Store) -> None:
    await store.submit(new_job(1, lane=Lane.REMOTE))
    assert await claimed(store) is None
    await store.submit(new_job(2))
    claim = await store.claim(REMOTE, 5_000)
    assert claim is not None
    assert (claim.job.seq, claim.job.lane) == (1, Lane.REMOTE)
    assert await store.claim(REMOTE, 5_000) is None


async def test_remote_jobs_are_claimed_in_order_of_arrival_however_many_run(store: Store) -> None:
    for number, model in enumerate("aba", 1):
        await store.submit(new_job(number, model, lane=Lane.REMOTE))
    claims = [await store.claim(replace(REMOTE, hot=Hot(("b",), ("b",))), 5_000) for _ in range(4)]
    assert [claim and claim.job.seq for claim in claims] == [1, 2, 3, None]


@pytest.mark.parametrize("gives_way", [False, True])
async def test_who_gives_way_takes_nothing_younger_than_what_is_ready_in_the_other_lane(
    store: Store, *, gives_way: bool
) -> None:
    for number, lane in enumerate((Lane.LOCAL, Lane.REMOTE, Lane.LOCAL, Lane.REMOTE), 1):
        await store.submit(new_job(number, "b" if number == 3 else "a", lane=lane))
    local, remote = Next(Hot(("b",), ("b",)), Lane.LOCAL, gives_way), Next(lane=Lane.REMOTE, gives_way=gives_way)
    before = await store.claim(remote, 5_000)
    assert (before is None) is gives_way
    first = await store.claim(local, 5_000)
    assert first is not None
    # What is hot counts among those that may go.
    assert first.job.seq == (1 if gives_way else 3)
    following = (await store.finish(first.job.seq, done(), local)).next
    assert (following is None) is gives_way
    # Now the remote one is older.
    after = await store.claim(remote, 5_000)
    assert after is not None
    assert after.job.seq == (2 if gives_way else 4)


async def test_nobody_gives_way_to_what_is_held_unless_it_overrides_the_gate(store: Store) -> None:
    wanted = replace(REMOTE, gives_way=True)
    for number, (model, override) in enumerate([("a", None), ("far", None), ("a", "gate"), ("far", None)], 1):
        lane = Lane.REMOTE if model == "far" else Lane.LOCAL
        await store.submit(new_job(number, model, lane=lane, override=override))
    assert await store.claim(wanted, 5_000) is None
    assert await store.claim(replace(wanted, held=("b",)), 5_000) is None
    claims = [await store.claim(replace(wanted, held=("b", "a")), 5_000) for _ in range(2)]
    assert [claim and claim.job.seq for claim in claims] == [2, None]


async def test_nobody_gives_way_to_a_job_whose_time_has_not_come(store: Store) -> None:
    await store.submit(new_job(9, lane=Lane.REMOTE, not_before=100))
    await submit(store, "a", "b")
    wanted = Next(gives_way=True)
    claim = await store.claim(wanted, 99)
    assert claim is not None
    assert (await store.finish(claim.job.seq, done(at=100), wanted)).next is None
    claim = await store.claim(replace(REMOTE, gives_way=True), 100)
    assert claim is not None
    assert claim.job.seq == 1


async def test_a_delayed_job_waits_and_keeps_its_place(store: Store) -> None:
    await submit(store, "a", "b")
    await claimed(store)
    assert await store.hand_back(1, back(not_before=100)) == Finished(True, JobState.QUEUED)
    assert await store.next_due() == 100
    assert await claimed(store, now=99) == 2
    await store.hand_back(2, back())
    assert await claimed(store, now=100) == 1
    assert await store.next_due() is None


async def test_only_jobs_that_are_open_are_claimed_or_given_way_to(store: Store) -> None:
    for number, key in enumerate(("@one/m", "@two/m", "@two/m"), 1):
        await store.submit(new_job(number, key, lane=Lane.REMOTE))
    await store.submit(new_job(4, "a:latest"))
    await store.submit(new_job(5, "@two/n", lane=Lane.REMOTE))

    async def claims(lane: Lane, *opened: str) -> int | None:
        claim = await store.claim(Next(lane=lane, gives_way=True, open=opened), 1)
        return None if claim is None else claim.job.seq

    assert await claims(Lane.REMOTE) is None
    assert await claims(Lane.LOCAL, "@two/m", "@two/n") is None
    assert await claims(Lane.REMOTE, "@two/n", "@two/m") == 2
    assert await claims(Lane.REMOTE, "@two/n") is None  # younger than the local one
    assert await claims(Lane.LOCAL, "@two/n") == 4
    assert await claims(Lane.REMOTE, "@two/n") == 5
    assert await claims(Lane.REMOTE, "@one/m", "@two/m") == 1


async def test_a_job_that_waits_can_be_made_to_override_the_gate(store: Store) -> None:
    await submit(store, "a", "b")
    assert await store.override(job_id(9), "gate") is None
    for _ in range(2):
        assert await store.override(job_id(2), "gate") is JobState.QUEUED
    assert await claimed(store, Hot(admitted=())) == 2
    assert await store.override(job_id(2), "gate") is JobState.LOADING
    await store.cancel(job_id(1), 50)
    assert await store.override(job_id(1), "gate") is JobState.CANCELLED
    jobs = [await store.get(job_id(number)) for number in (1, 2)]
    assert [job and job.override for job in jobs] == [None, "gate"]


async def test_only_local_jobs_that_are_near_are_claimed_or_given_way_to(store: Store) -> None:
    for number, (key, lane, override) in enumerate(
        [
            ("a:latest", Lane.LOCAL, "gate"),
            ("slot x", Lane.LOCAL, None),
            ("slot far", Lane.REMOTE, None),
            ("slot x", Lane.LOCAL, "gate"),
            ("slot far", Lane.REMOTE, None),
        ],
        1,
    ):
        await store.submit(new_job(number, key, lane=lane, override=override))

    async def claims(
        lane: Lane, *near: str, held: tuple[str, ...] = (), admitted: tuple[str, ...] | None = ()
    ) -> object:
        hot = Hot(("a:latest",), ("a:latest",), admitted)
        claim = await store.claim(Next(hot, lane, gives_way=True, near=near, held=held), 1)
        return None if claim is None else claim.job.seq

    assert await claims(Lane.LOCAL) is None
    assert await claims(Lane.REMOTE, "slot x") is None  # younger than the first slot
    assert await claims(Lane.LOCAL, "slot x") is None  # younger than the remote one, and only that overrides
    assert await claims(Lane.REMOTE, "slot x", held=("slot x",)) == 3
    assert await claims(Lane.REMOTE, "slot x", held=("slot x",)) is None  # younger than the one that overrides
    assert await claims(Lane.LOCAL, "slot x") == 4
    await store.finish(4, done())
    assert await claims(Lane.LOCAL, "slot x", admitted=None) == 2
    assert await claims(Lane.REMOTE) == 5
    await store.finish(2, done())
    assert await store.claim(Next(), 1) is not None
