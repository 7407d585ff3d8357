"""A remote API that is a real server, LiteLLM from PyPI, behind foreman; `make test-remote` runs this.

Its models answer by themselves, so nothing is asked of anybody else.
"""

import os
import re
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import openai
import orjson
import pytest

from foreman.testing import StubOllama
from tests.e2e.client import Got, chat_v1, post
from tests.e2e.own import call
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import stored

# The first waits for the server, which has much to load.
pytestmark = [pytest.mark.remote, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
SERVER = HERE / ".venv" / "bin" / "litellm"
KEY = "sk-canary-0123456789abcdef0123456789abcdef"
TEXT = "Light is scattered by the air."
MESSAGES: Any = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server, which gets nothing of the environment of the tests."""
    home = tmp_path_factory.mktemp("litellm")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LITELLM_MASTER_KEY": KEY}
    env["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is downloaded
    command = [str(SERVER), "--config", str(HERE / "litellm.yaml"), "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(
        command, env=env, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        rest = threading.Thread(target=process.stdout.read)
        try:
            yield _url(process.stdout, rest)
        finally:
            process.terminate()
            if rest.ident is not None:
                rest.join()


def _url(said: IO[str], rest: threading.Thread) -> str:
    """Where it listens, as soon as it does; `rest` reads on."""
    lines = []
    for line in said:
        lines.append(line)
        if found := re.search(r"Uvicorn running on (http://127\.0\.0\.1:\d+)", line):
            rest.start()
            return found[1]
    raise AssertionError("the server ended:\n" + "".join(lines))


@asynccontextmanager
async def behind(api: str, folder: Path, key: str = KEY, **settings: object) -> AsyncIterator[Foreman]:
    """A foreman for which the server is the remote `lite`, with a model that it lists."""
    (folder / "key").write_text(key)
    (folder / "key").chmod(0o600)
    table = {
        "name": "lite",
        "base_url": f"{api}/v1",
        "api_key_file": str(folder / "key"),
        "models": ["parrot"],
        "busy_seconds": 1,
    }
    lines = (f"{name} = {orjson.dumps(value).decode()}" for name, value in table.items())
    config = folder / "foreman.toml"
    config.write_text("\n".join(("[[remote]]", *lines)))
    async with (
        StubOllama(("a",)) as stub,
        serving(stub.url, folder / "foreman.db", config=config, retry_base_seconds=0.1, **settings) as foreman,
    ):
        yield foreman


@pytest.fixture
async def foreman(api: str, tmp_path: Path) -> AsyncIterator[Foreman]:
    async with behind(api, tmp_path) as foreman:
        yield foreman


@pytest.fixture
async def client(foreman: Foreman) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own client in front of foreman. The key it sends is nobody's."""
    async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="nobodys", max_retries=0) as client:
        yield client


def error_of(got: Got) -> str:
    message: str = orjson.loads(got.body)["error"]["message"]
    return message


async def test_a_whole_answer_arrives_and_is_kept(foreman: Foreman, tmp_path: Path) -> None:
    got = await post(foreman.url, *chat_v1("lite/parrot", "hi"))
    assert (got.status, got.whole) == (200, True)
    answer = orjson.loads(got.body)
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("parrot", TEXT)
    await foreman.settled(got.job)
    _, job, _ = await call(foreman, "GET", f"/jobs/{got.job}")
    assert (job["state"], job["lane"], job["model"], job["attempts"]) == ("done", "remote", "lite/parrot", 1)
    (kept,) = stored(tmp_path / "foreman.db")
    assert kept.answer == got.body


async def test_a_stream_arrives_to_its_end(foreman: Foreman) -> None:
    got = await post(foreman.url, *chat_v1("parrot", "hi", stream=True))
    assert (got.status, got.whole) == (200, True)
    assert got.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix(b"data: ") for line in got.body.splitlines() if line.startswith(b"data: ")]
    assert events.pop() == b"[DONE]"
    deltas = [choice["delta"] for event in events for choice in orjson.loads(event)["choices"]]
    assert len(deltas) > 1
    assert "".join(delta.get("content") or "" for delta in deltas) == TEXT
    await foreman.event("job_finished", job=got.job, outcome="done")


async def test_the_client_of_openai_gets_what_it_asks_for(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="lite/parrot", messages=MESSAGES)
    assert whole.choices[0].message.content == TEXT
    stream = await client.chat.completions.create(model="parrot", messages=MESSAGES, stream=True)
    parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert len(parts) > 1
    assert "".join(parts) == TEXT
    completed = await client.completions.create(model="parrot", prompt="hi")
    assert completed.choices[0].text == TEXT
    embedded = await client.embeddings.create(model="lite/embedder", input="hi", encoding_format="float")
    assert embedded.data[0].embedding == [0.25, -0.5]
    assert (await client.responses.create(model="parrot", input="hi")).output_text == TEXT
    assert [(model.id, model.owned_by) async for model in client.models.list()][-1] == ("parrot", "lite")


async def test_an_error_of_the_server_is_passed_on(foreman: Foreman, client: openai.AsyncOpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="Invalid model name"):
            await client.chat.completions.create(model="lite/unknown", messages=MESSAGES, stream=stream)
        with pytest.raises(openai.InternalServerError, match="mock internal server error"):
            await client.chat.completions.create(model="lite/broken", messages=MESSAGES, stream=stream)
    await foreman.event("job_finished", count=4)
    _, listed, _ = await call(foreman, "GET", "/jobs")
    assert {(job["state"], job["attempts"]) for job in listed["jobs"]} == {("failed", 1)}


async def test_a_server_that_is_busy_is_asked_again_and_then_believed(
    foreman: Foreman, client: openai.AsyncOpenAI, tmp_path: Path
) -> None:
    with pytest.raises(openai.RateLimitError, match="mock rate limit error"):
        await client.chat.completions.create(model="lite/busy", messages=MESSAGES)
    await foreman.event("job_finished")
    (job,) = stored(tmp_path / "foreman.db")
    assert len(job.tries) > 1
    assert set(job.tries) == {"status_429"}
    # It was left alone for a while, and is asked again after that.
    whole = await client.chat.completions.create(model="parrot", messages=MESSAGES)
    assert whole.choices[0].message.content == TEXT


async def test_the_key_opens_the_server_and_is_nowhere_to_be_seen(api: str, tmp_path: Path) -> None:
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    wrong.mkdir()
    right.mkdir()
    async with behind(api, wrong, "sk-of-somebody-else") as foreman:
        assert (await post(foreman.url, *chat_v1("parrot", "hi"))).status in (400, 401)
    seen = b""
    async with behind(api, right, log_level="debug") as foreman:
        for model in ("parrot", "lite/unknown", "lite/broken", "lite/busy"):
            got = await post(foreman.url, *chat_v1(model, "hi"))
            seen += got.body + repr(got.headers).encode()
        for path in ("/health", "/jobs", "/queue", "/v1/models"):
            seen += orjson.dumps((await call(foreman, "GET", path))[1])
        foreman.send(signal.SIGTERM)
        await foreman.ended()
    assert TEXT.encode() in seen
    written = "\n".join(foreman.lines).encode()
    for where in (seen, written, *(file.read_bytes() for file in right.glob("foreman.db*"))):
        assert where
        assert KEY.encode() not in where
        assert KEY.removeprefix("sk-").encode() not in where
