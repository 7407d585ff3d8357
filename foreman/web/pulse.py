"""How far the running jobs are, for who watches them: worked out only while somebody does."""

from typing import Final

import orjson

from foreman.core.access import Caller
from foreman.engine.engine import Engine

TICK_SECONDS: Final = 0.2


class Pulse:
    """What runs and the caller may see, and what came of it so far. `beat` says it where that is news."""

    def __init__(self, engine: Engine, caller: Caller) -> None:
        self._engine = engine
        self._caller = caller
        self._told = b""

    @property
    def beats(self) -> bool:
        """Whether there is anything to look at again soon."""
        return bool(self._engine.jobs.running)

    def beat(self) -> bytes:
        """JSON, or nothing."""
        running = [
            {"id": live.id, "tokens": live.tokens, "output_bytes": live.relay.size}
            for live in self._engine.jobs.running
            if self._caller.sees(live.key_id)
        ]
        told = orjson.dumps({"running": running})
        if told == self._told:
            return b""
        self._told = told
        return told
