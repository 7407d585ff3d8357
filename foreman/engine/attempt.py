"""One attempt at one job: load the model where needed, send the request, feed the relay, judge the end.

Reads from the target and says what came of it as a value (`Outcome` or `HandBack`); writes nothing durable, so it may
be cancelled at any await. What it holds of the target it lets go of before it ends, however it ends. It may run while
its claim is still being written, and releases nothing before that is on disk.
"""

from collections.abc import Callable
from typing import Final

from foreman.core.errors import ForemanError, JobCancelled, JobFailed, NoRoom, TargetCut, TargetError, TargetSilent
from foreman.core.framing import Framing, Verdict, VerdictKind, Watch, framing_of
from foreman.core.headers import value_of
from foreman.core.job import Answer, HandBack, JobState, Mode, Outcome, Stats
from foreman.core.refusal import Refusal
from foreman.core.retry import Retry, Wait, after_error, after_status
from foreman.core.upkeep import Work, is_upkeep
from foreman.engine.clock import Clock, millis
from foreman.engine.exchange import Exchange
from foreman.engine.loading import Loading
from foreman.engine.patience import Limits, Patience
from foreman.engine.poller import Poller
from foreman.engine.relay import Head
from foreman.engine.reloads import Reloads
from foreman.engine.start import Start
from foreman.engine.target import Target
from foreman.engine.upkeep import Upkeep

# A whole answer up to this size is held back until it is complete: a client can make nothing of a part of it.
WHOLE_BYTES: Final = 1 << 20

Result = Outcome | HandBack


