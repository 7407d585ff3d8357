"""What a run was made on and with: a figure without it cannot be compared with any other."""

import os
import platform
import sqlite3
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import foreman
from bench.accounting import MEMORY_KIND
from bench.servers import nginx
from bench.servers.cores import available_cores

_PACKAGES: Final = ("aiohttp", "aiosqlite", "orjson", "uvloop")
_ROOT: Final = Path(__file__).parents[1]


def description(folder: Path) -> dict[str, Any]:
    """The machine, the versions and the commit; `folder` is where the database lies."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "foreman": foreman.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "nginx": nginx.version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "cores_used": available_cores(),
        "load_average": os.getloadavg()[0],
        "memory_kind": MEMORY_KIND,
        "fsync_us": round(fsync_seconds(folder) * 1e6),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit, with a `+` when files have changed since; None outside a git checkout."""
    try:
        said = subprocess.run(
            ("git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"),
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def processor() -> str:
    """The processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fsync_seconds(folder: Path, times: int = 20) -> float:
    """What making 4 kB durable costs in this folder: next to nothing means a disk in memory, or one that lies."""
    path, costs = folder / "fsync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(bytes(4096))
            start = perf_counter()
            os.fsync(file.fileno())
            costs.append(perf_counter() - start)
    path.unlink()
    return statistics.median(costs)
