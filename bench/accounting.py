"""What a process has used, by its own accounting: the time of a processor, and memory.

On Linux from the process's own CPU clock, which counts its threads to the nanosecond, those that have ended too, and
from smaps_rollup, which shares out what is shared. Elsewhere `ps` tells both more coarsely: hundredths of a second, and
resident memory.
"""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

# clock_getcpuclockid(3): a process's clock is its id, inverted, above three bits; 2 asks for the scheduler's count.
_SCHEDULED: Final = 2
MEMORY_KIND: Final = "PSS" if sys.platform == "linux" else "RSS"


def cpu_seconds(pid: int) -> float:
    """What a living process has used up to now. Raises OSError when there is none."""
    if sys.platform != "linux":
        return seconds_of(_asked(pid, "cputime"))
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


def memory_bytes(pid: int) -> int:
    """What a living process holds in memory. Raises OSError when there is none."""
    if sys.platform != "linux":
        return int(_asked(pid, "rss")) * 1024
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def seconds_of(text: str) -> float:
    """Seconds in what `ps` writes for a time: `1:02.50`, `01:00:00`, `2-00:00:00`. Raises ValueError."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if match is None:
        raise ValueError(f"not a time: {text!r}")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _asked(pid: int, column: str) -> str:
    said = subprocess.run(("ps", "-o", f"{column}=", "-p", str(pid)), capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise ProcessLookupError(pid)
    return said.stdout.strip()
