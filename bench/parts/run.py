"""The parts, and a run of some of them: the client and the target on their cores, one part after another."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.figures.record import Record
from bench.machine import description
from bench.parts.capacity import submitted, waiting
from bench.parts.mixed import mixed
from bench.parts.overhead import overhead
from bench.parts.stall import pauses
from bench.parts.storage import claims, restarts
from bench.parts.workloads import Workload
from bench.scale import Scale
from bench.servers.cores import pinned, shared_out

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What a part is given: a folder of its own, how much to do, and whom to tell."""

    folder: Path
    scale: Scale
    workloads: Sequence[Workload]
    say: Say


@dataclass(frozen=True, slots=True)
class Part:
    """One part: what it shows, and how it adds its rows to a record."""

    shows: str
    run: Callable[[Record, Job], Awaitable[None]]


async def _overhead(record: Record, job: Job) -> None:
    scale = job.scale
    record.turns += await overhead(job.folder, job.workloads, scale.rounds, scale.seconds, job.say)


async def _capacity(record: Record, job: Job) -> None:
    scale = job.scale
    record.waiting += await waiting(job.folder, scale.crowds, scale.few_rounds, job.say)
    record.submitted += await submitted(job.folder, scale.submitted, scale.few_rounds, job.say)


async def _storage(record: Record, job: Job) -> None:
    scale = job.scale
    record.claims += await claims(job.folder, scale.depths, scale.rounds, scale.claims, job.say)
    record.restarts += await restarts(job.folder, scale.restart_rows, scale.rounds, job.say)


async def _stall(record: Record, job: Job) -> None:
    scale = job.scale
    record.pauses += await pauses(job.folder, max(scale.crowds), scale.phase_seconds, scale.few_rounds, job.say)


async def _mixed(record: Record, job: Job) -> None:
    scale = job.scale
    record.mixed += await mixed(job.folder, scale.scenarios, scale.chats, scale.load_seconds, scale.few_rounds, job.say)


PARTS: Final[Mapping[str, Part]] = {
    "overhead": Part("what foreman adds to a request, beside nginx and a plain pass-through", _overhead),
    "capacity": Part("how many clients can wait, and how fast work is taken in", _capacity),
    "storage": Part("claims in front of many queued jobs, and restarts", _storage),
    "stall": Part("the longest pauses of the event loop", _stall),
    "mixed": Part("several models at once: loads, waits and failures, straight and through foreman", _mixed),
}


async def measured(folder: Path, parts: Sequence[str], scale: Scale, workloads: Sequence[Workload], say: Say) -> Record:
    """The record of a run. Raises ForemanError and AnswerVoid."""
    with pinned(shared_out()[0]):
        settings = {"parts": list(parts), **asdict(scale), "workloads": [one.description() for one in workloads]}
        record = Record(machine=description(folder), settings=settings)
        for name in parts:
            where = folder / name
            where.mkdir()
            await PARTS[name].run(record, Job(where, scale, workloads, say))
    return record
