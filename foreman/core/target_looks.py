"""Looks at the target: does it answer, what is it set to, what has it loaded, who goes to it past foreman."""

from collections.abc import Iterator, Mapping
from typing import Final

from foreman.core.findings import Facts, Finding, Level
from foreman.core.units import gigabytes

# The oldest Ollama that tells how long a context a loaded model has.
OLLAMA_FLOOR: Final = (0, 10, 0)
CLOCK_SECONDS: Final = 5.0
# A context that is seldom meant, and takes many gigabytes.
LONG_CONTEXT: Final = 65_536
ABOUT: Final = "settings"
BY_HAND: Final = "compare them with docs/target.md by hand"


def target(facts: Facts) -> Iterator[Finding]:
    if facts.target_error is not None:
        why = f"does not answer at {facts.target}: {facts.target_error}"
        yield Finding(Level.BAD, "target", why, "start Ollama, or set target to where it is")
    elif facts.target_is_foreman:
        yield Finding(Level.BAD, "target", f"{facts.target} is a foreman", "set target to the Ollama behind it")
    elif facts.target_version is None:
        why = f"what answers at {facts.target} tells no version of Ollama"
        yield Finding(Level.NOTE, "target", why, "set target to an Ollama")
    elif numbers(facts.target_version) < OLLAMA_FLOOR:
        floor = ".".join(map(str, OLLAMA_FLOOR))
        why = f"Ollama {facts.target_version} does not tell the context of what it has loaded"
        yield Finding(Level.BAD, "target", why, f"update it to {floor} or newer")
    else:
        yield Finding(Level.OK, "target", f"Ollama {facts.target_version} answers at {facts.target}")


def settings(facts: Facts) -> Iterator[Finding]:
    """What Ollama was started with; over its API none of it can be seen."""
    if not _is_ollama(facts):
        return
    server = facts.server
    if not facts.target_here:
        yield Finding(Level.NOTE, ABOUT, "cannot be seen: Ollama is on another machine", BY_HAND)
    elif server is None:
        why = "cannot be seen: no process `ollama serve` here, perhaps a container or a tunnel"
        yield Finding(Level.NOTE, ABOUT, why, f"{BY_HAND}; docker exec CONTAINER env shows a container's")
    elif server.environ is None:
        what = "runs in a container" if server.container else f"belongs to {server.user}"
        how = "docker exec CONTAINER env shows them" if server.container else "sudo foreman doctor shows them"
        yield Finding(Level.NOTE, ABOUT, f"cannot be seen: Ollama {what}", f"{how}; see docs/target.md")
    else:
        wrong = list(_wrong(server.environ, facts.swap, server.container))
        yield from wrong or [Finding(Level.OK, ABOUT, "those of Ollama are as recommended")]


def _wrong(env: Mapping[str, str], swap: str, container: bool) -> Iterator[Finding]:
    parallel, most = env.get("OLLAMA_NUM_PARALLEL", ""), env.get("OLLAMA_MAX_LOADED_MODELS", "")
    if parallel not in ("", "0", "1"):
        why = f"OLLAMA_NUM_PARALLEL={parallel} takes memory for jobs that foreman never sends at once"
        yield _note(why, "set it to 1")
    if most == "1":
        yield _note("OLLAMA_MAX_LOADED_MODELS=1: each embedding unloads the model that works", "set it to 2")
    elif swap == "exclusive" and most in ("", "0"):
        yield _note("OLLAMA_MAX_LOADED_MODELS is not set: Ollama keeps three or more", "set it to 2")
    if env.get("OLLAMA_CONTEXT_LENGTH", "") in ("", "0"):
        why = "OLLAMA_CONTEXT_LENGTH is not set: up to 262144, which can take more memory than the model"
        yield _note(why, "set it to what your clients need, such as 8192")
    if env.get("OLLAMA_KEEP_ALIVE", "") in ("0", "0s", "0m"):
        yield _note("OLLAMA_KEEP_ALIVE=0: what is loaded past foreman goes at once", "set it to 30m or -1")
    host = env.get("OLLAMA_HOST", "").rpartition("://")[2]
    # In a container that is how it must be; what is published decides.
    if host.startswith(("0.0.0.0", "[::]", "::", "*")) and not container:  # noqa: S104 what to warn of
        why = f"OLLAMA_HOST={host}: the whole network can use Ollama past foreman"
        yield Finding(Level.BAD, ABOUT, why, "set it to 127.0.0.1:11434, or let a firewall allow foreman alone")


def _note(said: str, advice: str) -> Finding:
    return Finding(Level.NOTE, ABOUT, said, advice)


def loaded(facts: Facts) -> Iterator[Finding]:
    """What is loaded tells some of the settings."""
    for one in facts.loaded if _is_ollama(facts) else ():
        if one.size and one.size_vram is not None and 0 < one.size_vram < one.size:
            outside = gigabytes(one.size - one.size_vram)
            why = f"{outside} of {one.model} do not fit into the graphics memory: it is slow"
            yield Finding(Level.NOTE, "loaded", why, "use a shorter context, or a smaller model")
        if one.context_length is not None and one.context_length >= LONG_CONTEXT:
            why = f"{one.model} has a context of {one.context_length}"
            yield Finding(Level.NOTE, "loaded", why, "if nobody needs it, set OLLAMA_CONTEXT_LENGTH lower")


def clients(facts: Facts) -> Iterator[Finding]:
    if not facts.target_here or not _is_ollama(facts):
        return
    if facts.strangers is None:
        why = "this user cannot see who is connected to the target"
        yield Finding(Level.NOTE, "clients", why, "sudo foreman doctor shows them")
    for name in facts.strangers or ():
        why = f"{name} is connected to the target past foreman"
        yield Finding(Level.BAD, "clients", why, f"give it {facts.listen} instead")
    if facts.strangers is not None and not facts.strangers:
        yield Finding(Level.OK, "clients", "nobody is connected to the target past foreman now")


def clock(facts: Facts) -> Iterator[Finding]:
    if facts.clock_off is None or not _is_ollama(facts):
        return
    if abs(facts.clock_off) > CLOCK_SECONDS:
        ahead = "ahead of" if facts.clock_off > 0 else "behind"
        why = f"the target's is {abs(facts.clock_off):.0f} s {ahead} this one: when models unload is misread"
        yield Finding(Level.BAD, "clock", why, "set both by NTP")
    else:
        yield Finding(Level.OK, "clock", "this machine and the target agree")


def _is_ollama(facts: Facts) -> bool:
    return facts.target_error is None and not facts.target_is_foreman


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers: what stands behind them (`-rc1`) does not count."""
    parts: list[int] = []
    for part in version.removeprefix("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
