"""Whether a model that is pulled or made fits on the disk of the models: pure arithmetic, and the words where not.

Rules:
1. When it is there, `reserve` must be free still.
2. While it is on its way, there must be room for twice what has yet to come.
3. A reserve of 0 asks for nothing at all.
4. One that is `forced` needs only what has yet to come: what cannot be there in the end is not fetched.
What has come already is on the disk, and counts no more.
"""

from collections.abc import Callable
from dataclasses import dataclass

from foreman.core.units import gigabytes


@dataclass(frozen=True, slots=True)
class Room:
    """The disk of the models: what must stay free of it, and how to read what is. Bytes; None: it cannot be read."""

    reserve: int
    folder: str
    free: Callable[[], int | None]


def shortage(model: str, to_come: int, room: Room, *, forced: bool = False) -> str | None:
    """Why it must not go on, None where it may. `to_come` in bytes, 0 while nothing is known."""
    if not room.reserve:
        return None
    free = room.free()
    if forced:
        return None if free is None or free >= to_come else _too_little(model, to_come, free, room.folder)
    if free is None:
        return f"{model} is not begun: how much is free in {room.folder} cannot be read; disk_reserve = 0 does not ask"
    needed = to_come + max(room.reserve, to_come)
    if free >= needed:
        return None
    there = f"{gigabytes(free)} are free in {room.folder}"
    if to_come > room.reserve:
        wants = f"{gigabytes(to_come)} have yet to come, and want twice as much while they do"
        return f"{model} does not fit: {wants}; {there}, {gigabytes(needed - free)} too little"
    wants = f"{gigabytes(to_come)} have yet to come, and " if to_come else ""
    kept = f"{wants}{gigabytes(room.reserve)} are kept free (disk_reserve)"
    return f"{model} does not fit: {kept}; {there}, {gigabytes(needed - free)} too little"


def _too_little(model: str, to_come: int, free: int, folder: str) -> str:
    wants = f"{gigabytes(to_come)} have yet to come; {gigabytes(free)} are free in {folder}"
    return f"{model} does not fit: {wants}, {gigabytes(to_come - free)} too little"
