"""Which headers pass between a client and the target, and which belong to one hop only."""

from collections.abc import Iterable, Mapping
from typing import Final

from foreman.core.trace import followed

Headers = tuple[tuple[str, str], ...]

HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# Credentials are nobody else's business; host and origin are checked by foreman, and would be refused by the target.
KEPT_FROM_TARGET: Final = HOP | frozenset(
    (
        "accept-encoding",
        "authorization",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "idempotency-key",
        "origin",
        "prefer",
        "referer",
        "via",
        "x-api-key",
    )
)
KEPT_FROM_TARGET_PREFIXES: Final = ("x-forwarded-", "sec-", "access-control-", "x-foreman-")
KEPT_FROM_CLIENT: Final = HOP | frozenset(("date", "server", "set-cookie", "vary"))
KEPT_FROM_CLIENT_PREFIXES: Final = ("access-control-", "x-foreman-")


def request_headers(headers: Mapping[str, str]) -> Headers:
    """The headers of a client's request that travel to the target, names in lower case.

    A malformed `traceparent` does not; see trace.py.
    """
    return followed(_filtered(headers.items(), KEPT_FROM_TARGET, KEPT_FROM_TARGET_PREFIXES))


def answer_headers(pairs: Iterable[tuple[str, str]]) -> Headers:
    """The headers of the target's answer that travel to a client, names in lower case."""
    return _filtered(pairs, KEPT_FROM_CLIENT, KEPT_FROM_CLIENT_PREFIXES)


def value_of(headers: Headers, name: str) -> str:
    """The value of a header (its name in lower case), empty where it is missing."""
    return next((value for key, value in headers if key == name), "")


def _filtered(pairs: Iterable[tuple[str, str]], names: frozenset[str], prefixes: tuple[str, ...]) -> Headers:
    lowered = [(name.lower(), value) for name, value in pairs]
    # What Connection names belongs to the hop as well (RFC 9110, 7.6.1).
    named = {word.strip().lower() for name, value in lowered if name == "connection" for word in value.split(",")}
    return tuple((n, v) for n, v in lowered if n not in names and n not in named and not n.startswith(prefixes))
