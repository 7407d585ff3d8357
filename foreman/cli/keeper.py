"""Heartbeats for one slot, as a program of its own that needs nothing but Python's library.

It is told on standard input what to do, in one line of JSON. Then that file stays open for as long as `foreman run` or
its command lives: when both are gone without a word, the slot is given back.
"""

import contextlib
import http.client
import json
import os
import select
import signal
import sys
import time
from typing import Any, Final
from urllib.parse import urlsplit

# How soon a foreman that does not answer is tried again; seconds.
RETRY_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 5.0
GONE: Final = (404, 409)


class Keeper:
    """Keeps the slot at `url`."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._at = urlsplit(told["url"])
        self._headers = {} if told["key"] is None else {"Authorization": f"Bearer {told['key']}"}
        self._every: float = told["every"]
        self._parent: int = told["parent"]
        self._warned = False
        self._passed_on = False

    def run(self) -> None:
        """Until the slot is not wanted any more, or is gone."""
        pause = self._every
        while not _closed(pause):
            began = time.monotonic()
            try:
                status, answer = self._ask("POST", "/heartbeat")
            except (OSError, http.client.HTTPException, ValueError):
                status, answer = 0, {}
            if status in GONE:
                self._say("the slot was given up, for nothing was heard of it; the command runs on without one")
                return
            if status == 200 and answer.get("cancel_requested"):
                self._cancel()
            elif status != 200 and not self._warned:
                self._warned = True
                self._say("foreman does not answer; the command runs on")
            took = time.monotonic() - began
            pause = max(0.0, (self._every if status == 200 else min(RETRY_SECONDS, self._every)) - took)
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            self._ask("DELETE", "")

    def _cancel(self) -> None:
        """Have the command end. It has its slot for as long as it takes."""
        if not self._passed_on and os.getppid() == self._parent:
            self._passed_on = True
            self._say("the job was cancelled: the command is told to end")
            os.kill(self._parent, signal.SIGTERM)

    def _ask(self, method: str, below: str) -> tuple[int, dict[str, Any]]:
        kind = http.client.HTTPSConnection if self._at.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._at.hostname or "", self._at.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, self._at.path + below, headers=self._headers)
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
            return response.status, answer if isinstance(answer, dict) else {}
        finally:
            connection.close()

    def _say(self, text: str) -> None:
        # Who read it may be gone.
        with contextlib.suppress(OSError):
            print(f"foreman: {text}", file=sys.stderr, flush=True)


def _closed(seconds: float) -> bool:
    """Whether standard input was closed within so many seconds."""
    ready, _, _ = select.select([0], [], [], seconds)
    return bool(ready) and os.read(0, 1) == b""


if __name__ == "__main__":
    Keeper(json.loads(sys.stdin.buffer.readline())).run()
