"""One screen of everything: how foreman is, what runs, why the next one waits, and what the machine has left.

Functions from foreman's own answers to lines; where an answer is missing, what it would tell is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from foreman.cli import jobtext
from foreman.cli.table import age, duration
from foreman.cli.terminal import Line, Piece, printable
from foreman.core.units import gigabytes

Json = dict[str, Any]

# Where the values begin.
INDENT: Final = 10
STATES: Final = {"ok": "done", "degraded": "loading", "draining": "loading", "storage": "bad"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What foreman answered to `/health`, `/queue`, `/machine` and `/jobs`; `at` is when."""

    health: Json
    queue: Json
    machine: Json | None
    recent: Sequence[Json]
    at: datetime

    def as_json(self) -> Json:
        return {"health": self.health, "queue": self.queue, "machine": self.machine, "recent": list(self.recent)}


def summary(seen: Seen) -> Iterator[Line]:
    """All of it, but for the queue and the jobs before."""
    yield from _foreman(seen.health)
    yield from _target(seen.health["target"], seen.at)
    for name, lane in seen.queue["lanes"].items():
        yield from _lane(name, lane, seen.at)
    if seen.machine is not None:
        yield from _machine(seen.machine)
    yield from _remotes(seen.health["remotes"])


def _foreman(health: Json) -> Iterator[Line]:
    state = health["status"]
    word = "paused" if health["queue"]["paused"] and state == "ok" else state
    style = "loading" if word == "paused" else STATES.get(state, "bad")
    said = f", version {health['version']}, up {duration(health['uptime_seconds'])}"
    yield _row("foreman", Piece(word, style), Piece(said))
    if health["storage"]["error"]:
        yield _row("", Piece(health["storage"]["error"], "bad"))


def _target(target: Json, now: datetime) -> Iterator[Line]:
    if target["reachable"] is False:
        yield _row("target", Piece("does not answer", "bad"), Piece(f" at {target['url']}: {target['error']}"))
        return
    polled = "not asked yet" if target["last_poll"] is None else f"asked {_ago(target['last_poll'], now)} ago"
    yield _row("target", Piece(f"{target['url']}, {target['models']} models, {polled}"))
    for runner in target["resident"]:
        size = f", {gigabytes(runner['size'])}" if runner["size"] else ""
        yield _row("loaded", Piece(runner["model"], "bold"), Piece(f"{size}{_unloads(runner['unloads_at'], now)}"))


def _unloads(at: object, now: datetime) -> str:
    moment = _moment(at)
    if moment is None:
        return ""
    left = (moment - now).total_seconds()
    return ", stays" if left > 366 * 86_400 else f", unloads in {duration(left)}"


def _lane(name: str, lane: Json, now: datetime) -> Iterator[Line]:
    waits = f", {lane['queued']} wait" if lane["queued"] else ""
    why = f": {jobtext.REASONS.get(lane['waits_for'], lane['waits_for'])}" if lane["waits_for"] and waits else ""
    if not lane["running"]:
        yield _row(name, Piece(f"idle{waits}{why}", "" if waits else "dim"))
    for number, job in enumerate(lane["running"]):
        what = f"{jobtext.name_of(job)} for {job['client'] or 'nobody'}, {age(job['created_at'], now)} old"
        state = Piece(job["state"], job["state"])
        yield _row(name if number == 0 else "", state, Piece(f" {what}{waits + why if number == 0 else ''}"))


def _machine(machine: Json) -> Iterator[Line]:
    readings, bars = machine["readings"], machine["thresholds"]
    parts = []
    if readings["load_per_core"] is not None:
        parts.append(f"load {readings['load_per_core']:.2f} a core (at most {bars['max_load_per_core']:g})")
    if readings["memory_available"] is not None:
        parts.append(
            f"memory {gigabytes(readings['memory_available'])} free ({gigabytes(bars['memory_reserve'])} stay)"
        )
    if readings["disk_free"] is not None:
        parts.append(f"disk {gigabytes(readings['disk_free'])} free ({gigabytes(bars['disk_reserve'])} stay)")
    if parts:
        yield _row("machine", Piece(", ".join(parts)))
    if not machine["gate"]["on"]:
        yield _row("gate", Piece("off", "dim"))
    elif machine["next"] is not None:
        verdict = machine["next"]["verdict"]
        yield _row("gate", Piece(machine["next"]["text"], "" if verdict == "admit" else "loading"))


def _remotes(remotes: Sequence[Json]) -> Iterator[Line]:
    for remote in remotes:
        paused = f", paused for {duration(remote['paused_seconds'])}" if remote["paused_seconds"] else ""
        slots = f"{remote['running']} of {remote['limit']} run"
        slowed = f" (slowed down from {remote['slots']})" if remote["limit"] < remote["slots"] else ""
        yield _row("remote", Piece(remote["name"], "bold"), Piece(f" {slots}{slowed}{paused}"))


def _row(name: str, *pieces: Piece) -> Line:
    return (Piece(f"{name:<{INDENT}}", "dim"), *(Piece(printable_inside(piece.text), piece.style) for piece in pieces))


def printable_inside(text: str) -> str:
    """On one line and harmless; blanks at its ends stay, for it stands between others."""
    bare = printable(text)
    lead = " " if text.startswith(" ") else ""
    return f"{lead}{bare}"


def _ago(at: object, now: datetime) -> str:
    moment = _moment(at)
    return "-" if moment is None else duration((now - moment).total_seconds())


def _moment(at: object) -> datetime | None:
    """A time as foreman tells it: unix seconds, or text."""
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, UTC)
    try:
        return datetime.fromisoformat(at).astimezone(UTC) if isinstance(at, str) else None
    except ValueError:  # the target wrote it
        return None


def seen(answers: Mapping[str, Any], at: datetime) -> Seen:
    return Seen(answers["/health"], answers["/queue"], answers.get("/machine"), answers["/jobs"]["jobs"], at)
