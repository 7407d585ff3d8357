"""foreman's own routes, asked as a program asks them."""

from typing import Any

import aiohttp
import orjson

from tests.e2e.process import Foreman

GENERATE = "/api/generate"


def prompt(text: str, model: str = "llama3", **fields: Any) -> dict[str, Any]:
    """The body of an answer in one piece, unless `fields` say otherwise."""
    return {"model": model, "prompt": text, "stream": False, **fields}


async def call(foreman: Foreman, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON and headers of an answer; `If_Range` stands for the header If-Range."""
    data = None if body is None else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, foreman.url + path, data=data, headers=named) as answer,
    ):
        text = await answer.read()
        return answer.status, orjson.loads(text) if text else None, answer.headers


async def handed(foreman: Foreman, body: dict[str, Any], path: str = GENERATE, **more: Any) -> str:
    """The id of a job that was handed over by POST /jobs."""
    status, job, _ = await call(foreman, "POST", "/jobs", {"path": path, "body": body, **more})
    assert status == 202, job
    return str(job["id"])


async def state_of(foreman: Foreman, job: str) -> str:
    return str((await call(foreman, "GET", f"/jobs/{job}"))[1]["state"])
