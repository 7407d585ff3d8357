"""An error answer of the target: what it says, and how the API that the client called would say it.

It must not know what becomes of the job.
"""

from dataclasses import dataclass
from typing import Final

import orjson

from foreman.core.headers import Headers, value_of
from foreman.core.job import Surface
from foreman.core.ollama import error_body

# So much of a body without an error in it is quoted.
_QUOTED: Final = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """Status, headers and whole body of an answer that is not the work asked for, and that nobody has seen yet."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        """The words of an error in any of the three shapes, else the beginning of the body; never empty."""
        try:
            parsed = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            parsed = None
        error = parsed.get("error") if isinstance(parsed, dict) else None
        if isinstance(error, dict):
            error = error.get("message")
        text = error if isinstance(error, str) else self.body.decode("utf-8", "replace")
        # An empty error is none to many clients.
        return text.strip()[:_QUOTED] or f"the target answered with status {self.status}"

    @property
    def retry_after(self) -> float | None:
        """Seconds the target asks to be left alone for; None where it says none, or a date."""
        try:
            return max(0.0, float(value_of(self.headers, "retry-after")))
        except ValueError:
            return None

    def on(self, surface: Surface, job_id: str) -> "Refusal":
        """The refusal of a request that foreman made in Ollama's own API, as the API the client called would say it."""
        if surface is Surface.OLLAMA:
            return self
        body = error_body(surface, self.status, self.text, job_id)
        return Refusal(self.status, (("content-type", "application/json"),), body)
