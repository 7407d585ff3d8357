"""One attempt at one job of a remote API.

What may have been billed is not sent again: once anything of the request may have been sent, only an answer that says
that nothing was done (429, 503) leads to another attempt. See docs/decisions/0016.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from foreman.core.errors import JobFailed, MaybeBilled, TargetError, TargetMoved, TargetSilent
from foreman.core.framing import Verdict, VerdictKind
from foreman.core.job import HandBack, JobState, Outcome
from foreman.core.refusal import Refusal
from foreman.core.slowdown import UNREACHABLE
from foreman.core.throttle import retry_after
from foreman.engine.attempt import Attempt, Result
from foreman.engine.clock import Clock
from foreman.engine.exchange import Exchange
from foreman.engine.patience import Limits, Patience
from foreman.engine.poller import Poller
from foreman.engine.relay import Head
from foreman.engine.reloads import Reloads
from foreman.engine.start import Start
from foreman.engine.target import Target
from foreman.engine.upstream import Upstream, UpstreamExchange

# A 429 that no waiting ends.
SPENT: Final = b"insufficient_quota"

T = TypeVar("T")


class Call(Attempt):
    """Runs one claim once; see Attempt. `upstream` is None where the API is not configured any more."""

    def __init__(
        self,
        start: Start,
        upstream: Upstream | None,
        target: Target,
        poller: Poller,
        clock: Clock,
        limits: Limits,
        reloads: Reloads,
    ) -> None:
        if upstream is not None:
            remote = upstream.remote
            first_byte, idle = remote.first_byte_timeout_seconds, remote.idle_timeout_seconds
            limits = dataclasses.replace(limits, first_byte=first_byte, idle=idle)
        super().__init__(start, target, poller, clock, limits, reloads)
        self._upstream = upstream
        self._patience = Unprobed(target, poller, clock, limits)
        self._sent_at = clock.monotonic()
        self._exchange: UpstreamExchange | None = None

    async def run(self) -> Result:
        if self._upstream is None:
            text = "the remote of this job is not configured any more"
            self.error = JobFailed(text, "remote_unknown")
            return self._outcome(JobState.FAILED, "remote_unknown", text)
        try:
            return await self._send()
        except TargetError as error:
            return await self._failed(error)

    def _begin(self) -> Exchange:
        if self._upstream is None:
            raise RuntimeError("there is nobody to send it to")
        self._sent_at = self._clock.monotonic()
        self._exchange = self._upstream.exchange(self._claim.payload)
        return self._exchange

    def _judged(self, verdict: Verdict, broken: TargetError | None) -> Result:
        if verdict.kind is VerdictKind.CUT:
            outcome = self._billed(str(broken or "the answer ended before it was complete"), verdict)
            self._live.relay.finish(self.error)
            return outcome
        if self._upstream is not None:
            self._upstream.throttle.answered()
        return super()._judged(verdict, broken)

    def handed_back(self) -> Result:
        """foreman is stopping. What was not sent yet goes on after the restart."""
        if self._exchange is None or not self._exchange.sent:
            return super().handed_back()
        return self._billed("foreman was stopped before the answer was there")

    def _refused(self, refusal: Refusal) -> Result:
        upstream, live = self._upstream, self._live
        if upstream is None:
            return self._passed_on(refusal)
        if refusal.status not in (429, 503):
            upstream.throttle.answered()
            return self._passed_on(refusal)
        upstream.throttle.failures = 0
        if SPENT in refusal.body:
            return self._passed_on(refusal)
        now = self._clock.time()
        live.busy += 1
        live.busy_since = live.busy_since or now
        asked = retry_after(refusal.headers, now)
        after = max(asked or 0.0, self._limits.retry.delay(live.busy, self._clock.jitter()))
        if now - live.busy_since + after > upstream.remote.busy_seconds:
            return self._passed_on(refusal)
        cause = f"status_{refusal.status}"
        upstream.throttle.slow_down(self._clock.monotonic(), self._sent_at, after, cause, asked)
        return self._back(after, cause, refusal.text, counted=False)

    async def _failed(self, error: TargetError) -> Result:
        if isinstance(error, TargetMoved):
            self.error = error
            return self._outcome(JobState.FAILED, error.code, str(error))
        if self._exchange is not None and self._exchange.sent:
            return self._billed(str(error))
        return self._nobody(error)

    def _nobody(self, error: TargetError) -> HandBack:
        """Nobody was there: nothing is spent, and the job waits as long as that lasts."""
        after = 0.0
        if self._upstream is not None:
            throttle = self._upstream.throttle
            throttle.failures += 1
            after = self._limits.retry.delay(throttle.failures, self._clock.jitter())
            throttle.slow_down(self._clock.monotonic(), self._sent_at, after, UNREACHABLE)
        return self._back(after, UNREACHABLE, str(error), counted=False)

    def _passed_on(self, refusal: Refusal) -> Outcome:
        relay = self._live.relay
        relay.begin(Head(refusal.status, refusal.headers))
        if refusal.body:
            relay.feed(refusal.body)
        return self._outcome(JobState.FAILED, f"status_{refusal.status}", refusal.text)

    def _billed(self, what: str, verdict: Verdict | None = None) -> Outcome:
        text = f"{what}; the request may have been billed and is not sent again"
        self.error = MaybeBilled(text)
        return self._outcome(JobState.FAILED, MaybeBilled.code, text, verdict=verdict)


class Unprobed(Patience):
    """Waits on exchanges with an API, of which nothing else can be asked: there silence alone decides."""

    async def _give_up(self, exchange: Exchange) -> None:
        exchange.close()

    async def _until(self, step: Callable[[float], Awaitable[T | None]]) -> T:
        got = await step(self._limits.first_byte)
        if got is None:
            raise TargetSilent(f"the remote has been silent for {self._limits.first_byte:g} s")
        return got
