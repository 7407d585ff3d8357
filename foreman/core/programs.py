"""The programs that run on the machine, and what each is to foreman: its own, the target's, or heavy work of others.

A pattern is a command as people type it (`ollama pull`): its words are the first of the command line, with or without
an interpreter before it, in whatever case. Full paths count by their last part.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Final

from foreman.core.units import read_list

# What a command may stand behind. A word that begins with these is one too: `python3.12`.
_INTERPRETERS: Final = ("python", "node", "bun", "deno", "ruby", "perl", "bash", "zsh", "sh", "env", "uv", "nohup")
_PATTERN: Final = re.compile(r"[\w.+@-]+(?: +[\w.+@:/-]+)*")
_SHOWN: Final = 120

# How a target's own processes are called: the server, and what it starts to run a model.
TARGET: Final = ("ollama serve", "ollama runner", "llama-server", "ollama_llama_server")
# What runs a command that has a slot: a job of foreman's, wherever it was typed.
COMMANDS: Final = ("foreman run",)


@dataclass(frozen=True, slots=True)
class Program:
    """One process. `cpu_seconds` is what it has used so far."""

    pid: int
    parent: int
    words: tuple[str, ...]
    cpu_seconds: float = 0.0


def read_patterns(value: object) -> tuple[str, ...]:
    """Patterns from text with commas or an array of texts. Raises ValueError with what they must be."""
    patterns = read_list(value)
    if not all(_PATTERN.fullmatch(pattern) for pattern in patterns):
        raise ValueError("commands such as `ollama pull`, with commas between them")
    return tuple(" ".join(pattern.split()) for pattern in patterns)


def matches(pattern: str, words: Sequence[str]) -> bool:
    """Whether a command line is of this pattern."""
    wanted = tuple(word.lower() for word in pattern.split())
    line = tuple(word.rpartition("/")[2].lower() for word in words)
    while wanted and line:
        if line[: len(wanted)] == wanted:
            return True
        if not _interprets(line[0]):
            return False
        line = tuple(dropwhile(lambda word: word.startswith("-"), line[1:]))
    return False


def _interprets(word: str) -> bool:
    stem = word.rstrip("0123456789.")
    return stem in _INTERPRETERS


def family(programs: Iterable[Program], roots: Iterable[int]) -> frozenset[int]:
    """These processes and all that they have started, by pid."""
    children: dict[int, list[int]] = {}
    for program in programs:
        children.setdefault(program.parent, []).append(program.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return frozenset(found)


def foreign(programs: Sequence[Program], patterns: Sequence[str], own: int) -> tuple[str, ...]:
    """The heavy programs of others, each once, as they can be shown; `own` is foreman's pid."""
    mine = family(programs, (own, *_called(programs, COMMANDS)))
    found = (p for p in programs if p.pid not in mine and any(matches(pattern, p.words) for pattern in patterns))
    return tuple(dict.fromkeys(shown(program.words) for program in found))


def shown(words: Sequence[str]) -> str:
    """A command line for people: short, on one line, nothing in it that moves a cursor."""
    text = " ".join((words[0].rpartition("/")[2], *words[1:])) if words else ""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 3] + "..."


def ours(programs: Sequence[Program], own: int) -> dict[int, float]:
    """The processor time of foreman, of the target, of commands with a slot and of all that these started, by pid."""
    mine = family(programs, (own, *_called(programs, TARGET + COMMANDS)))
    return {program.pid: program.cpu_seconds for program in programs if program.pid in mine}


def _called(programs: Iterable[Program], patterns: Sequence[str]) -> list[int]:
    return [p.pid for p in programs if any(matches(pattern, p.words) for pattern in patterns)]


def used(before: Mapping[int, float], now: Mapping[int, float]) -> float:
    """Seconds of processor time between two looks; what has ended meanwhile is not counted."""
    return sum(max(0.0, seconds - before.get(pid, 0.0)) for pid, seconds in now.items())
