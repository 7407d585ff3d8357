"""Wrong keys by address: after too many in a minute an address is told to wait before it is told that one is wrong.

A key of foreman's own making always passes: behind a proxy all clients have one address, and 256 bits are not guessed.
For the same reason loopback is no exception. Of IPv6 a whole subscriber's network counts as one address.
"""

import ipaddress
from collections import OrderedDict, deque
from functools import lru_cache
from typing import Final

FREE: Final = 10
WINDOW_SECONDS: Final = 60.0
# So many addresses are remembered, those that failed last.
ADDRESSES: Final = 4096
_SUBSCRIBER: Final = 64  # bits


class Failures:
    """Moments in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_address)

    def wait(self, address: str, now: float) -> int | None:
        """The whole seconds that an address has to wait; None where it need not."""
        if not self._by_address:
            return None
        moments = self._by_address.get(_network(address))
        if moments is None or len(moments) < FREE or now - moments[0] >= WINDOW_SECONDS:
            return None
        return int(moments[0] + WINDOW_SECONDS - now) + 1

    def note(self, address: str, now: float) -> bool:
        """A wrong key came from there; whether it has to wait from now on."""
        network = _network(address)
        moments = self._by_address.setdefault(network, deque(maxlen=FREE))
        self._by_address.move_to_end(network)
        if len(self._by_address) > ADDRESSES:
            self._by_address.popitem(last=False)
        moments.append(now)
        return self.wait(address, now) is not None


@lru_cache(maxsize=1024)
def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), _SUBSCRIBER), strict=False))
