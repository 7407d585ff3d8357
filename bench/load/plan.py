"""What to ask of which server, and whether that may be done at all. Pure.

Bounded in number and time. A host that is not this machine is only asked with --yes: the load is real there.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

MAX_CLIENTS: Final = 1_000
MAX_REQUESTS: Final = 100_000
MAX_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do; `seconds` bounds the whole run, `key` is what the server asks for."""

    url: str
    model: str
    clients: int
    requests: int
    stream: bool
    seconds: float
    key: str | None = None


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine, without asking a name server."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refusal(plan: Plan, yes: bool) -> str | None:
    """Why the plan is not carried out, as a sentence."""
    parts = urlsplit(plan.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"not an http address: {plan.url}"
    if not 1 <= plan.clients <= MAX_CLIENTS:
        return f"--clients must be 1 to {MAX_CLIENTS}"
    if not 1 <= plan.requests <= MAX_REQUESTS:
        return f"--requests must be 1 to {MAX_REQUESTS}"
    if not 0 < plan.seconds <= MAX_SECONDS:
        return f"--seconds must be above 0 and at most {MAX_SECONDS:.0f}"
    if not yes and not is_loopback(plan.url):
        return f"{parts.hostname} is not this machine; add --yes if it is yours to put under load"
    return None
