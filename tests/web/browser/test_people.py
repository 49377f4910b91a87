"""Each role in a real browser against the real broker: by keyboard, by mouse, and every page they pass checked for barriers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.browser.barriers import barriers
from tests.web.pages.conftest import site  # noqa: F401
from tests.web.pages.test_story import SAFE, SMALL, apply, approve, furnish, identifier, submit
from tests.web.rig import Rig

LOOKS = {"aino": ("dark", 320), "sanna": ("light", 1280), "sami": ("dark", 1280), "auli": ("light", 320), "otto": ("dark", 1280)}
NAMES = {"aino": "Aino Aalto", "sanna": "Sanna Salo", "sami": "Sami Suni", "auli": "Auli Arvo", "otto": "Otto Oja"}


class Person:
    """One person at their own browser; each page that they reach is checked by axe."""

    def __init__(self, chromium: Browser, site: Rig, who: str) -> None:  # noqa: F811
        scheme, width = LOOKS[who]
        self.site = site
        self.context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self.said.append(message.text) if "Content Security Policy" in message.text else None)
        self.page.goto(site.url)
        self.page.get_by_role("link", name="Sign in").first.click()
        self.page.get_by_role("button", name=NAMES[who]).click()
        self.page.wait_for_url(f"{site.url}/**")
        self.at()

    def goto(self, path: str) -> Page:
        self.page.goto(self.site.url + path)
        return self.at()

    def press(self, name: str, role: str = "button") -> Page:
        self.page.locator("main").get_by_role(role, name=name).first.click()  # type: ignore[arg-type]
        self.page.wait_for_load_state()
        return self.at()

    def at(self) -> Page:
        """Check where they are."""
        found = barriers(self.page)
        assert found == [], (self.page.url, found)
        assert self.said == []
        return self.page


@pytest.fixture
def people(chromium: Browser, site: Rig) -> Iterator[dict[str, Person]]:  # noqa: F811
    class Entering(dict[str, Person]):
        def __missing__(self, who: str) -> Person:
            self[who] = Person(chromium, site, who)
            return self[who]

    entering = Entering()
    yield entering
    for one in entering.values():
        one.context.close()


def test_a_researcher_applies_by_keyboard_alone(people: dict[str, Person], site: Rig) -> None:  # noqa: F811
    aino = people["aino"]
    page = aino.goto("/work")
    page.get_by_role("button", name="Begin an application").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/applications/app_*")
    page.get_by_role("link", name="Project").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/project")
    aino.at()
    page.get_by_label("Title of the project").focus()
    page.keyboard.type("Typed with keys only")
    page.keyboard.press("Tab")
    page.keyboard.type("What keys can do, for people who use no mouse.")
    page.keyboard.press("Tab")
    page.keyboard.type("GDPR Art. 9")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/applications/app_\w{16}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Typed with keys only")
    aino.at()


def test_the_whole_job(people: dict[str, Person], site: Rig) -> None:  # noqa: F811
    application = identifier(apply(site, title="Seen in a browser"), "app_")
    page = people["sanna"].goto("/queue")
    expect(page.get_by_role("link", name="Seen in a browser")).to_be_visible()
    people["sanna"].press("Seen in a browser", "link")
    people["sanna"].press("Give verdict")
    expect(page.get_by_role("alert")).to_contain_text("Choose a verdict")
    page.get_by_label("Approve").check()
    people["sanna"].press("Give verdict")
    expect(page.get_by_text("You have given your verdict.")).to_be_visible()

    sami = people["sami"]
    page = sami.goto(f"/applications/{application}")
    page.get_by_label("Approve").check()
    sami.press("Give verdict")
    permit = site.ports.store.peek([application])[application].permit

    aino = people["aino"]
    page = aino.goto(f"/permits/{permit}")
    aino.press("Open a tunnel", "link")
    aino.press("Open the tunnel")
    tunnel = page.url.rsplit("/", 1)[1]
    furnish(site, tunnel)
    expect(page.get_by_role("link", name="Enter the workspace")).to_be_visible()  # it looks again by itself
    aino.at()
    release = submit(site, tunnel, {"table1.csv": SMALL})
    aino.goto(f"/releases/{release}")
    expect(page.get_by_text("the limit is 10").first).to_be_visible()
    for who in ("sanna", "sami"):
        page = people[who].goto(f"/releases/{release}")
        page.get_by_label("Needs a change").check()
        page.get_by_label("Reason for a change").select_option("small-count")
        people[who].press("Give my verdict")
    people["sami"].press("Return with points", "link")
    people["sami"].press("Return to the researcher")
    submit(site, tunnel, {"table1.csv": SAFE}, release)
    for who in ("sanna", "sami"):
        page = people[who].goto(f"/releases/{release}")
        page.get_by_label("May leave").check()
        people[who].press("Give my verdict")
    people["sami"].press("Let every file out", "link")
    people["sami"].press("Let out 1 file")
    page = people["sanna"].goto(f"/tunnels/{tunnel}")
    people["sanna"].press("Halt this tunnel", "link")
    page.get_by_label("Why?").fill("The drill of this month.")
    people["sanna"].press("Halt now")
    aino.goto(f"/tunnels/{tunnel}")
    expect(aino.page.get_by_text("a data steward halted it").first).to_be_visible()


@pytest.mark.parametrize(
    ("who", "paths"),
    [
        ("aino", ["/", "/work", "/datasets", "/datasets/{dataset}", "/register", "/help", "/accessibility"]),
        ("sanna", ["/queue", "/queue?show=waiting", "/queue?show=done", "/permits", "/tunnels", "/absence", "/datasets"]),
        ("auli", ["/audit", "/ledger", "/ledger?outcome=refused", "/ledger/1", "/access?dataset={dataset}", "/permits", "/tunnels"]),
        ("otto", ["/people", "/people/new", "/people/{person}", "/system", "/nothing-here"]),
    ],
)
def test_every_page_of_a_role(people: dict[str, Person], site: Rig, who: str, paths: list[str]) -> None:  # noqa: F811
    for path in paths:
        people[who].goto(path.format(dataset=site.dataset, person=site.ids["aino"]))


def test_an_auditor_verifies_and_comes_back(people: dict[str, Person], site: Rig) -> None:  # noqa: F811
    approve(site, identifier(apply(site, title="For the auditor"), "app_"))
    auli = people["auli"]
    page = auli.goto("/audit")
    auli.press("Verify now")
    expect(page.get_by_role("status")).to_contain_text("The ledger is whole")
