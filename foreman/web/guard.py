"""Who may call: the Host and Origin checks, CORS, and keys.

A page in a browser can reach every port of the machine it runs on, so listening on loopback alone protects nothing:
a foreign Host means DNS rebinding, a foreign Origin a page that makes requests behind its user's back. Both checks are
always on. Ollama's default origins are let in, but for `file://` and `null`, which any downloaded page can claim.
"""

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web

from foreman.core.access import OPEN, Caller, Scope
from foreman.core.errors import BadRequest, HostRefused, KeyRefused, OriginRefused, ScopeMissing, TooManyFailures
from foreman.core.failures import Failures
from foreman.engine.clock import Clock
from foreman.engine.keyring import Keyring
from foreman.log import log_event
from foreman.web.access import MANAGE, NEEDS, needed
from foreman.web.errors import Handler
from foreman.web.paths import route_path
from foreman.web.relayed import Relayed
from foreman.web.sessions import Sessions

log = logging.getLogger(__name__)

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
# Who comes from elsewhere without a key, where none is asked for.
STRANGER: Final = Caller("", frozenset({Scope.INFER, Scope.READ}))
NEIGHBOUR: Final = Caller()


def host_of(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets. Raises BadRequest where it is none."""
    match = _HOST.fullmatch(header)
    if match is None or int(match[2] or 0) >= _PORTS:
        raise BadRequest("the Host header is missing or malformed")
    return match[1].strip("[]").rstrip(".").lower()


class Guard:
    """The checks, made once from the settings and the keys in force."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str], keyring: Keyring, clock: Clock) -> None:
        machine = socket.gethostname().lower()
        own = ("localhost", machine, machine.split(".")[0], machine.split(".")[0] + ".local")
        self._hosts = frozenset((*own, *CONTAINER_HOSTS, *(host.lower() for host in hosts)))
        self._origins = tuple(_pattern(origin) for origin in (*origins, *DEFAULT_ORIGINS))
        self._keyring = keyring
        self._clock = clock
        self._failures = Failures()
        self.sessions = Sessions()

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

    def admit(self, method: str, path: str, headers: Mapping[str, str], address: str | None) -> Caller:
        """Who asks, if he may. Raises KeyRefused, TooManyFailures and ScopeMissing."""
        needs = needed(method, path)
        if needs is OPEN:
            return STRANGER
        caller = self.looked_at(method, headers, address)
        if caller is None:
            raise KeyRefused("a valid key is needed: send it as Authorization: Bearer, or as x-api-key")
        if not caller.may(needs):
            one = " or ".join(scope for scope in Scope if scope in needs)
            hint = "" if caller.key_id else "; it is given to keys: foreman keys create --scopes infer,read," + one
            raise ScopeMissing(f"this needs the scope {one}{hint}")
        if needs == MANAGE:
            log_event(
                log, logging.INFO, "managed", "models are managed",
                method=method, path=path[:200], key=caller.key_id or None, client=address,
            )  # fmt: skip
        return caller

    def looked_at(self, method: str, headers: Mapping[str, str], address: str | None) -> Caller | None:
        """Who asks; None where a key is needed and none is shown. Raises KeyRefused and TooManyFailures."""
        if not self._keyring.demanded:
            return NEIGHBOUR if _is_loopback(address or "") else STRANGER
        token = _shown(headers)
        if token:
            return self.caller_of(token, address)
        key_id = self.sessions.key_id(method, headers)
        return None if key_id is None else self._keyring.caller_of(key_id)

    def caller_of(self, token: str, address: str | None) -> Caller | None:
        """Whose key this is; None where it lets nobody in. Raises TooManyFailures."""
        caller = self._keyring.caller(token)
        if caller is None and (wait := self._failures.note(address or "", self._clock.monotonic())) is not None:
            raise TooManyFailures(f"too many wrong keys came from this address: try again in {wait} s", wait)
        return caller


def _shown(headers: Mapping[str, str]) -> str:
    """The key that a request shows; empty where it shows none."""
    scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("X-Api-Key", "")


GUARD: Final = web.AppKey("GUARD", Guard)
ORIGIN: Final = web.RequestKey("ORIGIN", str)
CALLER: Final = web.RequestKey("CALLER", Caller)


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
    request[CALLER] = guard.admit(request.method, _routed(request), headers, request.remote)
    return await handler(request)


def _routed(request: web.Request) -> str:
    """The path as the handler that will answer has it; what no handler has for itself is classed as it is sent on."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    return path if path in NEEDS else route_path(request)


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


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
