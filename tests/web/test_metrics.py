"""`/metrics` from inside: what it says when something is wrong, and that it shares nothing."""

import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreman.core.errors import StorageFailed
from foreman.engine import machine
from tests.engine.fake_machine import GB, FakeMachine
from tests.web.conftest import Front, Fronts
from tests.web.test_machine import BUSY, QWEN, calm, handed, shown


async def scrape(front: Front) -> dict[str, dict[tuple[str, ...], float]]:
    """By the name of a sample: the values by those of the labels, whose names are sorted."""
    async with front.http.get("/metrics") as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        text = await answer.text()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


async def test_each_foreman_counts_for_itself(fronts: Fronts) -> None:
    for _ in range(2):
        async with fronts() as front:
            assert "foreman_jobs_total" not in await scrape(front)
            async with front.http.post("/api/generate", json=QWEN) as answer:
                job = answer.headers["X-Foreman-Job"]
                await answer.read()
            await shown(front, job, "done")
            assert (await scrape(front))["foreman_jobs_total"] == {("local", "qwen3:8b", "done"): 1}


async def test_a_store_that_cannot_be_read_hides_nothing_else(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone() -> None:
        raise StorageFailed("the database is gone")

    monkeypatch.setattr(front.engine.store, "usage", gone)
    seen = await scrape(front)
    assert seen["foreman_store_up"] == {(): 0}
    assert "foreman_store_wal_bytes" not in seen
    assert seen["foreman_target_up"] == {(): 1}


async def test_before_the_first_look_nobody_knows_the_target(front: Front) -> None:
    front.engine.poller.reachable = None
    assert "foreman_target_up" not in await scrape(front)


async def test_what_the_gate_says_is_counted_when_it_is_new(fronts: Fronts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FRESH_SECONDS", 0.0)
    fake = FakeMachine()
    async with fronts(fake, gate="on", disk_reserve=30 * GB) as front:
        fake.becomes(**BUSY)
        job = await handed(front)
        await shown(front, job, reason="held")
        seen = await scrape(front)
        assert seen["foreman_gate_verdicts_total"] == {("load", "hold"): 1}
        assert seen["foreman_gate_held"] == {("load",): 1}
        calm(front, fake)
        await shown(front, job, "done")
        seen = await scrape(front)
        assert seen["foreman_gate_verdicts_total"] == {("load", "hold"): 1, ("", "admit"): 1}
        assert "foreman_gate_held" not in seen


async def test_a_model_that_never_fits_is_a_refusal_and_a_failure(fronts: Fronts) -> None:
    fake = FakeMachine()
    async with fronts(fake, gate="on", disk_reserve=0) as front:
        fake.becomes(total=4 * GB, available=4 * GB)
        await shown(front, await handed(front), "failed")
        seen = await scrape(front)
        assert seen["foreman_gate_verdicts_total"] == {("memory", "refuse"): 1}
        assert seen["foreman_job_failures_total"] == {("never_fits", "local"): 1}
        assert seen["foreman_jobs_total"] == {("local", "qwen3:8b", "failed"): 1}


def test_a_start_does_not_load_prometheus() -> None:
    code = "import sys, foreman.cli.serve; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
