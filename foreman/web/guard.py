"""Who may call: the Host and Origin checks, CORS, and the shared key.

A page in a browser can reach every port of the machine it runs on, so listening on loopback alone protects nothing:
a foreign Host means DNS rebinding, a foreign Origin a page that makes requests behind its user's back. Both checks are
always on. Ollama's default origins are let in, but for `file://` and `null`, which any downloaded page can claim.
"""

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web

from foreman.core.errors import BadRequest, HostRefused, KeyRefused, OriginRefused
from foreman.web.errors import Handler
from foreman.web.relayed import Relayed

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")  # noqa: S104 (a name to compare with)
DEFAULT_ORIGINS: Final = (
    *(f"{scheme}://{name}{port}" for scheme in ("http", "https") for name in LOCAL_NAMES for port in ("", ":*")),
    "app://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)
# Names by which containers reach the machine they run on.
CONTAINER_HOSTS: Final = ("host.docker.internal", "host.containers.internal")
ALLOW_METHODS: Final = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
ALLOW_HEADERS: Final = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, X-Api-Key, Idempotency-Key, Prefer, "
    "Anthropic-Version, Anthropic-Beta, OpenAI-Beta, X-Stainless-Arch, X-Stainless-Async, X-Stainless-Custom-Poll-"
    "Interval, X-Stainless-Helper-Method, X-Stainless-Lang, X-Stainless-OS, X-Stainless-Package-Version, X-Stainless-"
    "Poll-Helper, X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout, "
    "X-Foreman-Override"
)
EXPOSE_HEADERS: Final = "X-Foreman-Job, X-Foreman-Error, X-Foreman-Stale, Retry-After"
PREFLIGHT: Final = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: ALLOW_METHODS,
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ALLOW_HEADERS,
    hdrs.ACCESS_CONTROL_MAX_AGE: "43200",
}
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
_PORTS: Final = 65536
# Only that the process answers at all; a container's health check has no key.
OPEN_PATHS: Final = frozenset({"/"})
# The page itself says nothing; all that it shows it asks for, with a key.
OPEN_FOLDER: Final = "/ui"


def host_of(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets. Raises BadRequest where it is none."""
    match = _HOST.fullmatch(header)
    if match is None or int(match[2] or 0) >= _PORTS:
        raise BadRequest("the Host header is missing or malformed")
    return match[1].strip("[]").rstrip(".").lower()


class Guard:
    """The checks, made once from the settings. `key` None means that nobody is asked for one."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str], key: str | None) -> None:
        machine = socket.gethostname().lower()
        own = ("localhost", machine, machine.split(".")[0], machine.split(".")[0] + ".local")
        self._hosts = frozenset((*own, *CONTAINER_HOSTS, *(host.lower() for host in hosts)))
        self._origins = tuple(_pattern(origin) for origin in (*origins, *DEFAULT_ORIGINS))
        self._key = None if key is None else key.encode()

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Where a request was sent to and where it comes from. Raises BadRequest, HostRefused or OriginRefused."""
        host = headers.get(hdrs.HOST, "")
        self.check_host(host)
        self.check_origin(method, host, headers)

    def check_host(self, header: str) -> None:
        """A literal IP address cannot be rebound to another machine, so every one passes."""
        name = host_of(header)
        if name in self._hosts or name.endswith(".localhost") or _is_ip(name):
            return
        raise HostRefused(f'the host name "{name}" is not allowed here; add it to allowed_hosts if it is yours')

    def check_origin(self, method: str, host: str, headers: Mapping[str, str]) -> None:
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None:
            if not self.allows(origin, host):
                raise OriginRefused("this origin is not allowed here; add it to allowed_origins if it is yours")
            return
        # A browser that sends no Origin still says where a request comes from. Following a link is harmless.
        navigates = method in (hdrs.METH_GET, hdrs.METH_HEAD) and headers.get("Sec-Fetch-Mode") == "navigate"
        if headers.get("Sec-Fetch-Site") == "cross-site" and not navigates:
            raise OriginRefused("requests from other sites are not allowed here")

    def allows(self, origin: str, host: str) -> bool:
        """Whether pages of this origin may call: those foreman itself would serve, and the listed ones."""
        if origin in (f"http://{host}", f"https://{host}"):
            return True
        return any(pattern.fullmatch(origin) for pattern in self._origins)

    def check_key(self, path: str, headers: Mapping[str, str]) -> None:
        """Raises KeyRefused."""
        if self._key is None or path in OPEN_PATHS or path == OPEN_FOLDER or path.startswith(f"{OPEN_FOLDER}/"):
            return
        scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("X-Api-Key", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._key):
            raise KeyRefused("a valid key is needed: send it as Authorization: Bearer, or as x-api-key")


GUARD: Final = web.AppKey("GUARD", Guard)
ORIGIN: Final = web.RequestKey("ORIGIN", str)


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check every request before anything else looks at it, and answer the preflight of a browser."""
    guard, headers = request.app[GUARD], request.headers
    guard.check(request.method, headers)
    origin = headers.get(hdrs.ORIGIN)
    if origin is not None:
        # From here on the page may read the answer, a refusal of its key too.
        request[ORIGIN] = origin
        # A browser sends no key ahead, so it can be asked for none.
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers:
            return web.Response(status=204, headers=PREFLIGHT)
    guard.check_key(request.path, headers)
    return await handler(request)


async def sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """The headers that every answer carries. An origin is echoed only after it has passed the check."""
    if isinstance(response, Relayed):
        response.strip()
    response.headers[hdrs.SERVER] = "foreman"
    origin = request.get(ORIGIN)
    if origin is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSE_HEADERS
        response.headers[hdrs.VARY] = hdrs.ORIGIN


def _pattern(origin: str) -> re.Pattern[str]:
    """An origin where `*` stands for anything."""
    return re.compile(".*".join(map(re.escape, origin.split("*"))), re.IGNORECASE)


@lru_cache(maxsize=256)
def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
