"""nginx as a pass-through: one worker, nothing buffered, connections to the target kept.

One process does it all, so that killing it ends it and its CPU clock counts everything.
It also serves given bodies out of its own configuration: the least a cached answer can cost.
"""

import asyncio
import re
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.servers.ports import free_port
from foreman.core.errors import StartupError

KEPT: Final = "/bench-kept"
_READY_SECONDS: Final = 10.0
# Debian and Homebrew put it where the path of a user does not always lead.
_PATH: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/usr/local/bin:/usr/bin"

_CONFIG: Final = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  client_body_buffer_size 16m;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  tcp_nodelay on;
  upstream target {{
    server {target};
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
{kept}
    location / {{
      proxy_pass http://target;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx."""

    url: str
    pid: int


def program() -> str | None:
    """Where nginx is; None where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path=_PATH)


def version() -> str | None:
    """Its version; None where it is not installed."""
    if (path := program()) is None:
        return None
    said = subprocess.run((path, "-v"), capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition("/")[2]


def config(folder: Path, target: str, port: int, kept: Mapping[str, bytes]) -> str:
    """The configuration; `kept` are bodies (JSON in ASCII) by their path below KEPT. Raises ValueError for others."""
    locations = []
    for path, body in kept.items():
        # nginx would read these as the end of the text, or as variables.
        if not re.fullmatch(rb"[^'\\$\x80-\xff]*", body):
            raise ValueError(f"a body that cannot stand in a configuration: {path}")
        locations.append(
            f"    location = {KEPT}{path} {{ default_type application/json; return 200 '{body.decode()}'; }}"
        )
    return _CONFIG.format(folder=folder, target=urlsplit(target).netloc, port=port, kept="\n".join(locations))


@asynccontextmanager
async def nginx(folder: Path, target: str, kept: Mapping[str, bytes]) -> AsyncIterator[Nginx]:
    """nginx in front of the target, killed at the end. Raises StartupError."""
    path = program()
    if path is None:
        raise StartupError("nginx is not installed")
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(config(folder, target, port, kept))
    process = await asyncio.create_subprocess_exec(
        path, "-p", folder, "-c", file, "-e", "stderr", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    try:
        if not await _listens(process, port):
            _, said = await process.communicate()
            raise StartupError(f"nginx did not start: {said.decode(errors='replace').strip()}")
        yield Nginx(f"http://127.0.0.1:{port}", process.pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    """Whether it takes connections; False when it ends or does not in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _READY_SECONDS
    while process.returncode is None and loop.time() < until:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            await writer.wait_closed()
            return True
    if process.returncode is None:
        process.kill()
    return False
