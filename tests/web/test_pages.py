"""The files of the page: small, without anything inline, and sent with leave to run nothing but themselves."""

import re

import pytest

from foreman.core.access import OPEN
from foreman.web.pages import FOLDER, files
from foreman.web.routes import OWN
from tests.web.conftest import Front

LIMIT = 100_000
EACH = pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir() if not path.name.endswith(".txt")))


@EACH
async def test_a_file_is_sent_once_and_known_from_then_on(front: Front, name: str) -> None:
    async with front.http.get(f"/ui/{name}") as answer:
        assert (answer.status, await answer.read()) == (200, (FOLDER / name).read_bytes())
        tag = answer.headers["ETag"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for known in (tag, f'"other", {tag}', "*"):
        async with front.http.get(f"/ui/{name}", headers={"If-None-Match": known}) as answer:
            assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
    async with front.http.get(f"/ui/{name}", headers={"If-None-Match": '"other"'}) as answer:
        assert answer.status == 200


async def test_the_page_is_let_do_nothing_it_does_not_need(front: Front) -> None:
    async with front.http.get("/ui") as answer:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert answer.content_type == "text/html"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
    assert policy.pop("img-src") == "'self' data:"
    nothing = ("default-src", "frame-ancestors", "base-uri", "form-action")
    assert [policy.pop(name) for name in nothing] == ["'none'"] * len(nothing)
    assert set(policy) == {"script-src", "style-src", "font-src", "connect-src"}
    assert set(policy.values()) == {"'self'"}


async def test_without_leave_to_compress_nothing_is(front: Front) -> None:
    async with front.http.get("/ui/page.js", headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert await answer.read() == (FOLDER / "page.js").read_bytes()
        assert answer.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["/ui/nothing.js", "/ui/geist-LICENSE.txt", "/ui/..%2Fpages.py", "/ui/", "/ui/a/b"])
async def test_nothing_else_is_a_file_of_the_page(front: Front, path: str) -> None:
    async with front.http.get(path) as answer:
        assert answer.status == 404


def test_all_of_it_together_is_small() -> None:
    assert sum(len(file.packed or file.body) for file in files().values()) < LIMIT


def test_nothing_inline_and_nothing_from_elsewhere() -> None:
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", html)
    for path in FOLDER.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            urls = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
            assert {url for url in urls if "www.w3.org" not in url} == set(), path.name


def test_what_comes_from_outside_is_never_read_as_html() -> None:
    for path in FOLDER.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(|srcdoc", path.read_text()
        )


def test_every_script_that_is_there_is_used_and_every_one_used_is_there() -> None:
    there = {path.name for path in FOLDER.glob("*.js")}
    used = {name for path in FOLDER.glob("*.js") for name in re.findall(r'from "\./([\w.]+)"', path.read_text())}
    assert used | {"page.js"} == there


def test_the_page_needs_no_key_but_what_it_shows_does() -> None:
    needs = {path: needed for method, path, _, needed in OWN if method == "GET"}
    assert needs["/ui"] is needs["/ui/{file}"] is OPEN
    for path in ("/queue", "/events", "/jobs", "/machine", "/jobs/{id}/request", "/machine/history"):
        assert needs[path]
