"""`/metrics`: what foreman counted and what it holds now, for Prometheus.

Rules:
1. What happens is counted where it happens, in the engine; all else is read from it at the scrape.
2. Labels have few values: no client, no job, no key, and no model that only a client thought of.
3. Times are in seconds, sizes in bytes; what only grows ends in `_total`.
4. prometheus_client is loaded with the first scrape: a start must not wait for it.
"""

import asyncio

from aiohttp import hdrs, web

from foreman.core.errors import StorageFailed
from foreman.engine.engine import Engine
from foreman.web.app_keys import ENGINE

# Every Prometheus there is understands it, and no name here needs a newer one.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=await exposition(request.app[ENGINE]),
        headers={hdrs.CONTENT_TYPE: CONTENT_TYPE, hdrs.CACHE_CONTROL: "no-store"},
    )


async def exposition(engine: Engine) -> bytes:
    """All of it as text. A store that cannot be read is told as such, and hides nothing else."""
    from foreman.web.counted import counted
    from foreman.web.families import as_text
    from foreman.web.standing import standing

    try:
        usage, oldest = await engine.store.usage(), await engine.store.oldest_by_model()
    except StorageFailed:
        usage, oldest = None, {}
    families = [*standing(engine, usage, oldest), *counted(engine)]
    # With many models the text takes long; what it is made of belongs to nobody else any more.
    return await asyncio.to_thread(as_text, families)
