"""Where foreman listens, where the target is, and which host names and origins are let in, read from text.

Readers raise ValueError with words that complete the sentence "the value must be ...". Nothing here resolves a name.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from foreman.core.units import read_list

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?", re.IGNORECASE)
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?:(?<=//)|^).*@", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name or literal IP, without brackets) and a TCP port; port 0 asks for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where somebody on the same machine finds what listens there."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return f"http://{Address(everywhere.get(self.host, self.host), self.port)}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. Other names than localhost count as reachable from outside."""
        if self.host.lower() == "localhost":
            return True
        try:
            ip = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        # Before Python 3.13 an IPv4 address mapped into IPv6 does not answer for its inner address.
        inner = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return (inner or ip).is_loopback


def read_listen(value: object) -> Address:
    """HOST:PORT, [IPv6]:PORT or :PORT, which stays on 127.0.0.1."""
    problem = "HOST:PORT such as 127.0.0.1:11435, [::1]:11435 or 127.0.0.1:0 for any free port"
    if isinstance(value, Address):
        return value
    host, colon, port = value.strip().rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(problem)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_host(bare or "127.0.0.1") or (":" in bare) != host.startswith("["):
        raise ValueError(problem)
    return Address(bare or "127.0.0.1", int(port))


def read_target(value: object) -> str:
    """The target's base URL without a trailing slash: http or https, a host, a path prefix if need be.

    HOST:PORT gets http://. A name and password are refused, because a URL ends up in logs.
    """
    problem = "an http or https URL such as http://127.0.0.1:11434"
    if not isinstance(value, str) or re.search(r"[\s\x00-\x1f\x7f\\]", value.strip()):
        raise ValueError(problem)
    text = value.strip()
    if not _SCHEME.match(text):
        if not re.match(r"(\[[^\]]+\]|[^/:\[]+):[0-9]+(/|$)", text):
            raise ValueError(f"{problem}, or HOST:PORT")
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(problem) from error
    _check_target(parts, text, problem)
    host = parts.hostname or ""
    netloc = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def _check_target(parts: SplitResult, text: str, problem: str) -> None:
    if "@" in text:
        raise ValueError(f"{problem}, without a user name or password")
    if "?" in text or "#" in text:
        raise ValueError(f"{problem}, without a query or fragment")
    if parts.scheme not in ("http", "https") or not _is_host(parts.hostname or "") or parts.port == 0:
        raise ValueError(problem)


def without_userinfo(text: str) -> str:
    """The text of a URL with all that stands between its scheme and its last @ replaced: it may be a password."""
    return _USERINFO.sub("***@", text)


def _is_host(text: str) -> bool:
    if ":" in text:
        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            return False
        return "%" not in text
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def read_hosts(value: object) -> tuple[str, ...]:
    """Host names or literal IPs, in lower case, without port or scheme."""
    hosts = tuple(host.lower().removeprefix("[").removesuffix("]") for host in read_list(value))
    if not all(map(_is_host, hosts)):
        raise ValueError("host names such as box.lan, without port, scheme or wildcard")
    return hosts


def read_origins(value: object) -> tuple[str, ...]:
    """Origins as a browser sends them (scheme://host, a port if not the scheme's own), in lower case.

    A wildcard is refused: it would let every page a user visits use the target.
    """
    origins = tuple(origin.lower().removesuffix("/") for origin in read_list(value))
    if not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError("origins such as http://box.lan:3000, without path or wildcard")
    return origins
