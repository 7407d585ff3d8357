"""Both ways to carry an exchange make the same of an answer, or the corpus says why not."""

import asyncio

import pytest

from foreman.core.errors import TargetError, TargetSilent
from foreman.engine.relay import Head
from tests.engine.corpus import CORPUS, Case, End, Made
from tests.engine.hearing import ENDS
from tests.engine.serving import PATIENCE, heard, payload, talking_to


async def made(case: Case, *, kept: bool, patience: float = PATIENCE) -> tuple[Made, Head | None]:
    """What comes of a request that is answered so, and the head with its headers.

    What follows the head is sent when that was read: of two things in one packet aiohttp may tell only the second.
    """
    seen = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        head, rest = case.parts
        writer.write(head)
        if rest:
            await seen.wait()
            writer.write(rest)
        if not case.closes:
            await reader.read()

    async with talking_to(answer, kept=kept) as target:
        exchange = target.exchange(payload())
        head, body = None, b""
        try:
            if (head := await exchange.head(patience)) is None:
                return Made(End.NONE, None), None
            seen.set()
            while chunk := await exchange.read(patience):
                body += chunk
            end = End.WHOLE
        except TargetSilent:
            end = End.NONE
        except TargetError as error:
            end = ENDS[type(error)]
        finally:
            exchange.close()
        return Made(end, None if head is None else head.status, body), head


@pytest.mark.parametrize("name", CORPUS)
async def test_both_make_the_same_of_an_answer(name: str) -> None:
    case = CORPUS[name]
    expected = case.plain or case.made
    kept, head = await made(case, kept=True)
    plain, other = await made(case, kept=False, patience=0.05 if expected.end is End.NONE else PATIENCE)
    assert kept == case.made
    assert plain == expected
    assert case.plain or head == other


def test_every_difference_has_a_reason() -> None:
    for case in CORPUS.values():
        assert (case.plain is None) == (not case.why)
        assert case.plain != case.made