class Attempt:
    """Runs one claim once. `error` is what a reader is to be told after the last byte, None for a clean end."""

    def __init__(
        self, start: Start, target: Target, poller: Poller, clock: Clock, limits: Limits, reloads: Reloads
    ) -> None:
        self._start = start
        self._live = live = start.live
        self._claim = start.claim
        self._target = target
        self._poller = poller
        self._clock = clock
        self._limits = limits
        self._patience = Patience(target, poller, clock, limits)
        self._loading = Loading(live, self._patience, target, poller, clock, limits, reloads)
        self._upkeep: Upkeep | None = None
        if is_upkeep(live.model):
            self._upkeep = Upkeep(live, self._patience, poller, clock, limits.room)
        self._began = clock.monotonic()
        self._first_byte_ms: int | None = None
        self.error: ForemanError | None = None
        self.working: Callable[[], None] = lambda: None

    @property
    def seq(self) -> int:
        """Known once the claim is on disk."""
        return self._live.seq

    @property
    def number(self) -> int:
        return self._claim.job.attempts

    async def run(self) -> Result:
        """Run to an end. Raises CancelledError only where its task is cancelled."""
        try:
            if self._upkeep is not None:
                self._upkeep.check()
            # What was sent ahead needs nothing to be loaded.
            refusal = await self._loading.run() if self._start.exchange is None else None
            if self._live.cancelled:
                return self.cancelled()
            if refusal is None:
                return await self._send()
            return self._refused(refusal) if await self._start.on_disk() else self.handed_back()
        except TargetError as error:
            return await self._failed(error)
        except NoRoom as error:
            self.error = error
            return self._outcome(JobState.FAILED, error.code, str(error))

    async def leave(self) -> None:
        """Give up a request that was sent ahead and not taken up."""
        exchange, self._start.exchange = self._start.exchange, None
        if exchange is not None:
            async with self._patience.ending(exchange):
                pass

    # -- working

    async def _send(self) -> Result:
        sent = self._clock.monotonic()
        self._live.state = JobState.WORKING
        ahead, self._start.exchange = self._start.exchange, None
        async with self._patience.ending(ahead or self._begin()) as exchange:
            head = await self._patience.head(exchange)
            if not await self._start.on_disk():
                return self.handed_back()
            if head.status >= 400:
                return self._refused(Refusal(head.status, head.headers, await self._patience.rest(exchange)))
            first = await self._patience.first(exchange)
            self._first_byte_ms = self._since(sent)
            self.working()
            if self._upkeep is not None:
                return await self._kept_up(self._upkeep, exchange, head, first)
            framing = framing_of(value_of(head.headers, "content-type"))
            if framing is Framing.WHOLE:
                first = await self._held_back(exchange, first)
            return await self._relay(exchange, head, Watch(framing, self._claim.payload.path), first)

    def _begin(self) -> Exchange:
        return self._target.exchange(self._claim.payload)

    async def _held_back(self, exchange: Exchange, chunk: bytes) -> bytes:
        """All of an answer that is no stream: until it is released, its failure can be undone. Raises TargetError."""
        body = bytearray()
        while chunk and len(body) < WHOLE_BYTES:
            body += chunk
            chunk = await exchange.read(self._limits.idle)
        return bytes(body) + chunk

    async def _relay(self, exchange: Exchange, head: Head, watch: Watch, chunk: bytes) -> Result:
        """Pass the answer on as it comes. From here on nothing is tried again."""
        relay = self._live.relay
        self._live.watch = watch
        relay.begin(head)

        def take(chunk: bytes) -> None:
            watch.feed(chunk)
            relay.feed(chunk)

        broken: TargetError | None = None
        try:
            take(chunk)
            await exchange.pump(take, self._limits.idle)
        except (TargetCut, TargetSilent) as error:
            broken = error
        return self._judged(watch.verdict(broken is None), broken)

    async def _kept_up(self, upkeep: Upkeep, exchange: Exchange, head: Head, chunk: bytes) -> Result:
        """Upkeep that broke off is tried again, whatever was released: in the end the same model is there."""
        broken = await upkeep.run(exchange, head, chunk)
        verdict = upkeep.verdict(broken is None)
        if verdict.kind is not VerdictKind.CUT:
            return self._judged(verdict, broken)
        return await self._failed(broken or TargetCut("the target ended its answer before it was complete"))

    def _judged(self, verdict: Verdict, broken: TargetError | None) -> Result:
        if verdict.kind is VerdictKind.DONE:
            return self._outcome(JobState.DONE, verdict=verdict)
        if verdict.kind is VerdictKind.FAILED:
            # The target told the client itself, and ends its answer normally after that.
            return self._outcome(JobState.FAILED, "target_failed", verdict.message, verdict=verdict)
        broken = broken or TargetCut("the target ended its answer before it was complete")
        job = self._claim.job
        if self._live.mode is Mode.DETACHED and job.attempts < job.max_attempts:
            # Nobody waits on a connection, so nobody takes the first part for the beginning of the second.
            delay = self._limits.retry.delay(job.attempts, self._clock.jitter())
            return self._back(delay, broken.code, str(broken), counted=True)
        self.error = JobFailed(str(broken), broken.code)
        outcome = self._outcome(JobState.FAILED, broken.code, str(broken), verdict=verdict)
        # Readers hear of it now: a target that fell silent can be slow to let go.
        self._live.relay.finish(self.error)
        return outcome

    # -- how it ended

    def cancelled(self) -> Outcome:
        self.error = JobCancelled("the job was cancelled")
        return self._outcome(JobState.CANCELLED, "cancelled", "the job was cancelled")

    def handed_back(self) -> Result:
        """foreman is stopping: the job keeps its place and its attempts, and starts afresh after the restart."""
        return self._back(0.0, "stopped", "foreman was stopped", counted=False)

    def _refused(self, refusal: Refusal) -> Result:
        """The target answered with an error status, and nobody has seen it yet."""
        status, text = refusal.status, refusal.text
        if status in (429, 503):
            self._live.busy += 1
        decision = after_status(
            status,
            text,
            self._claim.job,
            retry_after=refusal.retry_after,
            busy=self._live.busy,
            policy=self._limits.retry,
            jitter=self._clock.jitter(),
        )
        code = f"status_{status}"
        if isinstance(decision, Retry) and not self._in_order:
            return self._back(decision.after, code, text, counted=decision.counted, crash=decision.crash)
        if status == 404:
            self._poller.soon()
        relay = self._live.relay
        if relay.released:  # by an earlier attempt at upkeep
            self.error = JobFailed(text, code)
            return self._outcome(JobState.FAILED, code, text)
        relay.begin(Head(status, refusal.headers))
        if refusal.body:
            relay.feed(refusal.body)
        return self._outcome(JobState.FAILED, code, text)

    async def _failed(self, error: TargetError) -> Result:
        """Something broke before a byte was released, or of what can be tried again all the same."""
        alive = await self._target.alive()
        if not alive:
            self._poller.lost(str(error))
        decision = after_error(
            error, self._claim.job, alive=alive, policy=self._limits.retry, jitter=self._clock.jitter()
        )
        if isinstance(decision, Retry):
            after = 0.0 if self._in_order else decision.after
            return self._back(after, error.code, str(error), counted=decision.counted)
        if isinstance(decision, Wait):
            return self._back(0.0, error.code, str(error), counted=False)
        self.error = error
        return self._outcome(JobState.FAILED, decision.code, str(error))

    @property
    def _in_order(self) -> bool:
        """Whether it must not fall back: of two creates of one name the later one counts, so it must come later."""
        return self._upkeep is not None and self._upkeep.work is Work.CREATE

    def _back(self, after: float, code: str, text: str, *, counted: bool, crash: bool = False) -> HandBack:
        now = millis(self._clock)
        return HandBack(now, now + int(after * 1000) if after else 0, counted, code, text, crash)

    def _outcome(
        self, state: JobState, code: str | None = None, text: str | None = None, *, verdict: Verdict | None = None
    ) -> Outcome:
        job = self._claim.job
        stats = Stats(
            waited_ms=max(0, (job.claimed_at or job.created_at) - job.created_at),
            load_ms=self._loading.ms,
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
        if answer is not None and self._upkeep is not None and self._upkeep.summary:
            return Answer(answer.status, answer.headers, self._upkeep.summary, complete=self.error is None)
        if answer is None or self.error is None:
            return answer
        return Answer(answer.status, answer.headers, answer.body, complete=False)

    def _since(self, began: float) -> int:
        return int((self._clock.monotonic() - began) * 1000)
