"""All remote APIs, and which of the queued jobs may be begun as far as they are concerned."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Self

from foreman.core.job import LoadKey
from foreman.core.timeline import Group
from foreman.core.upstreams import needs_target, upstream_of
from foreman.engine.upstream import Upstream


class Upstreams:
    """The remote APIs by name; there may be none. Use as an async context manager."""

    def __init__(self, upstreams: Sequence[Upstream] = ()) -> None:
        self._by_name = {upstream.name: upstream for upstream in upstreams}
        self._stack = AsyncExitStack()
        self.remotes = tuple(upstream.remote for upstream in upstreams)

    def __repr__(self) -> str:
        return f"<Upstreams {list(self._by_name.values())!r}>"

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._by_name.values())

    def __bool__(self) -> bool:
        return bool(self._by_name)

    async def __aenter__(self) -> Self:
        for upstream in self:
            await self._stack.enter_async_context(upstream)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def of(self, key: LoadKey) -> Upstream | None:
        """Whose the jobs of this load key are; None for those of the target, and of one that is there no more."""
        return self._by_name.get(upstream_of(key.model) or "")

    def group(self, load_key: str) -> Group | None:
        """Whose the jobs of this load key are, and how many of them it gets at once now."""
        upstream = self._by_name.get(upstream_of(load_key) or "")
        return None if upstream is None else Group(upstream.name, upstream.throttle.limit)

    def open_keys(self, queued: Iterable[str], *, target: bool) -> tuple[str, ...] | None:
        """Those of the queued load keys whose jobs may be begun; None where all may. `target`: it answers."""
        if target and all(upstream.open for upstream in self):
            return None
        return tuple({key for key in queued if self._is_open(key, target)})

    def _is_open(self, key: str, target: bool) -> bool:
        if needs_target(key):
            return target
        upstream = self._by_name.get(upstream_of(key) or "")
        # Jobs for one that is there no more are begun, and fail.
        return upstream is None or upstream.open

    def opens_in(self) -> float | None:
        """The seconds until the first of those that are left alone may be asked again; None where none is."""
        return min((upstream.pause for upstream in self if upstream.pause), default=None)
