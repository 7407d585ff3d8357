"""Where a key is asked for: it is handed over once, in one body, and what it may not do is not offered."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import Pages, Watched

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "fm_the-right-one"


class Door:
    """Answers for `/ui/session` as a foreman with keys does."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes
        self.open = False
        self.asked: list[tuple[str, Any, str | None]] = []

    async def answer(self, route: Route) -> None:
        request = route.request
        if request.method == "GET":
            told = {"required": True, "scopes": self.scopes if self.open else [], "label": "desk"}
            await route.fulfill(json=told)
            return
        body = request.post_data_json
        self.asked.append((request.method, body, request.headers.get("x-foreman-page")))
        self.open = request.method == "POST" and body == {"key": KEY}
        if request.method == "POST" and not self.open:
            await route.fulfill(status=401, json={"detail": "this key lets nobody in"})
        else:
            await route.fulfill(status=204)

    def before(self) -> Callable[[Watched], Awaitable[None]]:
        async def put(watched: Watched) -> None:
            await watched.page.route("**/ui/session", self.answer)

        return put


async def test_a_wrong_key_is_refused_and_the_right_one_let_in(pages: Pages) -> None:
    door = Door("infer", "read", "admin")
    async with pages(before=door.before(), forgiven="401|keys") as watched:
        page = watched.page
        await expect(page.get_by_role("heading", name="A key, please")).to_be_visible()
        await expect(page.get_by_role("region", name="Queue")).to_have_count(0)
        await page.get_by_label("Key", exact=True).fill("fm_wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_have_text("this key lets nobody in")
        await page.get_by_label("Key", exact=True).fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("region", name="Queue")).to_be_visible()
        assert door.asked == [("POST", {"key": "fm_wrong"}, "1"), ("POST", {"key": KEY}, "1")]
        assert KEY not in orjson.dumps(watched.requests).decode()
        assert KEY not in await page.evaluate(
            "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
        )
        await expect(page.get_by_role("button", name="Pause")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="A key, please")).to_be_visible()
        assert door.asked[-1][::2] == ("DELETE", "1")


async def test_what_a_key_may_not_do_is_not_offered(pages: Pages) -> None:
    door = Door("infer", "read")
    door.open = True
    async with pages(before=door.before()) as watched:
        await expect(watched.page.get_by_role("region", name="Queue")).to_be_visible()
        await expect(watched.page.get_by_role("button", name="Pause")).to_have_count(0)
        assert not any(url.endswith("/keys") for url in watched.requests)
