"""Scripts: what a stub does to a request instead of answering it well, and the gates tests hold answers back with.

A script is set under a key: a model name (in any spelling), a path (`/api/ps`), or `*` for every inference request.
One script stays until it is replaced; a list is used one after another and then spent. An unload request takes none.
"""

import dataclasses
from asyncio import Event
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from foreman.testing.models import canonical


class Die(StrEnum):
    """How an answer is cut: by FIN, by RST, by silence on an open connection, or by a clean end that is too early."""

    FIN = "fin"
    RST = "rst"
    SILENCE = "silence"
    CLEAN = "clean"


class Terminal(StrEnum):
    """What becomes of the last event of a stream (`done:true`, `[DONE]`): kept, left out, or turned to `done:false`."""

    KEEP = "keep"
    OMIT = "omit"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One request's fate. Times are seconds.

    hold: chunks that may leave before `release` is needed; 0 holds the headers back too.
    delay: before the headers. tokens, tokens_per_second: instead of the stub's own.
    slices: sizes the body is cut into, used in a circle; (1,) sends every byte alone.
    status, body, headers: sent instead of an answer (a redirect is status 307 and a Location).
    error: the error's text, in the API's shape: with `status` the whole answer, else a line after `error_after` chunks.
    die: cut after so many bytes or chunks; with neither, before the headers.
    raw: these bytes instead of HTTP, then FIN. close_delimited: HTTP/1.0 style, the body ends with the connection.
    extra_length: a Content-Length that many bytes longer than the body. line_bytes: makes the first line that long.
    linger: goes on working that long after the client has gone.
    """

    hold: int | None = None
    delay: float = 0.0
    tokens: int | None = None
    tokens_per_second: float | None = None
    slices: tuple[int, ...] = ()
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    error_after: int = 0
    terminal: Terminal = Terminal.KEEP
    die: Die | None = None
    die_after_bytes: int | None = None
    die_after_chunks: int | None = None
    raw: bytes | None = None
    close_delimited: bool = False
    extra_length: int = 0
    line_bytes: int = 0
    linger: float = 0.0

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Script":
        """The script the remote control describes; bytes come as text. Raises ValueError, TypeError."""
        values = dict(fields)
        for name in ("body", "raw"):
            if isinstance(values.get(name), str):
                values[name] = values[name].encode()
        for name, kind in (("die", Die), ("terminal", Terminal), ("slices", tuple)):
            if values.get(name) is not None:
                values[name] = kind(values[name])
        return cls(**values)

    @property
    def dies_first(self) -> bool:
        """Whether the connection is lost before any header."""
        return self.die is not None and self.die_after_bytes is None and self.die_after_chunks is None


PLAIN = Script()


class Gate:
    """Holds one request's chunks back until they are released."""

    def __init__(self) -> None:
        self.opened = False
        self._permits = 0
        self._wake = Event()

    def release(self, chunks: int | None = None) -> None:
        """Lets so many chunks out, or, without a number, all there are."""
        if chunks is None:
            self.opened = True
        else:
            self._permits += chunks
        self._wake.set()

    async def passes(self) -> None:
        """Waits until one more chunk may leave, and takes that permit."""
        await self.arrives()
        if not self.opened:
            self._permits -= 1

    async def arrives(self) -> None:
        """Waits until a chunk may leave, without taking the permit."""
        while not self.opened and self._permits == 0:
            self._wake.clear()
            await self._wake.wait()

    @property
    def blocked(self) -> bool:
        return not self.opened and self._permits == 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A script taken by one request, with the gate that holds it."""

    key: str
    script: Script = PLAIN
    gate: Gate = dataclasses.field(default_factory=Gate)


class Scripts:
    """The scripts set now, and the gates of requests under way."""

    def __init__(self) -> None:
        self._single: dict[str, Script] = {}
        self._queued: dict[str, deque[Script]] = {}
        self._gates: dict[str, list[Gate]] = {}
        self._banked: dict[str, list[int | None]] = {}

    def set(self, key: str, script: Script | Sequence[Script] | None) -> None:
        """Sets what happens under `key`; None takes the script away. Requests under way keep theirs."""
        key = _folded(key)
        self._single.pop(key, None)
        self._queued.pop(key, None)
        self._banked.pop(key, None)
        if isinstance(script, Script):
            self._single[key] = script
        elif script is not None:
            self._queued[key] = deque(script)

    def clear(self) -> None:
        """Takes all scripts away and lets go of everything held."""
        for store in (self._single, self._queued, self._banked):
            store.clear()
        for gates in self._gates.values():
            for gate in gates:
                gate.release()

    def take(self, *keys: str) -> Scene:
        """The scene for a request, from the first of `keys` that has a script."""
        for key in map(_folded, keys):
            if queued := self._queued.get(key):
                return self._scene(key, queued.popleft())
            if single := self._single.get(key):
                return self._scene(key, single)
        return Scene("")

    def leave(self, scene: Scene) -> None:
        """The request of this scene has ended."""
        if scene.gate in (gates := self._gates.get(scene.key, [])):
            gates.remove(scene.gate)

    def release(self, key: str, chunks: int | None = None) -> None:
        """Lets chunks of the oldest held request under `key` go; with none there, of the next to come."""
        key = _folded(key)
        for gate in self._gates.get(key, []):
            if not gate.opened:
                gate.release(chunks)
                return
        self._banked.setdefault(key, []).append(chunks)

    def _scene(self, key: str, script: Script) -> Scene:
        scene = Scene(key, script)
        if script.hold is not None:
            self._gates.setdefault(key, []).append(scene.gate)
            for chunks in self._banked.pop(key, []):
                scene.gate.release(chunks)
        return scene


def _folded(key: str) -> str:
    return key if key == "*" or key.startswith("/") else canonical(key)
