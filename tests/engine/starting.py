"""Jobs that are begun while they are written, made by hand."""

from typing import Any

from foreman.engine.live import LiveJobs
from foreman.engine.relay import Budget
from foreman.engine.start import Start, begun
from foreman.testing import Script
from tests.engine.stored import new_job

HELD = Script(hold=0)


def made(**changes: Any) -> Start:
    job = new_job(1, **changes)
    jobs = LiveJobs(Budget(1))
    claim = begun(job, 7, 5_000)
    return Start(jobs.adopt(claim.job), claim)
