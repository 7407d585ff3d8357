"""Answers that break off: told in-band where some of it has left, tried again where nothing has."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ollama
import openai
import orjson
import pytest
import pytest_asyncio

from foreman.testing import Die, Script, StubOllama, Terminal
from tests.e2e.client import chat, chat_v1, post
from tests.e2e.deaf import DeafProxy
from tests.e2e.faulty import CHAT, QUICK, V1, about, failing
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import job_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db, **QUICK) as foreman:
        yield foreman


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _fresh(stub: StubOllama) -> AsyncIterator[None]:
    yield
    stub.scripts.clear()


@pytest.fixture
def asked() -> str:
    """A question nobody asked before."""
    return f"question {next(_numbers)}!"


CUTS = {
    "in a line": Script(die=Die.FIN, die_after_bytes=300),
    "at the end of a line": Script(die=Die.FIN, die_after_chunks=3),
    "between chunks, in a line": Script(slices=(50,), die=Die.FIN, die_after_chunks=7),
    "in the first byte": Script(slices=(1,), die=Die.FIN, die_after_chunks=1),
    "a clean end too early": Script(die=Die.CLEAN, die_after_chunks=3),
    "a clean end in a line": Script(die=Die.CLEAN, die_after_bytes=300),
    "no terminal event": Script(terminal=Terminal.OMIT),
    "close-delimited, at the end of a line": Script(close_delimited=True, die=Die.FIN, die_after_chunks=3),
    "close-delimited, in a line": Script(close_delimited=True, die=Die.FIN, die_after_bytes=300),
    "reset": Script(die=Die.RST, die_after_chunks=3),
    "silence": Script(die=Die.SILENCE, die_after_chunks=3),
    "silence in a line": Script(die=Die.SILENCE, die_after_bytes=300),
    "an error the target swallows": Script(error="out of memory", error_after=3),
}
# In this API Ollama says it, in the other it ends the stream without a word.
OWN_WORDS = (CHAT, "an error the target swallows")
STREAMED = {CHAT: chat, V1: lambda model, text: chat_v1(model, text, stream=True)}


@pytest.mark.parametrize(("path", "cut"), [pair for pair in itertools.product(STREAMED, CUTS) if pair != OWN_WORDS])
async def test_a_stream_that_is_cut_never_looks_complete(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, path: str, cut: str
) -> None:
    stub.script(path, CUTS[cut])
    got = await post(foreman.url, *STREAMED[path]("llama3", asked))
    assert (got.status, got.whole) == (200, False)
    (entry,) = about(stub, asked)
    passed, last = got.body[: entry.written], got.body[entry.written :]
    assert hashlib.sha256(passed).hexdigest() == entry.sha256
    _is_an_error_on_its_own(path, passed, last)
    await foreman.settled(got.job)
    job = job_of(db, asked)
    assert (job.state, job.attempts) == ("failed", 1)
    assert job.error_code == ("target_silent" if "silence" in cut else "truncated")
    assert (job.answer, job.complete) == (passed, False)


async def test_a_stream_shorter_than_its_length_has_no_room_for_words(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    got, job = await failing(stub, foreman, db, Script(terminal=Terminal.OMIT, extra_length=400), asked)
    (entry,) = about(stub, asked)
    assert (got.status, got.whole, hashlib.sha256(got.body).hexdigest()) == (200, False, entry.sha256)
    assert (job.state, job.error_code, job.attempts) == ("failed", "truncated", 1)


def _is_an_error_on_its_own(path: str, passed: bytes, last: bytes) -> None:
    if path == CHAT:
        line = last if passed.endswith(b"\n") else last.removeprefix(b"\n")
        assert line.endswith(b"\n")
        assert orjson.loads(line)["error"]
    else:
        event = last.rpartition(b"data: ")[2]
        assert orjson.loads(event)["error"]["message"]
        assert b"[DONE]" not in last
        assert (passed + last).rpartition(b"data: ")[0].endswith(b"\n\n")


async def test_the_client_hears_of_silence_before_the_target_has_let_go(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with (
        StubOllama() as stub,
        DeafProxy(stub.host, stub.port) as proxy,
        serving(proxy.url, db, **QUICK) as foreman,
    ):
        stub.script(CHAT, [Script(die=Die.SILENCE, die_after_chunks=3)])
        got = await post(foreman.url, *chat("llama3", "quiet"))
        assert (got.status, got.whole) == (200, False)
        assert not [event for event in foreman.events if event["event"] == "abort_unseen"]
        assert (await foreman.health())["running"]["id"] == got.job
        proxy.hear()
        await foreman.settled(got.job)


@pytest.mark.parametrize("cut", ["in a line", "at the end of a line", "a clean end too early", "reset", "silence"])
async def test_the_official_clients_hear_of_a_cut(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, cut: str
) -> None:
    said = [{"role": "user", "content": asked}]
    stub.script(CHAT, CUTS[cut])
    async with ollama.AsyncClient(foreman.url) as client:
        # Half a line is an error of its own to both, before they read the line that says why.
        with pytest.raises(ValueError if cut == "in a line" else ollama.ResponseError):
            [part async for part in await client.chat("llama3", said, stream=True)]
    stub.script(V1, CUTS[cut])
    async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="x") as smart:
        create: Any = smart.chat.completions.create
        with pytest.raises(ValueError if cut == "in a line" else openai.APIError):
            [part async for part in await create(model="llama3", messages=said, stream=True)]
    assert len(about(stub, asked)) == 2


WHOLE_CUTS = {
    "in the middle": Script(die=Die.FIN, die_after_bytes=50),
    "shorter than its length": Script(extra_length=10),
    "in a chunk": Script(tokens=2000, die=Die.FIN, die_after_bytes=5000),
    "between chunks": Script(tokens=2000, slices=(1000,), die=Die.FIN, die_after_chunks=3),
    "reset": Script(die=Die.RST, die_after_bytes=50),
    "silence": Script(die=Die.SILENCE, die_after_bytes=50),
}


@pytest.mark.parametrize("cut", WHOLE_CUTS)
@pytest.mark.parametrize("path", [CHAT, V1])
async def test_a_whole_answer_that_is_cut_is_tried_again_and_then_an_error(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, path: str, cut: str
) -> None:
    stub.script(path, [WHOLE_CUTS[cut]])
    got = await post(foreman.url, path, chat("llama3", asked, stream=False)[1])
    assert (got.status, got.whole) == (200, True)
    assert about(stub, asked)[1].sha256 == hashlib.sha256(got.body).hexdigest()

    stub.script(path, WHOLE_CUTS[cut])
    got = await post(foreman.url, path, chat("llama3", f"again {asked}", stream=False)[1])
    assert got.status == (504 if cut == "silence" else 502)
    assert got.whole
    assert orjson.loads(got.body)["error"]
    await foreman.settled(got.job)
    job = job_of(db, f"again {asked}")
    assert (job.state, job.attempts) == ("failed", 3)


async def test_the_official_clients_hear_of_a_whole_answer_that_was_cut(
    stub: StubOllama, foreman: Foreman, asked: str
) -> None:
    said: Any = [{"role": "user", "content": asked}]
    stub.script("*", WHOLE_CUTS["in the middle"])
    async with ollama.AsyncClient(foreman.url) as client:
        with pytest.raises(ollama.ResponseError, match="broke off"):
            await client.chat("llama3", said)
    async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="x", max_retries=0) as smart:
        with pytest.raises(openai.InternalServerError, match="broke off"):
            await smart.chat.completions.create(model="llama3", messages=said)


async def test_a_whole_answer_too_large_to_hold_back_is_cut_too(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    stub.script(CHAT, Script(line_bytes=2_500_000, die=Die.FIN, die_after_bytes=2_000_000))
    got = await post(foreman.url, *chat("llama3", asked, stream=False))
    (entry,) = about(stub, asked)
    assert (got.status, got.whole, hashlib.sha256(got.body).hexdigest()) == (200, False, entry.sha256)
    await foreman.settled(got.job)
    assert job_of(db, asked).state == "failed"


async def test_the_targets_own_error_line_is_passed_on_and_the_job_has_failed(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    error = Script(error="an error was encountered while running the model", error_after=2)
    got, job = await failing(stub, foreman, db, error, asked)
    (entry,) = about(stub, asked)
    assert (got.whole, hashlib.sha256(got.body).hexdigest()) == (True, entry.sha256)
    assert (job.state, job.error_code, job.error) == ("failed", "target_failed", error.error)


@pytest.mark.parametrize("die", [Die.FIN, Die.RST, Die.SILENCE])
@pytest.mark.parametrize("path", STREAMED)
async def test_what_breaks_after_the_terminal_event_does_not_matter(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, path: str, die: Die
) -> None:
    await post(stub.url, *STREAMED[path]("llama3", asked))
    chunks = about(stub, asked)[0].chunks
    stub.script(path, Script(die=die, die_after_chunks=chunks))
    got = await post(foreman.url, *STREAMED[path]("llama3", asked))
    whole, cut = about(stub, asked)
    assert (got.status, got.whole) == (200, True)
    assert hashlib.sha256(got.body).hexdigest() == whole.sha256 == cut.sha256
    await foreman.settled(got.job)
    assert job_of(db, asked).state == "done"
