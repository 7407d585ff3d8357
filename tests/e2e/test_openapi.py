"""The document at /openapi.json is true: what it forbids is refused, and every answer of the real process is one
that it tells of."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import aiohttp
import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from foreman.testing import Script, StubOllama
from foreman.web.openapi import document
from tests.e2e.own import call
from tests.e2e.process import Foreman, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKED: Final = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# These go on for as long as it takes, and are followed in tests of their own.
ENDLESS: Final = {"/events", "/slots"}
STEADY: Final = hypothesis.settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
GENERATE: Final = "/api/generate"


async def a_job_of_every_state(foreman: Foreman, stub: StubOllama) -> list[str]:
    """Ids of jobs that are done, failed, cancelled, delayed, running and queued."""

    async def handed(session: aiohttp.ClientSession, prompt: str, **more: object) -> str:
        job = {"path": GENERATE, "body": {"model": "llama3", "prompt": prompt, "stream": False}, **more}
        async with session.post("/jobs", json=job) as answer:
            assert answer.status == 202, await answer.text()
            return str((await answer.json())["id"])

    async with aiohttp.ClientSession(foreman.url) as session:
        done = await handed(session, "done")
        await foreman.settled(done)
        stub.script(GENERATE, [Script(status=400, error="no")])
        failed = await handed(session, "failed")
        await foreman.settled(failed)
        delayed = [await handed(session, "later", not_before=3600) for _ in range(6)]
        cancelled = delayed.pop()
        async with session.delete(f"/jobs/{cancelled}") as answer:
            assert answer.status == 200
        stub.script(GENERATE, [Script(hold=0)])
        running = await handed(session, "running")
        await stub.ledger.held()
        queued = [await handed(session, "queued") for _ in range(6)]
    return [done, failed, cancelled, *delayed, running, *queued]


def replay(url: str, ids: list[str], key: dict[str, str]) -> int:
    """Play every operation with good and with bad input; how many requests that were. Raises where one does not fit."""
    load_all_checks()
    checks: list[Any] = [CHECKS.get_one(name) for name in CHECKED]
    rejection = CHECKS.get_one("negative_data_rejection")
    turns: Iterator[str] = cycle(ids)
    played = 0

    def play(case: Case[Any], mode: GenerationMode) -> None:
        nonlocal played
        played += 1
        if mode is GenerationMode.POSITIVE and "id" in (case.path_parameters or {}) and played % 4:
            case.path_parameters["id"] = next(turns)
        if mode is GenerationMode.POSITIVE and case.path.endswith("/response"):
            # The answer of a job that never ends never ends either.
            case.path_parameters["id"] = ids[played % 3]
        response = case.call(base_url=url, session=session, timeout=20, headers=key)
        assert response.status_code != 500, case.as_curl_command()
        wanted = [*checks, rejection] if mode is GenerationMode.NEGATIVE else checks
        case.validate_response(response, checks=wanted)

    def player(cases: SearchStrategy[Case[Any]], mode: GenerationMode) -> Callable[[], None]:
        return hypothesis.given(cases)(lambda case: play(case, mode))

    with requests.Session() as session:
        for found in schemathesis.openapi.from_dict(document()).get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if operation.path in ENDLESS:
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    STEADY(player(operation.as_strategy(generation_mode=mode), mode))()
                except hypothesis.errors.Unsatisfiable:
                    assert mode is GenerationMode.NEGATIVE  # nothing to get wrong
    return played


async def test_every_answer_is_one_that_the_document_tells_of(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        ids = await a_job_of_every_state(foreman, stub)
        # Among the operations is one that makes a key, and from then on everybody needs one.
        key = {"Authorization": f"Bearer {(tmp_path / 'foreman.db.key').read_text().strip()}"}
        assert await asyncio.to_thread(replay, foreman.url, ids, key) > 100
        assert (await call(foreman, "GET", "/health", **key))[1]["status"] == "ok"


async def test_the_document_is_served_and_events_are_what_it_says(foreman: Foreman) -> None:
    async with aiohttp.ClientSession(foreman.url) as session:
        async with session.get("/openapi.json") as answer:
            served: Any = await answer.json()
        assert served == document()
        async with session.get("/events") as answer:
            (told,) = served["paths"]["/events"]["get"]["responses"]["200"]["content"]
            assert answer.content_type == told
            first = await answer.content.readuntil(b"\n\n")
    assert b"event: snapshot\n" in first
