"""What is asked about one job: its request, as it was sent, and nothing a browser would run."""

import aiohttp
import pytest

from tests.web.conftest import Front

BODY = b'{ "model": "llama3", "prompt": "<script>alert(1)</script>", "stream": false }'


async def asked(front: Front) -> str:
    headers = {"Content-Type": "text/html", "User-Agent": "<b>x</b>"}
    async with front.http.post("/api/generate", data=BODY, headers=headers) as answer:
        return answer.headers["X-Foreman-Job"]


async def test_a_request_is_told_byte_for_byte(front: Front) -> None:
    job = await asked(front)
    async with front.http.get(f"/jobs/{job}/request") as answer:
        assert (answer.status, await answer.read(), answer.content_type) == (200, BODY, "application/json")


async def test_an_upload_is_told_as_bytes(front: Front) -> None:
    form = aiohttp.FormData({"model": "llama3"})
    form.add_field("file", b"\x00sound", filename="a.wav")
    async with front.http.post("/v1/audio/transcriptions", data=form) as answer:
        job = answer.headers["X-Foreman-Job"]
    async with front.http.get(f"/jobs/{job}/request") as answer:
        assert answer.content_type == "application/octet-stream"
        assert b"\x00sound" in await answer.read()


@pytest.mark.parametrize("what", ["request", "response"])
async def test_a_browser_runs_none_of_it(front: Front, what: str) -> None:
    job = await asked(front)
    async with front.http.get(f"/jobs/{job}/{what}") as answer:
        assert answer.headers["Content-Security-Policy"] == "sandbox"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_job_that_is_not_there_has_no_request(front: Front) -> None:
    for job in ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "x"):
        async with front.http.get(f"/jobs/{job}/request") as answer:
            assert answer.status == 404
