"""The job: what it is, which states it has, and which moves between them are legal.

The SQL CHECKs of the store and the diagram in docs/how-it-works.md follow the table here.
Nothing here knows how a job is stored or run.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from foreman.core.lanes import Lane


class JobState(StrEnum):
    """Waiting for a retry is `queued` with a `not_before` in the future."""

    QUEUED = "queued"
    LOADING = "loading"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED: Final = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
ACTIVE: Final = frozenset({JobState.LOADING, JobState.WORKING})

TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset({JobState.LOADING, JobState.CANCELLED, JobState.FAILED}),
    JobState.LOADING: frozenset({JobState.WORKING, JobState.QUEUED}) | FINISHED,
    JobState.WORKING: frozenset({JobState.QUEUED}) | FINISHED,
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class Mode(StrEnum):
    """Whether a client waits on its connection (attached) or fetches the answer later (detached)."""

    ATTACHED = "attached"
    DETACHED = "detached"


class Surface(StrEnum):
    """Which API shape the caller speaks; errors foreman makes itself take that shape."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


def surface_of(path: str) -> Surface:
    """The API shape of a path: /v1/messages speaks Anthropic, the rest of /v1 OpenAI, all else Ollama."""
    if path.startswith("/v1/messages"):
        return Surface.ANTHROPIC
    return Surface.OPENAI if path.startswith("/v1/") else Surface.OLLAMA


@dataclass(frozen=True, slots=True)
class LoadKey:
    """What must be equal for two jobs to share a loaded model without a reload.

    `model` is the canonical name, `options` the load-time options the request names, sorted by name
    (Ollama reloads a model when one of them differs: server/sched.go, needsReload).
    """

    model: str
    options: tuple[tuple[str, int | bool], ...] = ()

    def __str__(self) -> str:
        """The text that is stored and compared in SQL, for example `llama3:latest?num_ctx=8192`."""
        if not self.options:
            return self.model
        return self.model + "?" + "&".join(f"{name}={value}".lower() for name, value in self.options)

    @classmethod
    def parse(cls, text: str) -> "LoadKey":
        """The inverse of `str(load_key)`."""
        model, _, tail = text.partition("?")
        pairs = (pair.partition("=") for pair in tail.split("&") if pair)
        return cls(model, tuple((name, _value(text)) for name, _, text in pairs))


def _value(text: str) -> int | bool:
    return text == "true" if text in ("true", "false") else int(text)


@dataclass(frozen=True, slots=True)
class Payload:
    """The request as the client sent it: `headers` are the ones that may travel to the target, names in lower case."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Stats:
    """What is known of a finished job. Durations in ms, counts in tokens; None where the target said nothing."""

    waited_ms: int = 0
    load_ms: int = 0
    first_byte_ms: int | None = None
    total_ms: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job before it is stored. Times are unix milliseconds; `retry_of` is the id of the job this one repeats.

    `override` is `gate` for a job that the gate neither holds nor refuses.
    """

    id: str
    model: str
    load_key: LoadKey
    mode: Mode
    payload: Payload
    max_attempts: int
    created_at: int
    client: str = ""
    lane: Lane = Lane.LOCAL
    not_before: int = 0
    idem_key: str | None = None
    req_hash: bytes | None = None
    retry_of: str | None = None
    override: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A stored job without its bodies. Times are unix milliseconds; `seq` is the order of arrival, never reused.

    `stats` are those of a finished job that ran; `kept` says that somebody wants it to stay when its time is over.
    """

    seq: int
    id: str
    state: JobState
    lane: Lane
    model: str
    load_key: LoadKey
    path: str
    mode: Mode
    client: str
    attempts: int
    max_attempts: int
    not_before: int
    cancel_requested: bool
    created_at: int
    claimed_at: int | None = None
    first_byte_at: int | None = None
    finished_at: int | None = None
    status: int | None = None
    error_code: str | None = None
    error: str | None = None
    crashes: int = 0
    stats: Stats | None = None
    retry_of: str | None = None
    kept: bool = False
    idem_key: str | None = None
    override: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A job the worker now owns, with the request to send.

    `number` tells this try from all others of the job, also from those that were not counted as attempts.
    """

    job: Job
    payload: Payload
    number: int = 1


@dataclass(frozen=True, slots=True)
class Hot:
    """What is loaded, as far as the order of work is concerned: jobs for these need no swap, or only a reload.

    Both empty means "unknown", which makes the order plain first in, first out. `admitted` are the load keys that may
    be begun though they are not loaded, None for all of them.
    """

    load_keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    admitted: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """The next job of a lane: in the local one by what is `hot`, in the remote one the oldest.

    `gives_way`: only one that is older than every job that is ready in the other lane. `open` are the load keys of the
    remote lane whose jobs count as ready, `near` those of the local lane; None where all do. Local jobs of the load
    keys `held` are not ready.
    """

    hot: Hot = Hot()
    lane: Lane = Lane.LOCAL
    gives_way: bool = False
    open: tuple[str, ...] | None = None
    held: tuple[str, ...] = ()
    near: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A queued job of the local lane that is to be claimed and no other, by its `seq`."""

    seq: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The target's answer as it is kept: status, the headers that reach a client, and the bytes.

    `complete` is False when bytes are missing (the stream was cut, or too long to keep).
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claimed job ended: `state` is one of FINISHED."""

    state: JobState
    at: int
    stats: Stats
    answer: Answer | None = None
    error_code: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class HandBack:
    """A claimed job that goes back to the queue, its place kept.

    `counted` says whether the attempt stays counted; `crash` that the target's runner died under it.
    `not_before` is unix milliseconds, 0 for "at once".
    """

    at: int
    not_before: int
    counted: bool
    error_code: str
    error: str
    crash: bool = False
