"""The main job in a browser, by mouse and keyboard, on a whole installation; takes the screenshots that the tutorials show.

People come as they do in production: by TLS and HTTP/2, which end in a proxy in front, with cookies that are Secure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ports import free_port
from tests.servers import chromium as browsers
from tests.servers import haproxy
from tests.servers.haproxy import Front
from tests.stories.installation import Installation
from tests.stories.story import SETUP, SUBMIT_FIRST, SUBMIT_SECOND, Story
from tests.web.browser.barriers import barriers

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
HOSTS = "--host-resolver-rules=MAP *.localhost 127.0.0.1"
WINDOW = {"width": 1280, "height": 860}


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with haproxy.prepared(free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def chromium(front: Front) -> Iterator[Browser]:
    pins = f"--ignore-certificate-errors-spki-list={','.join(front.pins)}"
    with browsers.running(HOSTS, "--disable-background-networking", pins) as browser:
        yield browser


@pytest.fixture
def at(front: Front) -> Iterator[Installation]:
    ports = {"port": free_port(), "gate_port": free_port()}
    with front.running(ports["port"], ports["gate_port"]), Installation({**front.settings, **ports}, trust=front.trust) as made:
        yield made


class Desk:
    """One person's browser: signs in by the development issuer's button, and every page that is shown is checked by axe."""

    def __init__(self, chromium: Browser, at: Installation, name: str) -> None:
        self.page: Page = chromium.new_context(viewport=WINDOW).new_page()
        self.url = at.settings.url
        self.page.goto(f"{self.url}/sign-in")
        self.page.get_by_role("button", name=name).click()
        self.page.wait_for_url(f"{self.url}/**")

    def show(self, path: str, image: str = "") -> Page:
        """Go to a page of the broker; take its picture if the docs want one."""
        self.page.goto(f"{self.url}{path}")
        self.check(image)
        return self.page

    def check(self, image: str = "") -> None:
        assert barriers(self.page) == [], self.page.url
        if image:
            IMAGES.mkdir(exist_ok=True)
            self.page.screenshot(path=str(IMAGES / f"{image}.png"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")  # kept-alive sockets
@pytest.mark.timeout(400)
def test_the_main_job_in_a_browser(chromium: Browser, at: Installation) -> None:
    story = Story(at)
    story.catalogue()
    ada = Desk(chromium, at, "Ada Salmi")
    application = write_application(ada)
    decide(chromium, at, application)
    tunnel = open_tunnel(ada)
    work(ada, at, tunnel)
    story.tunnel = tunnel
    release = review(chromium, at, story, ada)
    page = ada.show(f"/releases/{release}", "researcher-6-released")
    with page.expect_download() as download:
        page.get_by_role("link", name="Fetch").first.click()
    assert download.value.path().stat().st_size > 0
    audit(chromium, at)
    kept = ada.page.context.cookies()
    assert kept
    assert all(one["secure"] and one["name"].startswith("__Host-") for one in kept if "issuer" not in one["domain"]), kept


def write_application(ada: Desk) -> str:
    page = ada.show("/datasets")
    page.get_by_role("link", name="Serum free light chain and mortality").click()
    dataset = page.url.rsplit("/", 1)[1]
    page.get_by_role("button", name="Apply").first.click()
    page.wait_for_url("**/applications/app_*")
    address = page.url.removeprefix(ada.url).split("/")[2].split("?")[0]
    ada.show(f"/applications/{address}", "researcher-1-application")
    fill(ada, address, dataset)
    return address


def fill(ada: Desk, application: str, dataset: str) -> None:
    """Answer every section through its own page."""
    page = ada.show(f"/applications/{application}/project")
    page.get_by_label("Title of the project").fill("Free light chains and survival")
    page.get_by_label("What will you find out").fill("Whether a high concentration of free light chain foretells death in older people.")
    page.get_by_label("Legal basis").fill("Secondary Use Act 552/2019, section 38") if page.get_by_label("Legal basis").count() else None
    press(page, "Save")
    for section in ("setting", "outputs", "people"):
        page = ada.show(f"/applications/{application}/{section}")
        for label, text in ANSWERS.items():
            if page.get_by_label(label).count():
                page.get_by_label(label).first.fill(text)
        press(page, "Save")
    page = ada.show(f"/applications/{application}/data")
    page.locator(f"input[value={dataset}]").check()
    press(page, "Save")
    page = ada.show(f"/applications/{application}/data/{dataset}")
    for box in page.get_by_role("checkbox").all():
        box.check()
    press(page, "Save")
    page = ada.show(f"/applications/{application}/check")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("sent")


ANSWERS = {
    "Legal basis": "Secondary Use Act 552/2019, section 38",
    "First day": "2026-01-01",
    "Last day": "2030-01-01",
    "What results do you expect": "Tables of counts by sex and age",
}


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).first.click()


def decide(chromium: Browser, at: Installation, application: str) -> None:
    sten = Desk(chromium, at, "Sten Salo")
    sten.show(f"/applications/{application}", "steward-3-conflict")
    for n, name in enumerate(("Maria Lind", "Bo Ek")):
        steward = Desk(chromium, at, name)
        page = steward.show("/queue", "" if n else "steward-1-queue")
        page.get_by_role("link", name="Free light chains and survival").first.click()
        steward.check("" if n else "steward-2-application")
        page.get_by_label("Approve").first.check() if page.get_by_label("Approve").count() else None
        page.get_by_role("button", name="Give").or_(page.get_by_role("button", name="Approve")).first.click()
    expect(page.locator("body")).to_contain_text("per_")


def open_tunnel(ada: Desk) -> str:
    page = ada.show("/work")
    page.locator("a[href^='/permits/per_']").first.click()
    ada.check("researcher-2-permit")
    page.get_by_role("link", name="Open a tunnel").or_(page.get_by_role("button", name="Open a tunnel")).first.click()
    page.get_by_label("minutes", exact=False).first.fill("30")
    page.get_by_role("button", name="Open").first.click()
    page.wait_for_url("**/tunnels/tun_*")
    expect(page.get_by_role("link", name="Enter").or_(page.get_by_role("button", name="Enter")).first).to_be_visible(timeout=60_000)
    ada.check("researcher-3-tunnel")
    return page.url.rsplit("/", 1)[1].split("?")[0]


CELL = "import pandas as pd; d = pd.read_csv('/data/flchain/flchain.csv'); d.age.plot.hist(); print(len(d))"


def work(ada: Desk, at: Installation, tunnel: str) -> None:
    """JupyterLab works in the shell page: a cell runs and shows a plot, and the notebook is saved."""
    page = ada.page
    page.get_by_role("link", name="Enter").or_(page.get_by_role("button", name="Enter")).first.click()
    page.wait_for_url("**gate.sulku.localhost**", timeout=30_000)
    lab = page.frame_locator("iframe")
    lab.locator(".jp-LauncherCard[data-category='Notebook']").first.click(timeout=60_000)
    cell = lab.locator(".jp-Notebook .jp-Cell .cm-content").first
    cell.click(timeout=30_000)
    expect(lab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_attached(timeout=90_000)
    page.keyboard.insert_text(CELL)
    expect(cell).to_have_text(CELL)
    page.keyboard.press("Shift+Enter")
    expect(lab.locator(".jp-OutputArea-output img").first).to_be_visible(timeout=90_000)
    expect(lab.locator(".jp-OutputArea").first).to_contain_text("7874")
    IMAGES.mkdir(exist_ok=True)
    page.screenshot(path=str(IMAGES / "researcher-4-jupyterlab.png"))
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "/api/contents/" in answer.url) as saved:
        page.keyboard.press("Control+s")
        lab.locator(".jp-Dialog .jp-mod-accept").click()  # the name that it was given
    assert saved.value.ok
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2", "the proxy was to speak HTTP/2"


def review(chromium: Browser, at: Installation, story: Story, ada: Desk) -> str:
    """A blocked table is returned by two stewards, the corrected one is let out by two."""
    person = story.who("ada")
    person.sign_in()
    lab = person.enter(story.tunnel)
    lab.start()
    lab.run(SETUP)
    lab.run(SUBMIT_FIRST)
    release = story._arrived(1)
    story._inspected(f"/releases/{release}")
    ada.show(f"/releases/{release}", "researcher-5-findings")
    maria, bo = (Desk(chromium, at, name) for name in ("Maria Lind", "Bo Ek"))
    maria.show(f"/releases/{release}", "steward-4-review")
    for steward in (maria, bo):
        page = steward.show(f"/releases/{release}")
        for group in page.locator("fieldset.verdict").all():
            group.locator("input[value=change]").check()
            group.locator("select").first.select_option("small-count")
        press(page, "Give my verdict")
    bo.show(f"/releases/{release}", "steward-5-consolidation")
    page = bo.show(f"/releases/{release}/return")
    page.locator("textarea").first.fill("Merge the oldest ages: some cells have fewer than ten persons.")
    page.locator("main form button").first.click()
    lab.run(SUBMIT_SECOND.replace("RELEASE", release))
    story._arrived(2)
    story._inspected(f"/releases/{release}")
    for steward in (maria, bo):
        page = steward.show(f"/releases/{release}")
        for group in page.locator("fieldset.verdict").all():
            group.locator("input[value=approve]").check()
        press(page, "Give my verdict")
    page = bo.show(f"/releases/{release}/let-out")
    page.locator("main form button").first.click()
    person.wait(f"/releases/{release}", "state", "released")
    return release


def audit(chromium: Browser, at: Installation) -> None:
    tove = Desk(chromium, at, "Tove Holm")
    page = tove.show("/audit")
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("main")).to_contain_text("entries", timeout=30_000)
    tove.check("auditor-1-ledger")
    page = tove.show("/ledger?outcome=refused", "auditor-2-timeline")
    page = tove.show("/ledger?action=tunnel.requested")
    page.locator("main a[href^='/ledger/']").first.click()
    tove.check("auditor-3-record")
    page.get_by_role("button", name="Replay").first.click()
    expect(page.locator("main")).to_contain_text("same")
    tove.show("/access", "auditor-4-access")
