"""Pollers for tests, and what they have asked."""

from foreman.core.job import LoadKey
from foreman.engine.poller import Poller
from foreman.engine.target import Target
from foreman.testing import Die, Script, StubOllama

EVERY, PROBE_CAP = 5.0, 3.0
HELD = Script(hold=0)
LLAMA, QWEN = LoadKey("llama3:latest"), LoadKey("qwen3:8b")


def asked(stub: StubOllama, path: str) -> int:
    return len(stub.ledger.on(path))


def resident(poller: Poller) -> list[str]:
    return [runner.canonical for runner in poller.residency.runners]


async def load(stub: StubOllama, target: Target, key: LoadKey) -> None:
    exchange = target.load(key, "-1m")
    await exchange.head()
    await exchange.read()
    exchange.close()


BROKEN = {
    "an error": Script(status=500, body=b'{"error":"no"}'),
    "no JSON": Script(status=200, body=b"<html>"),
    "no list": Script(status=200, body=b'{"models":null}'),
    "strange entries": Script(status=200, body=b'{"models":{"name":1}}'),
    "closed": Script(die=Die.FIN),
    "cut": Script(die=Die.FIN, die_after_bytes=5),
}
