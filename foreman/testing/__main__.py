"""`python -m foreman.testing`: the stub as a process of its own, until SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Final

from foreman.testing.gojson import Refusal
from foreman.testing.models import DEFAULT_MODELS
from foreman.testing.reply import DEFAULT_TOKENS
from foreman.testing.stub import StubOllama

# The ledger of a process that runs for days must not grow for ever.
_LEDGER_LIMIT: Final = 10_000


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m foreman.testing", description="A stub of Ollama.")
    parser.add_argument("--listen", default="127.0.0.1:11434", metavar="HOST:PORT", help="port 0 picks a free one")
    parser.add_argument("--model", action="append", metavar="NAME[:TAG]=SIZE", help="once for each model")
    parser.add_argument("--load-seconds", type=float, default=0.0, metavar="S", help="what loading a model takes")
    parser.add_argument("--tokens", type=int, default=DEFAULT_TOKENS, metavar="N", help="length of an answer")
    parser.add_argument("--tokens-per-second", type=float, default=0.0, metavar="R", help="0 for no pause")
    parser.add_argument("--max-loaded", type=int, default=1, metavar="N", help="worker models loaded at once")
    return parser.parse_args(given)


def stub_for(options: argparse.Namespace) -> StubOllama:
    """Raises ValueError on an address or a size that is none."""
    host, _, port = options.listen.rpartition(":")
    return StubOllama(
        options.model or DEFAULT_MODELS,
        host=host.strip("[]") or "127.0.0.1",
        port=int(port),
        load_seconds=options.load_seconds,
        max_loaded=options.max_loaded,
        tokens=options.tokens,
        tokens_per_second=options.tokens_per_second,
        ledger_limit=_LEDGER_LIMIT,
    )


async def serve(stub: StubOllama) -> None:
    """Serves until a signal asks to stop. Raises OSError when the port is taken."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with stub:
        sys.stderr.write(f"stub ollama listening on {stub.url}\n")
        sys.stderr.flush()
        await stopped.wait()


def main() -> None:
    """Exits with one line when the arguments make no sense or the port is taken."""
    try:
        asyncio.run(serve(stub_for(arguments())))
    except (OSError, ValueError, Refusal) as error:
        sys.exit(f"stub ollama: {error}")


if __name__ == "__main__":
    main()
