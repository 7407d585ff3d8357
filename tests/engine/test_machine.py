import asyncio
import logging
import os
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from foreman.core.gate import Readings
from foreman.engine.machine import FRESH_SECONDS, Machine, SystemReader, damped
from tests.engine.clock import BEGIN, HandClock
from tests.engine.fake_machine import FakeMachine
from tests.engine.serving import until


class Slow:
    """A reader that takes until it is let go, in a thread of its own."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.reads = 0

    def read(self, now: float) -> Readings:
        self.reads += 1
        assert self.go.wait(30)
        return Readings(at=now)


async def test_one_look_serves_all_who_ask_for_some_seconds() -> None:
    fake, clock = FakeMachine(), HandClock()
    machine = Machine(fake, clock)
    first = await machine.readings()
    assert int(first.at) == int(BEGIN)
    assert await machine.readings() is first
    clock.advance(FRESH_SECONDS)
    assert (await machine.readings()).at > first.at
    assert fake.reads == 2


async def test_a_program_that_waits_for_foreman_is_no_work_of_others() -> None:
    machine = Machine(FakeMachine(foreign=("ollama pull a", "ollama pull b")), HandClock())
    machine.known = lambda line: line.endswith("a")
    for _ in range(2):
        assert (await machine.readings()).foreign == ("ollama pull b",)
    machine.known = lambda _: False
    assert (await machine.readings()).foreign == ("ollama pull a", "ollama pull b")


async def test_a_slow_look_holds_up_nobody_and_is_shared() -> None:
    slow = Slow()
    machine = Machine(slow, HandClock())
    asks = [asyncio.create_task(machine.readings()) for _ in range(3)]
    async with asyncio.timeout(30):
        await until(lambda: slow.reads > 0)  # the loop goes on
        asks.pop().cancel()
        slow.go.set()
        first, second = await asyncio.gather(*asks)
    assert first is second
    assert slow.reads == 1


# -- the machine this runs on


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """psutil as it answers, with a table of processes."""

    class Error(Exception):
        pass

    module: Any = ModuleType("psutil")
    module.Error = Error
    module.rows = []
    module.virtual_memory = lambda: SimpleNamespace(available=7_000, total=9_000)
    module.process_iter = lambda attrs: [
        SimpleNamespace(info={name: row[name] for name in attrs}) for row in module.rows
    ]
    monkeypatch.setitem(sys.modules, "psutil", module)
    return module


def row(pid: int, parent: int, line: str | None, seconds: float | None = 0.0, name: str = "thing") -> dict[str, Any]:
    times = None if seconds is None else SimpleNamespace(user=seconds, system=0.0)
    return {"pid": pid, "ppid": parent, "name": name, "cmdline": line and line.split(), "cpu_times": times}


def test_the_system_is_read_where_it_can_be(library: Any, tmp_path: Path) -> None:
    library.rows = [
        row(1, 0, None, None, name="launchd"),
        row(os.getpid(), 1, "python -m foreman serve", 1.0),
        row(3, os.getpid(), "ollama pull mine", 0.0),
        row(4, 1, "ollama pull theirs", 0.0),
        row(5, 1, None, None, name="lms"),
    ]
    readings = SystemReader(tmp_path, ("ollama pull", "lms load")).read(12.0)
    assert readings.at == 12.0
    assert readings.cores == os.cpu_count()
    assert readings.load is not None
    assert (readings.available, readings.total, readings.unified) == (7_000, 9_000, sys.platform == "darwin")
    assert readings.disk_total == shutil.disk_usage(tmp_path).total
    assert readings.foreign == ("ollama pull theirs",)


def test_what_foreman_and_the_target_use_is_their_part_of_the_load(library: Any, tmp_path: Path) -> None:
    reader = SystemReader(tmp_path, ())
    for second, used in ((0, 0.0), (60, 240.0), (120, 480.0)):
        library.rows = [
            row(os.getpid(), 1, "python -m foreman serve", 0.0),
            row(10, 1, "ollama serve", 0.0),
            row(11, 10, "llama-server --model x", used),
            row(20, 1, "somebody else", used * 2),
        ]
        readings = reader.read(1_000.0 + second)
    # Four cores for two minutes: the average has not got there yet.
    assert readings.own_load == pytest.approx(4 * (1 - 2.718281828**-2))


def test_a_command_with_a_slot_is_a_job_of_foremans_and_no_foreign_work(library: Any, tmp_path: Path) -> None:
    reader = SystemReader(tmp_path, ("sweep.sh",))
    for second, used in ((0, 0.0), (60, 240.0)):
        library.rows = [
            row(os.getpid(), 1, "python -m foreman serve", 0.0),
            row(20, 1, "zsh", 0.0),
            row(21, 20, "/opt/bin/python /opt/bin/foreman run --local -- ./sweep.sh", 0.0),
            row(22, 21, "sh ./sweep.sh", used),
        ]
        readings = reader.read(1_000.0 + second)
    assert readings.foreign == ()
    assert readings.own_load == pytest.approx(4 * (1 - 2.718281828**-1))
    # Typed without it, the same is somebody else's.
    library.rows[2:3] = []
    assert reader.read(1_061.0).foreign == ("sh ./sweep.sh",)


def test_the_own_part_of_the_load_fades_as_the_average_does() -> None:
    assert damped(4.0, 0.0, 60.0) == pytest.approx(4.0 / 2.718281828)
    assert damped(0.0, 4.0, 6_000.0) == pytest.approx(4.0)
    assert damped(3.0, 3.0, 17.0) == pytest.approx(3.0)


def test_without_the_library_its_readings_are_missing_and_that_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    caplog.set_level(logging.WARNING, "foreman")
    reader = SystemReader(tmp_path, ("ollama pull",))
    for _ in range(2):
        readings = reader.read(1.0)
        assert (readings.available, readings.foreign, readings.own_load) == (None, None, 0.0)
        assert readings.total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert readings.disk_free is not None
        assert readings.load_per_core is not None
    assert [record.fields["what"] for record in caplog.records] == ["psutil"]  # type: ignore[attr-defined]


def test_what_the_system_does_not_allow_is_missing(
    library: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no")

    def denied() -> None:
        raise library.Error("access denied")

    monkeypatch.setattr(os, "getloadavg", refused)
    monkeypatch.setattr(library, "virtual_memory", denied)
    readings = SystemReader(tmp_path / "gone", ()).read(1.0)
    assert (readings.load, readings.load_per_core, readings.available, readings.disk_free) == (None, None, None, None)
    assert readings.foreign == ()


def test_this_machine_has_memory_and_programs(tmp_path: Path) -> None:
    pytest.importorskip("psutil", reason="psutil is not installed")
    readings = SystemReader(tmp_path, (os.path.basename(sys.executable),)).read(1.0)
    assert readings.available is not None
    assert readings.total is not None
    assert 0 < readings.available <= readings.total
    assert readings.foreign is not None
