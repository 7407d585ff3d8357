"""A plan that is fine, with changes."""

from typing import Any

from bench.load.plan import Plan


def plan(url: str = "http://127.0.0.1:1", **changes: Any) -> Plan:
    values: dict[str, Any] = {"model": "llama3", "clients": 2, "requests": 5, "stream": True, "seconds": 30.0}
    return Plan(url=url, **values | changes)
