"""`python -m bench load`: so many chats by so many clients against any Ollama or foreman, and how long they took.

Bounded in number and time. Each answer is at most a few tokens long, and a host that is not this machine is only
asked with --yes: the load is real there.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from bench.figures import percentile

MAX_CLIENTS: Final = 1_000
MAX_REQUESTS: Final = 100_000
ANSWER_TOKENS: Final = 64
SHARES: Final = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (1.0, "max"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do; `seconds` bounds the whole run."""

    url: str
    model: str
    clients: int
    requests: int
    stream: bool
    seconds: float


@dataclass(slots=True)
class Result:
    """What became of it: seconds to the first and the last byte of each good answer, and the bad ends by kind."""

    first_byte: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    timed_out: bool = False


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
    if not plan.seconds > 0:
        return "--seconds must be above 0"
    if not yes and not is_loopback(plan.url):
        return f"{parts.hostname} is not this machine; add --yes if it is yours to put under load"
    return None


async def load(plan: Plan) -> Result:
    """Carry it out; when the time is up, what is still open is given up."""
    result, numbers = Result(), iter(range(plan.requests))
    start = perf_counter()
    no_limit = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=no_limit, connector=connector) as session:
        try:
            async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as group:
                for _ in range(min(plan.clients, plan.requests)):
                    group.create_task(_client(session, plan, numbers, result))
        except TimeoutError:
            result.timed_out = True
    result.seconds = perf_counter() - start
    return result


async def _client(session: aiohttp.ClientSession, plan: Plan, numbers: Iterator[int], result: Result) -> None:
    for number in numbers:
        try:
            await _chat(session, plan, number, result)
        except (aiohttp.ClientError, OSError) as error:
            result.failures[type(error).__name__] += 1


async def _chat(session: aiohttp.ClientSession, plan: Plan, number: int, result: Result) -> None:
    body = {
        "model": plan.model,
        "messages": [{"role": "user", "content": f"Say something about the number {number}."}],
        "stream": plan.stream,
        "options": {"num_predict": ANSWER_TOKENS},
    }
    start, first, last = perf_counter(), 0.0, b""
    async with session.post(f"{plan.url.rstrip('/')}/api/chat", json=body) as answer:
        async for piece in answer.content.iter_any():
            first = first or perf_counter()
            last = (last + piece)[-4096:]
    if answer.status != 200:
        result.failures[f"status {answer.status}"] += 1
    elif b'"done":true' not in last.replace(b" ", b""):
        result.failures["no end in sight"] += 1
    else:
        result.first_byte.append(first - start)
        result.total.append(perf_counter() - start)


def report(plan: Plan, result: Result) -> str:
    """The result as text."""
    good, bad = len(result.total), result.failures.total()
    lines = [
        f"{good} of {plan.requests} chats answered in {result.seconds:.1f} s, {good / result.seconds:.1f} a second"
    ]
    if good:
        lines += ["", "            " + "".join(f"{name:>12}" for _, name in SHARES)]
        for label, values in (("first byte", result.first_byte), ("whole answer", result.total)):
            lines.append(f"{label:<12}" + "".join(f"{percentile(values, share) * 1000:9.1f} ms" for share, _ in SHARES))
    lines += ["", *(f"{count} failed: {kind}" for kind, count in result.failures.most_common())] if bad else []
    if result.timed_out:
        lines += [
            "",
            f"stopped after {plan.seconds:g} s; {plan.requests - good - bad} chats were not asked or given up",
        ]
    return "\n".join(lines)
