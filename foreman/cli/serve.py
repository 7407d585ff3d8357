"""`foreman serve`: set up the log and the loop, and run the application in it."""

import asyncio
import dataclasses
import sys
from collections.abc import Callable

from foreman import app, log
from foreman.config import Configured
from foreman.settings import Settings

NO_OLLAMA = """\
****************************************************************************************
*  NO OLLAMA ANSWERS at {target}
*  foreman now stands in front of its own STUB at {stub}:
*  its models are not real and its answers are made up.
*  Start Ollama and run this again for real ones.
****************************************************************************************"""


def serve(configured: Configured, stub_if_absent: bool) -> int:
    """Serve until told to stop. Returns the exit status; raises StartupError."""
    settings = configured.settings
    log.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=loop_factory(settings.loop)) as runner:
        runner.run(_serve(settings, stub_if_absent))
    return 0


async def _serve(settings: Settings, stub_if_absent: bool) -> None:
    if not stub_if_absent or await app.target_answers(settings):
        await app.serve(settings, ready)
        return
    from foreman.testing import StubOllama

    async with StubOllama(load_seconds=2.0, tokens_per_second=20.0, ledger_limit=100) as stub:
        print(NO_OLLAMA.format(target=settings.target, stub=stub.url), file=sys.stderr, flush=True)
        await app.serve(dataclasses.replace(settings, target=stub.url, gate="off"), ready)


def ready(url: str) -> None:
    """The one line that says that clients can connect, and where."""
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
