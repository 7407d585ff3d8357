"""The other programs of this machine: the Ollama server among them, and who is connected to a port.

What this user may not see is None. Of a program its name is told and never its arguments, which may hold secrets.
"""

import ipaddress
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from foreman.core.findings import Server

# What the process of an Ollama server is called.
SERVER: Final = ("ollama", "serve")
OLLAMA_PORT: Final = 11434
CONTAINERS: Final = re.compile(r"docker|containerd|libpod|kubepods|/lxc")
UNIT: Final = re.compile(r"/([^/\n]+\.service)$", re.MULTILINE)
SYSTEMCTL_SECONDS: Final = 5.0
# Programs whose name says little without that of their script.
INTERPRETERS: Final = re.compile(r"(python|pypy|node|ruby|perl|bash|sh|deno|bun)[0-9.]*")


def ollama_server(port: int) -> Server | None:
    """The one that most likely serves the port: one that says so, else one in a container, else one that is hidden."""
    found = list(_servers())
    there = [one for one in found if one.environ is not None and not one.container and port_of(one.environ) == port]
    rest = [one for one in found if one.container or one.environ is None]
    return next(iter((*there, *sorted(rest, key=lambda one: one.environ is None))), None)


def _servers() -> Iterator[Server]:
    for process in psutil.process_iter(("cmdline", "username", "pid")):
        words = [word.rpartition("/")[2].lower() for word in process.info["cmdline"] or ()]
        if tuple(words[:2]) == SERVER:
            group = _group(process.info["pid"])
            try:
                environ: Mapping[str, str] | None = process.environ()
            except (OSError, psutil.Error):
                environ = unit_environ(group)
            yield Server(environ, process.info["username"] or "another user", bool(CONTAINERS.search(group)))


def _group(pid: int) -> str:
    """What Linux says of where a process belongs; nothing elsewhere."""
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def unit_environ(group: str) -> Mapping[str, str] | None:
    """What systemd gives a service, which everybody may read; None where part of it lies in a file."""
    unit = UNIT.search(group)
    if unit is None or unit[1].startswith("user@"):
        return None
    command = ("systemctl", "show", unit[1], "--property=Environment", "--property=EnvironmentFiles")
    try:
        told = subprocess.run(  # noqa: S603 no shell; the unit's name is the kernel's
            command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return read_unit(told.stdout)


def read_unit(told: str) -> Mapping[str, str] | None:
    """The variables in what systemctl shows."""
    shown = dict(line.partition("=")[::2] for line in told.splitlines())
    if "Environment" not in shown or shown.get("EnvironmentFiles"):
        return None
    try:
        words = shlex.split(shown["Environment"])
    except ValueError:
        return None
    return dict(word.partition("=")[::2] for word in words)


def port_of(environ: Mapping[str, str]) -> int:
    """Where an Ollama with these variables listens."""
    port = re.search(r":([0-9]+)/?$", environ.get("OLLAMA_HOST", "").strip())
    return int(port[1]) if port else OLLAMA_PORT


def strangers(port: int, own: int) -> Sequence[str] | None:
    """Who is connected to a port of this machine, but for who serves it and for who serves `own`."""
    try:
        connections = psutil.net_connections("tcp")
    except (OSError, psutil.Error):
        return None
    known = {one.pid for one in connections if one.status == psutil.CONN_LISTEN and one.laddr.port in (port, own)}
    there = [one for one in connections if one.status == psutil.CONN_ESTABLISHED and one.raddr]
    names = {f"a program at {one.raddr.ip}" for one in there if one.laddr.port == port and not _within(one)}
    pids = {one.pid for one in there if one.raddr.port == port and _within(one)}
    names |= {name_of(pid) for pid in pids - known - {None}}
    return None if None in pids and not names else sorted(names)


def _within(connection: Any) -> bool:
    """Whether both its ends are on this machine."""
    at = ipaddress.ip_address(connection.raddr.ip.partition("%")[0])
    inner = at.ipv4_mapped if isinstance(at, ipaddress.IPv6Address) else None
    return (inner or at).is_loopback or connection.raddr.ip == connection.laddr.ip


def name_of(pid: int) -> str:
    """What a process is called, with its script where it is an interpreter."""
    try:
        words = psutil.Process(pid).cmdline()
    except (OSError, psutil.Error):
        words = []
    if not words:
        return f"process {pid}"
    name = words[0].rpartition("/")[2]
    script = words[1].rpartition("/")[2] if len(words) > 1 and not words[1].startswith("-") else ""
    return f"{name} {script} ({pid})" if script and INTERPRETERS.fullmatch(name) else f"{name} ({pid})"
