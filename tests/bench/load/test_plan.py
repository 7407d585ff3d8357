from typing import Any

import pytest

from bench.load.plan import is_loopback, refusal
from tests.bench.load.plans import plan


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.8.8.8", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://box.lan:1", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://192.168.0.2", False),
        ("http://0.0.0.0", False),
    ],
)
def test_only_this_machine_is_loaded_without_being_asked(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
    assert (refusal(plan(url), yes=False) is None) is loopback
    assert refusal(plan(url), yes=True) is None


@pytest.mark.parametrize(
    "changes",
    [{"clients": 1_001}, {"requests": 100_001}, {"seconds": 0.0}, {"seconds": float("nan")}, {"seconds": 1e9}],
)
def test_load_is_bounded(changes: dict[str, Any]) -> None:
    assert refusal(plan(**changes), yes=True)
    assert refusal(plan("ftp://127.0.0.1"), yes=True)
