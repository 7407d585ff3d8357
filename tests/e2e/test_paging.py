"""Page by page through a list that grows meanwhile: no job is missed, none is shown twice."""

from pathlib import Path

import pytest

from foreman.testing import StubOllama
from tests.e2e.own import call, handed, prompt
from tests.e2e.process import Foreman, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def pages(foreman: Foreman, query: str, between: int = 0) -> list[str]:
    """The ids of all pages; so many new jobs are handed over between each two."""
    found: list[str] = []
    after = ""
    while True:
        _, page, _ = await call(foreman, "GET", f"/jobs?{query}{after}")
        found += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"
        for _ in range(between):
            await handed(foreman, prompt("new"))


async def test_paging_misses_nothing_while_jobs_come_and_go(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        jobs = [await handed(foreman, prompt(f"{n}", ("llama3", "qwen3:8b")[n % 3 == 0])) for n in range(24)]
        assert await pages(foreman, "limit=5", between=2) == jobs[::-1]
        await foreman.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)
        later = await handed(foreman, prompt("later"), not_before=3600)
        assert await pages(foreman, "limit=2&state=queued") == [later]
        of_model = await pages(foreman, "limit=3&model=library/qwen3:8b")
        assert of_model == [job for number, job in reversed(list(enumerate(jobs))) if number % 3 == 0]
        (_, one, _) = await call(foreman, "GET", f"/jobs/{jobs[0]}")
        assert set(await pages(foreman, f"limit=500&client={one['client']}")) >= set(jobs)
        assert await pages(foreman, "limit=5&client=nobody") == []
        since = (await call(foreman, "GET", f"/jobs/{later}"))[1]["created_at"]
        assert await pages(foreman, f"since={since}") == [later]
        assert await pages(foreman, "limit=7&state=done,queued") == await pages(foreman, "state=queued&state=done")
