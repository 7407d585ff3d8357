"""The lines of a look: from foreman's answers to words."""

from typing import Any

import pytest

from foreman.cli.statustext import Seen, summary
from tests.cli.seen import NOW, job, lane, machine, seen


def told(look: Seen) -> dict[str, str]:
    """The lines by their names; what has none belongs to the one above."""
    found: dict[str, str] = {}
    name = ""
    for line in summary(look):
        text = "".join(piece.text for piece in line)
        name = text[:10].strip() or name
        found[name] = f"{found[name]} / {text[10:]}" if name in found else text[10:]
    return found


def test_a_foreman_with_nothing_to_do() -> None:
    assert told(seen()) == {
        "foreman": "ok, version 1.2.3, up 1m01s",
        "target": "http://127.0.0.1:11434, 3 models, asked 3.0s ago",
        "local": "idle",
        "remote": "idle",
    }


@pytest.mark.parametrize(
    ("of_lane", "text"),
    [
        (lane([job("1", "working")]), "working llama3:latest"),
        (lane([job("1", "working", label="train.py")]), "working train.py"),
        # It waits for the job of its own lane: that needs no word.
        (lane([job("1", "loading")], 5, "slot"), "loading llama3:latest, 5 wait"),
        (lane([job("1", "working")], 1, "slot"), "working llama3:latest, 1 waits"),
        (lane([], 5, "slot"), "idle, 5 wait for a free slot"),
        (lane([], 2, "remote_lane"), "idle, 2 wait for the remote lane"),
        (lane([], 2, "paused"), "idle, 2 wait: the queue is paused"),
        (lane([], 2, "target_down"), "idle, 2 wait: the target is down"),
        (lane([], 2, "held"), "idle, 2 wait: the gate holds them"),
        (lane([], 2, "new_reason"), "idle, 2 wait: new_reason"),
        (lane([], 2), "idle, 2 wait"),
        (lane([job("1", "working"), job("2", "working")], 3, "slot", slots=5), "2 of 5 run, 3 wait"),
    ],
)
def test_a_lane(of_lane: dict[str, Any], text: str) -> None:
    assert told(seen(lanes={"local": of_lane}))["local"] == text


def test_who_has_their_time_waits_for_nothing_else() -> None:
    later = [job("1", not_before="2026-01-31T13:00:00Z")]
    assert told(seen(delayed=later))["local"] == "idle, 1 for later"
    assert told(seen(delayed=later, lanes={"local": lane([], 2, "paused")}))["local"].startswith("idle, 2 wait")


@pytest.mark.parametrize(
    ("status", "paused", "text"),
    [("ok", True, "paused,"), ("degraded", True, "degraded,"), ("draining", False, "draining,")],
)
def test_how_it_is(status: str, paused: bool, text: str) -> None:
    assert told(seen(paused=paused, health={"status": status}))["foreman"].startswith(text)


def test_a_disk_that_fails_and_a_target_that_is_down_are_told_whole() -> None:
    target = {"url": "http://a:1", "reachable": False, "error": "refused\x1b[2J", "resident": []}
    found = told(seen(health={"status": "storage", "storage": {"error": "disk is full"}, "target": target}))
    assert found["foreman"].endswith(" / disk is full")
    assert found["target"] == "does not answer at http://a:1: refused[2J"


@pytest.mark.parametrize(
    ("unloads_at", "text"),
    [
        ("2026-01-31T12:05:30Z", "m:1, 4.7 GB, unloads in 5m00s"),
        ("2318-01-31T12:05:30Z", "m:1, 4.7 GB, stays"),
        (None, "m:1, 4.7 GB"),
        ("soon", "m:1, 4.7 GB"),
    ],
)
def test_what_is_loaded(unloads_at: str | None, text: str) -> None:
    runner = {"model": "m:1", "size": 4_700_000_000, "unloads_at": unloads_at}
    target = {"url": "u", "reachable": True, "last_poll": None, "models": 1, "resident": [runner]}
    found = told(seen(health={"target": target}))
    assert (found["loaded"], found["target"]) == (text, "u, 1 models, not asked yet")


def test_the_machine_and_the_gate() -> None:
    reading = machine()
    assert told(seen(machine=reading))["machine"] == (
        "load 0.50 a core (at most 0.33), memory 24 GB free (4 GB stay), disk 78 GB free (30 GB stay)"
    )
    assert told(seen(machine=machine(load_per_core=None, memory_available=None)))["machine"].startswith("disk 78 GB")
    assert "machine" not in told(seen(machine=machine(load_per_core=None, memory_available=None, disk_free=None)))
    assert told(seen(machine={**reading, "gate": {"on": False}}))["gate"] == "off"
    held = {"verdict": "hold", "text": "needs 40 GB, 20 GB are free"}
    assert told(seen(machine={**reading, "next": held}))["gate"] == held["text"]


def test_remotes() -> None:
    remote = {"name": "openai", "running": 1, "limit": 2, "slots": 4, "paused_seconds": 30.0}
    text = told(seen(health={"remotes": [remote]}))["remote"]
    assert text.endswith("openai 1 of 2 run (slowed down from 4), paused for 30s")


def test_for_programs_all_of_it_is_there() -> None:
    look = seen([job("1", "working")], machine=machine())
    assert look.as_json() == {"health": look.health, "queue": look.queue, "machine": machine(), "recent": []}
    assert look.at == NOW
