"""`foreman serve`: set up the log and the loop, and run the application in it."""

import asyncio
import sys
from collections.abc import Callable

from foreman import app, log
from foreman.config import Configured


def serve(configured: Configured, stub_if_absent: bool) -> int:
    """Serve until told to stop. Returns the exit status; raises StartupError."""
    settings = configured.settings
    log.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=loop_factory(settings.loop)) as runner:
        runner.run(app.serve(settings, ready))
    return 0


def ready(url: str) -> None:
    print(f"foreman listening on {url}", file=sys.stderr, flush=True)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is wanted and has a wheel, else plain asyncio."""
    if name == "uvloop":
        try:
            import uvloop
        except ImportError:
            return asyncio.new_event_loop
        return uvloop.new_event_loop
    return asyncio.new_event_loop
