"""Every page, in both themes and at both widths: nothing that axe finds, and what axe cannot see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.web.browser.barriers import barriers
from tests.web.pages.samples import PAGES

SMALL = """() => [...document.querySelectorAll("a, button, select, summary, input:not([type=hidden])")].filter(e => {
  const box = e.getBoundingClientRect(), inline = getComputedStyle(e).display === "inline";
  return box.width && !inline && (box.width < 24 || box.height < 24) && !e.closest(".skip");
}).map(e => e.outerHTML.slice(0, 120))"""


def opened(chromium: Browser, address: str, *, width: int = 1280, scheme: str = "light", **more: Any) -> Page:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    return page


LOOKS = [("light", 320), ("dark", 1280)]  # contrast depends on the theme, structure on the width: each of both once


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Page]:
    """A window in one theme and width, for many pages."""
    scheme, width = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_no_violation(look: Page, gallery: str, name: str) -> None:
    page = look
    page.goto(f"{gallery}/sample/{name}")
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert barriers(page) == []
    assert page.evaluate(SMALL) == []


def test_the_checker_finds_what_is_wrong(chromium: Browser, gallery: str) -> None:
    page = opened(chromium, f"{gallery}/sample/front")
    page.evaluate("() => document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=x><button></button>')")
    page.evaluate("() => { document.querySelector('main').style.width = '200vw'; }")
    *found, wide = barriers(page)
    assert {name for name, _ in found} >= {"image-alt", "button-name"}
    assert wide == "sideways"


def test_the_first_tab_skips_to_the_main_content(chromium: Browser, gallery: str) -> None:
    page = opened(chromium, f"{gallery}/sample/work")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the main content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("scripts", [True, False])
def test_focus_goes_to_the_problem_even_without_scripts(chromium: Browser, gallery: str, scripts: bool) -> None:
    page = opened(chromium, f"{gallery}/sample/section-project", java_script_enabled=scripts)
    page.wait_for_timeout(300)
    assert page.locator("#problems:focus").count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#field-title:target").count() == 1


def test_times_are_shown_in_the_readers_zone_and_kept_in_utc(chromium: Browser, gallery: str) -> None:
    page = opened(chromium, f"{gallery}/sample/release", timezone_id="Europe/Helsinki", locale="en-GB")
    time = page.locator("footer time").first
    assert "12:00" in (time.text_content() or "")
    assert time.get_attribute("title") == "22 November 2026 at 10:00 UTC"


def test_without_a_script_times_and_countdowns_still_say_something(chromium: Browser, gallery: str) -> None:
    page = opened(chromium, f"{gallery}/sample/tunnel", java_script_enabled=False)
    assert "22 November 2026 at 11:30 UTC" in page.locator("main").inner_text()
    assert page.locator(".clock").inner_text() == "1 hour 30 minutes"


def test_the_countdown_counts_and_is_not_read_out_every_second(chromium: Browser, gallery: str) -> None:
    page = opened(chromium, f"{gallery}/sample/tunnel")
    page.clock.install()
    page.reload()
    page.clock.run_for(30 * 60 * 1000 + 30_000)  # half a minute on either side: this clock runs by itself too
    assert page.locator(".clock").inner_text() == "59 minutes"
    assert page.locator("#clock-said").text_content() == ""
    page.clock.run_for(45 * 60 * 1000)
    assert page.locator("#clock-said").text_content() == "15 minutes left. Save your work."


def test_pages_break_no_rule_of_their_own_policy(chromium: Browser, gallery: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    for name in PAGES:
        page.goto(f"{gallery}/sample/{name}")
    assert said == []
    context.close()
