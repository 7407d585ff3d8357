from pathlib import Path

from bench.parts.storage import MODELS, claims, fill, jobs
from foreman.engine.sqlite import SqliteStore


async def test_a_store_is_filled_with_jobs_of_all_models(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path / "jobs.db", "bench") as store:
        await fill(store, 1_030)
        depth = await store.depth()
    assert sum(depth.values()) == 1_030
    assert {model for model, _ in depth} == set(MODELS)
    assert [job.id for job in jobs(5, 2)] == [f"{n:026}" for n in (5, 6)]


async def test_the_depth_stays_while_claims_are_timed(tmp_path: Path) -> None:
    told: list[str] = []
    found = await claims(tmp_path, (8, 40), rounds=2, times=3, say=told.append)
    assert [(row.round, row.rows) for row in found] == [(0, 8), (0, 40), (1, 8), (1, 40)]
    assert all(row.claim_us > 0 and row.next_us > 0 for row in found)
    for rows in (8, 40):
        async with SqliteStore.open(tmp_path / f"claims-{rows}.db", "after") as store:
            assert sum((await store.depth()).values()) == rows
