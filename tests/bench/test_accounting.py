import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench import accounting
from bench.accounting import cpu_seconds, memory_bytes, seconds_of

WORKING = """
import sys
kept = bytearray(50_000_000)
sum(range(3_000_000))
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def working() -> Iterator[int]:
    """A process that has worked for a moment and holds 50 MB."""
    with subprocess.Popen((sys.executable, "-c", WORKING), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_another_processs_time_and_memory_are_known(working: int) -> None:
    assert 0.01 < cpu_seconds(working) < 60
    assert 50_000_000 < memory_bytes(working) < 500_000_000


def test_ps_says_about_the_same(working: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, held = cpu_seconds(working), memory_bytes(working)
    monkeypatch.setattr(sys, "platform", "darwin")
    # Linux's ps counts whole seconds, the Mac's hundredths.
    assert abs(cpu_seconds(working) - exact) <= 1.0
    assert abs(memory_bytes(working) - held) < 50_000_000


def test_ones_own_time_is_the_one_the_process_knows() -> None:
    before, exact = cpu_seconds(os.getpid()), time.process_time()
    assert before <= exact <= cpu_seconds(os.getpid())


def test_a_process_that_is_gone_is_an_error() -> None:
    with subprocess.Popen((sys.executable, "-c", "")) as process:
        process.wait()
    for ask in (cpu_seconds, memory_bytes):
        with pytest.raises(OSError, match=r".*"):
            ask(process.pid)
    with pytest.raises(ProcessLookupError):
        accounting._asked(process.pid, "rss")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:00.05", 0.05), ("1:02.50", 62.5), ("00:01:05", 65.0), ("10:00:00", 36_000.0), ("2-01:00:00", 176_400.0)],
)
def test_times_of_ps_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="not a time"):
        seconds_of("soon")
