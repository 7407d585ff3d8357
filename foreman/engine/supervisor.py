"""What systemd is told of this process: that it serves, that its event loop turns, that it stops.

The protocol is sd_notify(3): datagrams of `NAME=value` lines to the socket that NOTIFY_SOCKET names. Elsewhere
(launchd, a container, a terminal) there is no such variable, and nothing is sent.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

from foreman.engine.clock import Clock
from foreman.log import log_event

log = logging.getLogger(__name__)

MICROSECONDS: Final = 1_000_000


class Supervisor:
    """The one who started this process and wants to hear of it. `environ` names its socket, if there is one."""

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._watched = _watchdog_seconds(environ)

    def ready(self) -> None:
        """Clients can connect."""
        self._tell("READY=1\nSTATUS=serving")

    def stopping(self) -> None:
        """No client is taken any more."""
        self._tell("STOPPING=1\nSTATUS=draining")

    async def feed(self) -> None:
        """Tell twice in each interval of the watchdog that the loop turns. Never ends; without a watchdog it sleeps."""
        never = asyncio.Event()
        while True:
            await self._clock.wait(never, self._watched and self._watched / 2)
            self._tell("WATCHDOG=1")

    def _tell(self, lines: str) -> None:
        if not self._address:
            return
        # "@" stands for the zero byte that an address without a file begins with.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.setblocking(False)
                notify.sendto(lines.encode(), address)
        except OSError as error:
            # Its supervisor acts on silence by itself; serving matters more.
            log_event(log, logging.WARNING, "supervisor_deaf", "the supervisor could not be told", error=error)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The interval in which something must be heard, where this very process is watched."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / MICROSECONDS if text.isascii() and text.isdigit() and int(text) > 0 else None
