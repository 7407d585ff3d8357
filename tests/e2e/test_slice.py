"""The thinnest slice: one streamed chat from a real client through a persisted job to the target and back."""

import sqlite3
from pathlib import Path

import ollama

from foreman.testing import StubOllama, expected_text
from tests.e2e.process import serving


async def test_a_streamed_chat_goes_through_a_persisted_job(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    request = {"model": "llama3", "messages": [{"role": "user", "content": "Tell me of the sea"}]}
    async with StubOllama() as stub, serving(stub.url, db) as foreman:
        client = ollama.AsyncClient(host=foreman.url)
        text = ""
        async for part in await client.chat(**request, stream=True):  # type: ignore[call-overload]
            text += part["message"]["content"]
        await client.close()  # type: ignore[no-untyped-call]
        finished = await foreman.event("job_finished")
    assert text == expected_text({**request, "stream": True})
    assert finished["fields"]["outcome"] == "done"
    with sqlite3.connect(db) as connection:
        rows = connection.execute("SELECT id, state, model, attempts FROM jobs").fetchall()
    connection.close()
    assert rows == [(finished["fields"]["job"], "done", "llama3:latest", 1)]
