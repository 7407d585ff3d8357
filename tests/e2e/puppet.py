"""The real foreman on a machine that is as a test says: `python -m tests.e2e.puppet FILE serve ...`.

The process reads the machine from a file of the test (`-`: the real one), and looks at it often, for a test would wait
for long otherwise.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from foreman.core.gate import Readings
from foreman.engine.machine import SystemReader
from tests.e2e.process import Foreman, arguments, environment
from tests.engine.fake_machine import QUIET

LOOK_SECONDS = 0.05
REAL = "-"


class Puppet:
    """The machine as it lies in a file; quiet at first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._now = QUIET
        self.becomes()

    def becomes(self, **changes: Any) -> None:
        self._now = replace(self._now, **changes)
        beside = self.path.with_suffix(".new")
        beside.write_bytes(orjson.dumps(asdict(self._now)))
        beside.replace(self.path)


class FileReader:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, now: float) -> Readings:
        told = orjson.loads(self._path.read_bytes())
        return Readings(**{**told, "at": now, "foreign": None if told["foreign"] is None else tuple(told["foreign"])})

    def glance(self, now: float) -> Readings:
        return replace(self.read(now), foreign=None)


@asynccontextmanager
async def serving_on(puppet: Puppet | None, target: str, db: Path, **settings: object) -> AsyncIterator[Foreman]:
    """As `serving`, with the gate on; without a puppet on the real machine."""
    line = arguments(target, db, **{"gate": "on", **settings})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.puppet", str(puppet.path) if puppet else REAL, *line,
        stderr=PIPE, stdout=PIPE, env=environment(db.parent), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    foreman = Foreman(process)
    try:
        await foreman.started()
        yield foreman
    finally:
        await foreman.kill()


def main() -> int:
    from foreman.cli.main import main as foreman

    read = SystemReader if sys.argv[1] == REAL else lambda *_: FileReader(Path(sys.argv[1]))
    with (
        patch("foreman.app.SystemReader", read),
        patch("foreman.engine.machine.FRESH_SECONDS", 0.0),
        patch("foreman.engine.gate.LOOK_SECONDS", LOOK_SECONDS),
    ):
        return foreman(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
