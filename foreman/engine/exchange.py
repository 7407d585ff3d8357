"""What the worker sees of one request to the target and its answer, whoever carries it."""

from collections.abc import Callable
from typing import Protocol

from foreman.engine.relay import Head


class Exchange(Protocol):
    """`head()` until it is there, then `read()` or `pump()` to the end.

    Whoever starts one must end it with `close()`, or with `abort()` where the answer is not wanted any more. `ended`
    says that the target is known to have let go of it.
    """

    @property
    def ended(self) -> bool: ...

    async def head(self, patience: float | None = None) -> Head | None:
        """Status and headers, or None where they do not come within `patience` seconds: ask again then.

        Raises TargetUnreachable, TargetLost or TargetGarbled.
        """

    async def read(self, patience: float | None = None) -> bytes:
        """The next bytes as they arrived, b"" at the end. Raises TargetCut, or TargetSilent after `patience` s."""

    async def pump(self, take: Callable[[bytes], None], patience: float) -> None:
        """Hand all that follows to `take` as it arrives; returns at the end, and raises as `read` does."""

    async def abort(self, grace: float) -> bool:
        """Give the request up. Returns whether the target was seen to let go of it within `grace` seconds.

        Sending ends first and the rest is thrown away until the target closes its side: a Go server cancels the
        handler when it reads the end, and closes only after the handler has returned.
        """

    def close(self) -> None:
        """Let go of it; of one that has not ended at once."""
