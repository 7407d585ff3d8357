"""The table of errors is total, and every error has the shape of the API that was called."""

import logging
from collections.abc import Iterator

import orjson
import pytest
from aiohttp import ClientSession, web

from foreman.core import errors
from foreman.core.addresses import Address
from foreman.core.errors import ForemanError
from foreman.web.errors import RETRY_AFTER, STATUS, errors_to_answers, is_own, render, status_of
from foreman.web.server import listening


def below(kind: type[ForemanError]) -> Iterator[type[ForemanError]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


# What ends a start ends the process; nobody is listened to then.
OVER_HTTP = sorted(set(below(ForemanError)) - {errors.StartupError, *below(errors.StartupError)}, key=str)
EVERY = [kind("some words") for kind in OVER_HTTP]
SHAPES = ["/api/chat", "/v1/chat/completions", "/v1/messages", "/health", "/anything"]


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.code)
def test_every_error_has_a_status_of_its_own(error: ForemanError) -> None:
    kinds = [kind for kind in type(error).__mro__ if kind in STATUS]
    if type(error) is errors.RequestError:
        # Never raised itself; whoever adds a child must say what it means.
        assert not kinds
    else:
        assert kinds
        assert 400 <= status_of(error) < 600


def test_the_table_speaks_of_errors_only() -> None:
    assert set(STATUS) <= set(OVER_HTTP)
    assert set(RETRY_AFTER) <= set(STATUS)
    codes = [kind.code for kind in OVER_HTTP]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", RETRY_AFTER)
def test_nobody_is_sent_away_for_more_than_a_minute(kind: type[ForemanError]) -> None:
    assert 1 <= int(render(kind("x"), "/api/chat").headers["Retry-After"]) <= 60
    assert STATUS[kind] >= 500


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.code)
@pytest.mark.parametrize("path", SHAPES)
def test_every_error_has_the_shape_of_its_path(error: ForemanError, path: str) -> None:
    answer = render(error, path, "01JOB")
    assert (answer.status, answer.headers["X-Foreman-Error"]) == (status_of(error), error.code)
    assert answer.headers["X-Foreman-Job"] == "01JOB"
    if path != "/health" and isinstance(error, errors.NotAllowed):
        assert (answer.text, answer.content_type) == ("405 method not allowed", "text/plain")
        return
    assert isinstance(answer.body, bytes)
    body = orjson.loads(answer.body)
    match path:
        case "/health":
            assert answer.content_type == "application/problem+json"
            assert body["type"] == "about:blank"
            assert (body["status"], body["detail"], body["code"]) == (answer.status, "some words", error.code)
        case "/v1/messages":
            assert (body["type"], body["error"]["message"]) == ("error", "some words")
            assert body["request_id"] == "req_01JOB"
        case "/v1/chat/completions":
            assert (body["error"]["message"], body["error"]["code"]) == ("some words", None)
        case _:
            assert body == {"error": "some words"}


def test_no_job_is_named_where_there_is_none() -> None:
    assert "X-Foreman-Job" not in render(errors.QueueFull("x"), "/api/chat").headers


def test_what_a_refusal_must_say_in_headers() -> None:
    assert render(errors.NotAllowed("x", ("GET", "HEAD")), "/api/tags").headers["Allow"] == "GET, HEAD"
    assert render(errors.NotAllowed("x", ("GET",)), "/health").headers["Allow"] == "GET"
    assert render(errors.KeyRefused("x"), "/").headers["WWW-Authenticate"] == 'Bearer realm="foreman"'


@pytest.mark.parametrize(
    ("path", "own"),
    [("/health", True), ("/jobs/01", True), ("/ui/x.css", True), ("/healthz", False), ("/api/jobs", False)],
)
def test_own_paths(path: str, own: bool) -> None:
    assert is_own(path) == own


async def test_a_mistake_of_ours_is_logged_and_has_a_shape_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: web.Request) -> web.Response:
        raise ZeroDivisionError("a detail for the log alone")

    app = web.Application(middlewares=[errors_to_answers])
    app.router.add_get("/v1/broken", broken)
    async with listening(app, Address("127.0.0.1", 0)) as url, ClientSession(url) as http:
        async with http.get("/v1/broken") as answer:
            assert (answer.status, answer.headers["X-Foreman-Error"]) == (500, "internal")
            text = await answer.text()
        async with http.get("/elsewhere") as answer:
            assert answer.status == 404
    assert orjson.loads(text)["error"]["type"] == "api_error"
    assert "detail" not in text
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
