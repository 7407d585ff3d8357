"""Wrong keys by address: after too many in a minute an address is told to wait before it is told that one is wrong.

A right key always passes: behind a proxy all clients have one address, and 256 bits are not guessed.
"""

from collections import OrderedDict, deque
from typing import Final

FREE: Final = 10
WINDOW_SECONDS: Final = 60.0
# So many addresses are remembered, those that failed last.
ADDRESSES: Final = 4096


class Failures:
    """Moments in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str, now: float) -> int | None:
        """A wrong key came from there: None, or the whole seconds that it has to wait."""
        moments = self._by_address.setdefault(address, deque(maxlen=FREE))
        self._by_address.move_to_end(address)
        while len(self._by_address) > ADDRESSES:
            self._by_address.popitem(last=False)
        if len(moments) == FREE and now - moments[0] < WINDOW_SECONDS:
            return int(moments[0] + WINDOW_SECONDS - now) + 1
        moments.append(now)
        return None
