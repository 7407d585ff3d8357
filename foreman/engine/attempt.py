"""One attempt at one job: load the model where needed, send the request, feed the relay, judge the end.

Reads from the target and says what came of it as a value (`Outcome` or `HandBack`); writes nothing durable, so it may
be cancelled at any await. What it holds of the target it lets go of before it ends, however it ends.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import orjson

from foreman.core import names
from foreman.core.errors import (
    ForemanError,
    JobCancelled,
    JobFailed,
    TargetCut,
    TargetError,
    TargetLost,
    TargetSilent,
    TargetStatus,
)
from foreman.core.framing import Framing, Verdict, VerdictKind, Watch, framing_of
from foreman.core.headers import value_of
from foreman.core.job import Answer, Claim, HandBack, JobState, Outcome, Stats, Surface, surface_of
from foreman.core.ollama import error_body
from foreman.core.residency import Load, Ready, Swap, plan
from foreman.core.retry import Retry, RetryPolicy, Wait, after_error, after_status
from foreman.engine.clock import Clock, millis
from foreman.engine.live import Live
from foreman.engine.poller import SWAP_SECONDS, Poller
from foreman.engine.relay import Head
from foreman.engine.target import Exchange, Target
from foreman.log import log_event

log = logging.getLogger(__name__)

# So many probes in a row must fail before a silent target counts as dead within the first-byte timeout.
DEAD_PROBES: Final = 6
# How long a target may take to let go of an aborted request, and of an evicted model, before foreman goes on.
ABORT_SECONDS: Final = 5.0
EVICT_SECONDS: Final = 60.0
EVICT_LOOK_SECONDS: Final = 0.1
# An error body is read whole before it is judged; what is longer than this is no error body.
ERROR_BYTES: Final = 1 << 20
# A whole answer up to this size is held back until it is complete: a client can make nothing of a part of it.
WHOLE_BYTES: Final = 1 << 20

Result = Outcome | HandBack
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the worker is told by the settings. Seconds."""

    first_byte: float
    idle: float
    probe: float
    keep_alive: str
    swap: Swap
    retry: RetryPolicy


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the target that is not the work asked for: its head and whole body."""

    head: Head
    body: bytes


class Attempt:
    """Runs one claim once. `error` is what a reader is to be told after the last byte, None for a clean end."""

    def __init__(self, live: Live, claim: Claim, target: Target, poller: Poller, clock: Clock, limits: Limits) -> None:
        self._live = live
        self._claim = claim
        self._target = target
        self._poller = poller
        self._clock = clock
        self._limits = limits
        self._began = clock.monotonic()
        self._load_ms = 0
        self._first_byte_ms: int | None = None
        self.error: ForemanError | None = None
        self.working: Callable[[], None] = lambda: None

    @property
    def seq(self) -> int:
        return self._claim.job.seq

    @property
    def number(self) -> int:
        return self._claim.job.attempts

    async def run(self) -> Result:
        """Run to an end. Raises CancelledError only where its task is cancelled."""
        try:
            refusal = await self._load()
            if self._live.cancelled:
                return self.cancelled()
            if refusal is not None:
                return self._refused(refusal)
            return await self._send()
        except TargetError as error:
            return await self._failed(error)

    # -- loading

    async def _load(self) -> Refusal | None:
        """Have the model in memory, alone and pinned. Returns what the target said where it could not load it."""
        need = self._need()
        if isinstance(need, Ready):
            return None
        await self._poller.look(max_age=SWAP_SECONDS)
        need = self._need()
        # What is not there cannot be loaded, and needs no room made for it: the target says so in better words.
        if isinstance(need, Ready) or not await self._poller.knows(names.parse(need.key.model)):
            return None
        began = self._clock.monotonic()
        self._live.loading = True
        try:
            for model in need.evict:
                await self._evict(model)
            return await self._load_model(need)
        finally:
            self._live.loading = False
            self._load_ms = self._since(began)

    def _need(self) -> Ready | Load:
        models = self._poller.models
        key = self._live.key
        remote = names.parse(key.model).is_cloud or models.is_remote(key.model)
        return plan(key, self._poller.residency, models, self._limits.swap, remote=remote)

    async def _evict(self, model: str) -> None:
        """Unload a model and wait until the target no longer shows it: its memory is needed for the next."""
        canonical = names.parse(model).canonical
        log_event(log, logging.INFO, "model_unload", "unloading", model=model, wanted=self._live.model)
        try:
            await self._target.unload(model, EVICT_SECONDS)
        except TargetStatus as error:
            # Deleted meanwhile, most likely; it goes when the target needs its memory.
            log_event(log, logging.WARNING, "unload_refused", "the target refused to unload", model=model, error=error)
            return
        until = self._clock.monotonic() + EVICT_SECONDS
        pause = asyncio.Event()
        while self._clock.monotonic() < until:
            await self._poller.look()
            if all(runner.canonical != canonical for runner in self._poller.residency.runners):
                break
            await self._clock.wait(pause, EVICT_LOOK_SECONDS)
        self._poller.unloaded(canonical)

    async def _load_model(self, need: Load) -> Refusal | None:
        """Load by an empty request. A refusal by 4xx is left to the job's own request, which gets better words."""
        log_event(log, logging.INFO, "model_load", "loading", model=self._live.model, load_key=need.key, swap=need.swap)
        async with self._letting_go(self._target.load(need.key, self._limits.keep_alive)) as exchange:
            head = await self._patiently(exchange.head)
            body = await self._read_all(exchange)
        if head.status == 200:
            self._poller.loaded(need.key)
            return None
        self._poller.unloaded(need.key.model)
        return self._translated(head, body) if head.status >= 500 or head.status == 429 else None

    def _translated(self, head: Head, body: bytes) -> Refusal:
        """What the target said to foreman's own request, as the client's API would say it."""
        surface = surface_of(self._claim.payload.path)
        if surface is Surface.OLLAMA:
            return Refusal(head, body)
        kept = tuple(pair for pair in head.headers if pair[0] == "retry-after")
        told = error_body(surface, head.status, error_text(body), self._live.id)
        return Refusal(Head(head.status, (("content-type", "application/json"), *kept)), told)

    # -- working

    async def _send(self) -> Result:
        sent = self._clock.monotonic()
        self._live.state = JobState.WORKING
        async with self._letting_go(self._target.exchange(self._claim.payload)) as exchange:
            head = await self._patiently(exchange.head)
            if head.status >= 400:
                return self._refused(Refusal(head, await self._read_all(exchange)))
            first = await self._beginning(exchange, head)
            if not first:
                raise TargetLost("the target ended its answer before it began")
            self._first_byte_ms = self._since(sent)
            self.working()
            return await self._relay(exchange, head, first)

    async def _beginning(self, exchange: Exchange, head: Head) -> bytes:
        """What is released first: the first chunk of a stream; all of a whole answer, whose failure can be undone."""
        chunk = await self._first_chunk(exchange)
        if framing_of(value_of(head.headers, "content-type")) is not Framing.WHOLE:
            return chunk
        body = bytearray()
        while chunk and len(body) < WHOLE_BYTES:
            body += chunk
            chunk = await exchange.read(self._limits.idle)
        return bytes(body) + chunk

    async def _first_chunk(self, exchange: Exchange) -> bytes:
        async def step(patience: float) -> bytes | None:
            try:
                return await exchange.read(patience)
            except TargetSilent:
                return None

        try:
            return await self._patiently(step)
        except TargetCut as error:
            raise TargetLost(str(error)) from error

    async def _relay(self, exchange: Exchange, head: Head, chunk: bytes) -> Outcome:
        """Pass the answer on as it comes. From here on nothing is tried again."""
        relay = self._live.relay
        watch = Watch(framing_of(value_of(head.headers, "content-type")), self._claim.payload.path)
        relay.begin(head)
        broken: TargetError | None = None
        try:
            while chunk:
                watch.feed(chunk)
                relay.feed(chunk)
                chunk = await exchange.read(self._limits.idle)
        except (TargetCut, TargetSilent) as error:
            broken = error
        return self._judged(watch.verdict(broken is None), broken)

    def _judged(self, verdict: Verdict, broken: TargetError | None) -> Outcome:
        if verdict.kind is VerdictKind.DONE:
            return self._outcome(JobState.DONE, verdict=verdict)
        if verdict.kind is VerdictKind.FAILED:
            # The target told the client itself, and ends its answer normally after that.
            return self._outcome(JobState.FAILED, "target_failed", verdict.message, verdict=verdict)
        broken = broken or TargetCut("the target ended its answer before it was complete")
        self.error = JobFailed(str(broken), broken.code)
        outcome = self._outcome(JobState.FAILED, broken.code, str(broken), verdict=verdict)
        # Readers hear of it now: a target that fell silent can be slow to let go.
        self._live.relay.finish(self.error)
        return outcome

    # -- how it ended

    def cancelled(self) -> Outcome:
        self.error = JobCancelled("the job was cancelled")
        return self._outcome(JobState.CANCELLED, "cancelled", "the job was cancelled")

    def handed_back(self) -> HandBack:
        """foreman is stopping: the job keeps its place and its attempts, and starts afresh after the restart."""
        return self._back(0.0, "stopped", "foreman was stopped", counted=False)

    def _refused(self, refusal: Refusal) -> Result:
        """The target answered with an error status, and nobody has seen it yet."""
        status, text = refusal.head.status, error_text(refusal.body)
        if status in (429, 503):
            self._live.busy += 1
        decision = after_status(
            status,
            text,
            self._claim.job,
            retry_after=_seconds(value_of(refusal.head.headers, "retry-after")),
            busy=self._live.busy,
            policy=self._limits.retry,
            jitter=self._clock.jitter(),
        )
        code = f"status_{status}"
        if isinstance(decision, Retry):
            return self._back(decision.after, code, text, counted=decision.counted, crash=decision.crash)
        if status == 404:
            self._poller.soon()
        relay = self._live.relay
        relay.begin(refusal.head)
        if refusal.body:
            relay.feed(refusal.body)
        return self._outcome(JobState.FAILED, code, text)

    async def _failed(self, error: TargetError) -> Result:
        """Something broke before a byte was released."""
        alive = await self._target.alive()
        if not alive:
            self._poller.lost(str(error))
        decision = after_error(
            error, self._claim.job, alive=alive, policy=self._limits.retry, jitter=self._clock.jitter()
        )
        if isinstance(decision, Retry):
            return self._back(decision.after, error.code, str(error), counted=decision.counted)
        if isinstance(decision, Wait):
            return self._back(0.0, error.code, str(error), counted=False)
        self.error = error
        return self._outcome(JobState.FAILED, decision.code, str(error))

    def _back(self, after: float, code: str, text: str, *, counted: bool, crash: bool = False) -> HandBack:
        now = millis(self._clock)
        return HandBack(now, now + int(after * 1000) if after else 0, counted, code, text, crash)

    def _outcome(
        self, state: JobState, code: str | None = None, text: str | None = None, *, verdict: Verdict | None = None
    ) -> Outcome:
        job = self._claim.job
        stats = Stats(
            waited_ms=max(0, (job.claimed_at or job.created_at) - job.created_at),
            load_ms=self._load_ms,
            first_byte_ms=self._first_byte_ms,
            total_ms=self._since(self._began),
            prompt_tokens=verdict.prompt_tokens if verdict else None,
            output_tokens=verdict.output_tokens if verdict else None,
        )
        return Outcome(state, millis(self._clock), stats, self._kept(state), code, text)

    def _kept(self, state: JobState) -> Answer | None:
        if state is JobState.CANCELLED:
            return None
        answer = self._live.relay.answer()
        if answer is None or self.error is None:
            return answer
        return Answer(answer.status, answer.headers, answer.body, complete=False)

    # -- patience

    async def _patiently(self, step: Callable[[float], Awaitable[T | None]]) -> T:
        """Repeat a step that gives up after some seconds, as long as the target lives.

        A load can take half an hour, so silence alone means nothing: a probe on another connection decides. Within the
        first-byte timeout several in a row must fail, after it one is enough. Raises TargetSilent.
        """
        began = self._clock.monotonic()
        dead = 0
        while (got := await step(min(self._limits.probe, self._limits.first_byte))) is None:
            if await self._target.alive():
                dead = 0
                continue
            dead += 1
            silent = self._clock.monotonic() - began
            if dead >= DEAD_PROBES or silent >= self._limits.first_byte:
                raise TargetSilent(f"the target has been silent for {silent:.0f} s and does not answer a probe either")
        return got

    async def _read_all(self, exchange: Exchange) -> bytes:
        """The body of an error answer. What breaks off is as good as what there is of it."""
        body = bytearray()
        try:
            while len(body) < ERROR_BYTES and (chunk := await exchange.read(self._limits.idle)):
                body += chunk
        except (TargetCut, TargetSilent) as error:
            raise TargetLost(str(error)) from error
        return bytes(body)

    @asynccontextmanager
    async def _letting_go(self, exchange: Exchange) -> AsyncIterator[Exchange]:
        """End the exchange; where its end was not read, wait until the target has let go of it."""
        try:
            yield exchange
        finally:
            if exchange.ended:
                exchange.close()
            else:
                await self._abort(exchange)

    async def _abort(self, exchange: Exchange) -> None:
        released = await exchange.abort(ABORT_SECONDS)
        if not released:
            log_event(
                log, logging.WARNING, "abort_unseen", "the target did not close an aborted request", job=self._live.id
            )
        await self._poller.look()

    def _since(self, began: float) -> int:
        return int((self._clock.monotonic() - began) * 1000)


def error_text(body: bytes) -> str:
    """The words of an error body in any of the three shapes, else its beginning."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:500].decode("utf-8", "replace")
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return error[:500] if isinstance(error, str) else body[:500].decode("utf-8", "replace")


def _seconds(retry_after: str) -> float | None:
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return None
