"""A soak that is short: it shows that all of it works, and catches what grows fast."""

from pathlib import Path

import pytest

from bench.soak.clients import KINDS
from bench.soak.figures import Soaked, faults
from bench.soak.plan import Plan
from bench.soak.run import soak

SECONDS = 25.0


@pytest.mark.timeout(240)
async def test_a_short_soak_goes_well(tmp_path: Path) -> None:
    soaked = Soaked()
    lines: list[str] = []
    await soak(Plan(seconds=SECONDS), tmp_path, soaked, lines.append)
    assert faults(soaked) == []
    assert {kind for kind, _ in soaked.outcomes} == set(KINDS)
    assert soaked.restarts["kill -9 of foreman"] == soaked.restarts["stop of foreman"] == 1
    assert soaked.restarts["kill -9 of the target"] >= 2
    assert "requests" in lines[-1]
