"""The page for everybody: with a keyboard, a screen reader, a phone, in the dark."""

import itertools
import re

import pytest
from playwright.async_api import Page, expect

from foreman.testing import StubOllama
from tests.browser.conftest import Pages
from tests.browser.held import CHAT, chat, current, running, waiting
from tests.e2e.own import call, handed, state_of
from tests.e2e.process import Foreman

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_nothing_needs_scrolling_sideways_on_a_phone(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    async with running(foreman, stub) as job:
        behind = [await handed(foreman, chat("w" * n, num_ctx=2048), path=CHAT) for n in range(2)]
        for path in ("", f"#/jobs/{job}"):
            async with pages(path, viewport={"width": 360, "height": 740}) as watched:
                await expect(watched.page.locator("h1, .current").first).to_be_attached()
                await expect(watched.page.get_by_role("button", name=re.compile("Cancel")).first).to_be_visible()
                widths = await watched.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                assert widths[0] <= widths[1] == 360
    await foreman.settled(*behind)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_its_colours_can_be_read(pages: Pages, foreman: Foreman, stub: StubOllama, scheme: str) -> None:
    async with running(foreman, stub), pages(color_scheme=scheme) as watched:
        page = watched.page
        await expect(page.locator(".state")).to_have_text("Working")
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in re.findall(r"\d+", dark)[:3]) < 200) is (scheme == "dark")
        assert await page.evaluate(CONTRAST) == []


# Every text against what lies behind it: 4.5 to 1, as WCAG AA asks; 3 to 1 for large text.
CONTRAST = """() => {
  const parts = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
    if (!text || !element.checkVisibility({opacityProperty: true}) || element.closest('.unseen, .skip')) continue;
    const style = getComputedStyle(element), [a, b] = [light(parts(style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.7 && style.fontWeight >= 600);
    if (ratio < (large ? 3 : 4.5)) poor.push([text, ratio, style.color]);
  }
  return poor;
}"""


async def test_all_of_it_can_be_done_with_the_keyboard(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    async with running(foreman, stub) as job, pages() as watched:
        page = watched.page
        await expect(page.locator(".state")).to_have_text("Working")
        await page.keyboard.press("Tab")
        assert await focused(page) == "Skip to what runs"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await press_until(page, "Cancel llama3")
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await focused(page) == "Keep it"  # what destroys nothing comes first
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert await focused(page) == "Cancel llama3"
        assert await state_of(foreman, job) == "working"
        await page.keyboard.press("Enter")
        await press_until(page, "Cancel the job")
        await page.keyboard.press("Enter")
        await foreman.event("job_finished", job=job, outcome="cancelled")


async def focused(page: Page) -> str:
    return str(await page.evaluate("(document.activeElement.ariaLabel || document.activeElement.textContent).trim()"))


async def press_until(page: Page, name: str) -> None:
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await focused(page) == name:
            return
    raise AssertionError(f"the keyboard does not come to {name}")


async def test_focus_stays_where_it_is_while_things_change(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    async with running(foreman, stub), pages() as watched:
        page = watched.page
        button = current(page).get_by_role("button", name="Cancel llama3")
        await button.focus()
        stub.release("llama3", 2)
        await expect(current(page).locator(".figure").first).to_have_text(re.compile("5.*tokens"))
        await expect(button).to_be_focused()


ROLES = (
    "banner", "main", "contentinfo", 'heading "Local lane" [level=2]', 'region "Queue"', 'region "Machine"',
    'button "Pause: begin no further job"', 'img "Load per core over the last 15 minutes',
)  # fmt: skip


async def test_a_screen_reader_finds_its_way(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    async with running(foreman, stub), pages() as watched:
        page = watched.page
        behind = await handed(foreman, chat("behind"), path=CHAT)
        await expect(waiting(page)).to_have_count(1)
        await expect(page.get_by_role("img", name=re.compile("Load per core over the last"))).to_be_visible()
        told = await page.locator("body").aria_snapshot()
        for role in ROLES:
            assert role in told, told
        # Every button and link has a name, and no heading is left out.
        assert not re.search(r"- (button|link|img)(?! \")", told), told
        levels = [int(level) for level in re.findall(r"level=(\d)", told)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        await expect(page.locator("#said")).to_have_text("Working")
        assert await page.locator("#said").get_attribute("aria-live") == "polite"
    await foreman.settled(behind)


async def test_motion_is_left_out_for_who_wants_none(pages: Pages) -> None:
    async with pages(reduced_motion="reduce") as watched:
        moving = (
            "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).animationName !== 'none').length"
        )
        assert await watched.page.evaluate(moving) == 0


async def test_nothing_is_asked_while_nobody_looks(pages: Pages, foreman: Foreman) -> None:
    async with pages() as watched:
        page = watched.page
        await expect(page.locator(".state")).to_have_text("Idle")
        await page.evaluate("""() => {
          Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true});
          window.away = true;
          document.dispatchEvent(new Event('visibilitychange'));
        }""")
        await call(foreman, "POST", "/queue/pause")
        await page.evaluate("() => fetch('queue')")  # whatever was on its way has come by now
        await expect(page.locator(".state")).to_have_text("Idle")
        await page.evaluate("() => { window.away = false; document.dispatchEvent(new Event('visibilitychange')); }")
        await expect(page.locator(".state")).to_have_text("Paused")
        await call(foreman, "POST", "/queue/resume")
