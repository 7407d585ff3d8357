"""The ledger of reloads: what each cost and who caused it, and how many the order of work avoided.

Paid are the loads that foreman had the target make and that were made; to pin a model that is in memory already costs
nothing and is not here. Avoided are the changes of the loaded model that the order of arrival would have paid for the
same jobs, less those that were paid in the order of work; see core/turns.py for what that leaves out. Each is taken to
last as long as the middle one of the model's loads, or of all loads where the model has none.

Where the target itself decides who stays in memory (`swap = target`) nobody knows what another order would have cost,
and nothing is said of it.
"""

from collections import Counter, deque
from dataclasses import dataclass
from statistics import median
from typing import Final

from foreman.core.job import LoadKey
from foreman.core.lanes import Lane
from foreman.core.reload import Cause, Reason, Reload, cause_of
from foreman.core.residency import Load, Swap, is_heavy
from foreman.core.slots import is_slot
from foreman.core.turns import Turns
from foreman.core.upkeep import is_upkeep
from foreman.engine.clock import Clock, millis
from foreman.engine.live import Live
from foreman.engine.poller import Poller

# So many of the newest loads are told.
KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class Avoided:
    """What the order of work saved; below zero where it cost. Nobody knows the seconds before the first load."""

    count: int
    seconds: float | None


class Reloads:
    """The ledger of this process. `kept` are the newest loads, the oldest of them first."""

    def __init__(self, poller: Poller, swap: Swap, clock: Clock) -> None:
        self._poller = poller
        self._swap = swap
        self._clock = clock
        self._turns = Turns()
        self._names: dict[str, str] = {}  # of a digest, the name under which it ran first
        self._loaded: set[str] = set()
        self.kept: deque[Reload] = deque(maxlen=KEPT)
        self.paid: Counter[tuple[str, Reason]] = Counter()
        self.failed = 0
        self.seconds = 0.0

    def __repr__(self) -> str:
        return f"<Reloads {self.paid.total()} paid>"

    def cause(self, need: Load) -> Cause | None:
        """Why this is to be loaded now; None where it is only pinned. To be asked before anything is unloaded."""
        residency, models = self._poller.residency, self._poller.models
        if not is_heavy(need.key, residency, models, self._swap, remote=False):
            return None
        return cause_of(need, residency, models, before=self._name(need.key.model) in self._loaded)

    def pay(self, live: Live, key: LoadKey, cause: Cause, seconds: float, *, loaded: bool) -> None:
        """A load has ended that began `seconds` ago."""
        at = millis(self._clock) - int(seconds * 1000)
        reload = Reload(at, key, cause, live.client, live.id, seconds, loaded)
        self.kept.append(reload)
        if loaded:
            self.paid[key.model, cause.reason] += 1
            self.seconds += seconds
            self._loaded.add(self._name(key.model))
        else:
            self.failed += 1

    def ran(self, live: Live) -> None:
        """A job has ended that was sent to the target."""
        models, key = self._poller.models, live.key
        if live.lane is Lane.REMOTE or self._swap is Swap.TARGET or is_upkeep(live.model) or is_slot(live.model):
            return
        # An embedding model stands beside the others, and what the target does not have it did not load.
        if key.model in models.models and not models.is_embedding(key.model):
            self._turns.ran(live.seq, (self._name(key.model), key.options))

    @property
    def avoided(self) -> Avoided | None:
        """What the order of work saved; None where that cannot be told."""
        if self._swap is Swap.TARGET:
            return None
        saved = self._turns.saved
        took: dict[str, list[float]] = {}
        for reload in self.kept:
            if reload.loaded:
                took.setdefault(self._name(reload.key.model), []).append(reload.seconds)
        every = [seconds for loads in took.values() for seconds in loads]
        seconds = sum(count * median(took.get(model, every)) for model, count in saved.items()) if every else None
        return Avoided(sum(saved.values()), seconds)

    def _name(self, model: str) -> str:
        found = self._poller.models.models.get(model)
        return model if found is None or not found.digest else self._names.setdefault(found.digest, model)
