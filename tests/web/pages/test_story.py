"""The whole job as people do it in a browser, with scripts off: apply, decide, open, submit, review, release, audit."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from PIL import Image

from broker.adapters.inspection import Inspector
from broker.flows import outputs, releases, tunnels
from sulku import closure, ids
from sulku.closure import Attempt, Control
from tests.web.pages.paper import Paper
from tests.web.rig import Rig

PURPOSE = "Whether light chains predict death in people over 50, to decide whom to screen."
PROFILE = {
    "name": "default", "version": 1, "threshold": 10, "degrees": 10, "p_percent": 10, "largest_percent": 50, "share_percent": 90,
    "zeros_block": False, "digits": 6, "rows": 500, "rounding": ["midpoint-6"],
}  # fmt: skip
SMALL = b"sex,persons\nfemale,120\nmale,3\n"
SAFE = b"sex,persons\nfemale,120\nmale,114\n"


def person(site: Rig, who: str) -> Paper:
    return Paper(site.signed_in(who))


def apply(site: Rig, who: str = "aino", title: str = "Light chains and survival") -> Paper:
    """Write and send an application, page by page."""
    page = person(site, who).get(f"/datasets/{site.dataset}").press("Apply to use this")
    assert "Not started" in page.text
    page.follow("Project").press("Save and continue", {"title": title, "purpose": PURPOSE, "basis": "GDPR Art. 9(2)(j)"})
    page.follow("Data").press("Save and continue", {"dataset": site.dataset})
    assert "Which variables" in page.text
    page.press("Save and continue", {"variable": "age"})
    today = site.clock.now().date()
    page.follow("Setting").press("Save and continue", {"starts": str(today), "ends": str(today + timedelta(days=30))})
    page.follow("Outputs").press("Save and continue", {"outputs": "Counts by sex and age band."})
    page.follow("Check answers and send")
    return page.press("Send application to the data stewards")


def identifier(page: Paper, prefix: str) -> str:
    return next(part for part in page.path.split("/") if part.startswith(prefix))


def approve(site: Rig, application: str) -> str:
    """Have two stewards approve, and return the permit."""
    for who in ("sanna", "sami"):
        page = person(site, who).get(f"/applications/{application}").press("Give verdict", {"verdict": "approve", "reason": ""})
        assert page.status == 200, page.text
    permit = site.ports.store.peek([application])[application].permit
    assert permit
    return str(permit)


def furnish(site: Rig, tunnel: str) -> None:
    """Do what the worker does, without a sandbox: prove closure, open."""
    attempts = [Attempt(way, closed=True, how="ENETUNREACH") for way in closure.WAYS]
    controls = [Control(name, alive=True, strangers=0) for name in closure.CONTROLS]
    tunnels.prove(site.ports, tunnel, closure.judge(tunnel, attempts, controls, 10))
    tunnels.opened(site.ports, tunnel)


def submit(site: Rig, tunnel: str, files: dict[str, bytes], release: str | None = None) -> str:
    """Do what the gateway and the worker do with files in the outbox: freeze, put under review, check in isolation."""
    frozen = [
        outputs.freeze(site.ports, tunnel, ids.new("rel"), name, data, {"persons": "persons"} if name.endswith("csv") else {}).id
        for name, data in files.items()
    ]
    made = releases.submit(site.ports, tunnel, "Counts by sex", "Table 1", tuple(frozen), release).id
    for output in frozen:
        outputs.inspect(site.ports, Inspector(), PROFILE, output)
    releases.compare(site.ports, Inspector(), PROFILE, made)
    return made


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def sent(site: Rig) -> str:
    page = apply(site)
    assert "Application sent" in page.text, page.text
    return identifier(page, "app_")


@pytest.fixture(scope="module")
def permit(site: Rig, sent: str) -> str:
    return approve(site, sent)


@pytest.fixture(scope="module")
def tunnel(site: Rig, permit: str) -> str:
    page = person(site, "aino").get(f"/permits/{permit}").follow("Open a tunnel").press("Open the tunnel", {"minutes": "60"})
    assert "looks again by itself" in page.text
    made = identifier(page, "tun_")
    furnish(site, made)
    return made


def test_an_incomplete_application_is_not_sent_and_says_what_is_missing(site: Rig) -> None:
    page = person(site, "aino").get("/work").press("Begin an application")
    assert "sections are not complete" in page.text
    application = identifier(page, "app_")
    page.get(f"/applications/{application}/check").press("Send application to the data stewards")
    assert page.status == 422
    assert "There is a problem" in page.text
    assert "Choose at least one dataset" in page.text


def test_a_person_who_is_not_in_the_directory_cannot_be_named(site: Rig) -> None:
    page = person(site, "aino").get("/work").press("Begin an application").follow("People")
    page.press("Save and continue", {"people": "nobody@example.org"})
    assert page.status == 422
    assert "nobody else here has the address nobody@example.org" in page.text.lower()
    page.press("Save and continue", {"people": "risto@example.org"})
    assert page.status == 200
    assert "Risto Rinne" in page.follow("People").text


def test_what_was_typed_survives_a_problem(site: Rig) -> None:
    page = person(site, "aino").get("/work").press("Begin an application").follow("Project")
    page.press("Save and continue", {"title": "A\u202eb", "purpose": PURPOSE, "basis": ""})
    assert page.status == 422
    assert PURPOSE in page.text


def test_two_stewards_make_a_permit_that_its_researcher_can_open(site: Rig, permit: str) -> None:
    page = person(site, "aino").get(f"/permits/{permit}")
    assert "Light chains and survival" in page.text
    paper = page.follow("Download the signed permit")
    assert paper.answer is not None
    assert paper.answer.json()["payloadType"] == "application/vnd.sulku.permit+json"


def test_a_researcher_does_not_see_which_steward_acted(site: Rig, permit: str, sent: str) -> None:
    text = person(site, "aino").get(f"/applications/{sent}").text
    assert "a data steward" in text.split("What happened")[1]


def test_nobody_else_sees_an_application(site: Rig, sent: str) -> None:
    assert person(site, "risto").get(f"/applications/{sent}").status == 404
    assert person(site, "aino").get(f"/applications/{sent}").status == 200


def test_a_returned_application_shows_its_points_and_can_be_sent_again(site: Rig) -> None:
    application = identifier(apply(site, title="A second question"), "app_")
    page = person(site, "sami").get(f"/applications/{application}")
    assert page.press("Return to the applicant", {"points": ""}).status == 422
    page.press("Return to the applicant", {"points": "Say which age bands.\nName the law."})
    assert "Returned" in page.text
    page = person(site, "aino").get(f"/applications/{application}")
    assert "Name the law." in page.text
    page.follow("Outputs").press("Save and continue", {"outputs": "Counts by ten-year band."})
    page.follow("Check answers and send").press("Send application to the data stewards")
    assert "Application sent" in page.text
    assert "round 2" in person(site, "sami").get(f"/applications/{application}").text


def test_a_steward_who_declares_a_conflict_is_out(site: Rig) -> None:
    application = identifier(apply(site, title="A third question"), "app_")
    page = person(site, "sami").get(f"/applications/{application}").press("Declare a conflict of interest")
    assert "You cannot give a verdict now" in page.text
    assert "Give verdict" in person(site, "sanna").get(f"/applications/{application}").text


def test_a_stale_page_changes_nothing(site: Rig) -> None:
    application = identifier(apply(site, title="A fourth question"), "app_")
    early = person(site, "sami").get(f"/applications/{application}")
    person(site, "sanna").get(f"/applications/{application}").press("Give verdict", {"verdict": "refuse", "reason": "Too broad a purpose."})
    early.press("Give verdict", {"verdict": "approve", "reason": ""})
    assert early.status == 409
    assert "Somebody else acted first" in early.text
    assert len(site.ports.store.peek([application])[application].judgements) == 1


def test_a_form_sent_twice_is_done_once(site: Rig) -> None:
    page = person(site, "aino").get(f"/datasets/{site.dataset}")
    again = Paper(page.http, page.answer)
    first, second = identifier(page.press("Apply to use this"), "app_"), identifier(again.press("Apply to use this"), "app_")
    assert first == second


def test_a_tunnel_counts_down_and_leads_to_its_gate(site: Rig, tunnel: str) -> None:
    page = person(site, "aino").get(f"/tunnels/{tunnel}")
    assert f'href="{site.settings.tunnel_url(ids.label(tunnel))}/.sulku/enter"' in page.html
    assert "minutes" in page.text.split("Time left")[1][:30]
    assert "http-equiv" not in page.html


def test_minutes_out_of_range_come_back_with_the_form(site: Rig, permit: str) -> None:
    page = person(site, "aino").get(f"/permits/{permit}/open").press("Open the tunnel", {"minutes": "many"})
    assert page.status == 422
    assert 'value="many"' in page.html


def test_the_way_in_is_one_ticket_for_one_browser(site: Rig, tunnel: str) -> None:
    browser = site.signed_in("aino")
    answer = browser.get(f"/enter/{tunnel}", params={"nonce_hash": "a" * 64})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{site.settings.tunnel_url(ids.label(tunnel))}/.sulku/enter?ticket=")
    assert browser.get(f"/enter/{tunnel}", params={"nonce_hash": "short"}).status_code == 422
    assert site.signed_in("risto").get(f"/enter/{tunnel}", params={"nonce_hash": "a" * 64}).status_code == 403


def test_review_is_blind_then_consolidated_then_out(site: Rig, tunnel: str) -> None:
    release = submit(site, tunnel, {"table1.csv": SMALL, "figure.png": picture()})
    author = person(site, "aino").get(f"/releases/{release}")
    assert "the limit is 10" in author.text
    sanna, sami = person(site, "sanna"), person(site, "sami")
    assert release in sanna.get("/queue").html
    page = sanna.get(f"/releases/{release}")
    table, figure = (item.output for item in site.ports.store.peek([release])[release].items)
    assert "It may not leave as it is." in page.text
    assert page.press("Give my verdict", {f"verdict-{figure}": "approve"}).status == 422
    assert "Give a verdict on table1.csv" in page.text
    marks = {
        f"verdict-{table}": "change",
        f"reason-{table}": "small-count",
        f"comment-{table}": "Merge male.",
        f"verdict-{figure}": "approve",
    }
    page.press("Give my verdict", marks)
    assert "Waiting for a second data steward" in page.text
    hidden = sami.get(f"/releases/{release}").text
    assert "Merge male." not in hidden
    sami.press("Give my verdict", marks)
    assert "Merge male." in sami.text
    assert "At least one reviewer asks for changes" in sami.text
    sami.follow("Return with points").press("Return to the researcher")
    back = author.get(f"/releases/{release}").text
    assert "table1.csv: a count is too small. Merge male." in back
    assert "Sami" not in back.split("What happened")[0]

    submit(site, tunnel, {"table1.csv": SAFE}, release)
    (table,) = (item.output for item in site.ports.store.peek([release])[release].items)
    for browser in (sanna, sami):
        browser.get(f"/releases/{release}").press("Give my verdict", {f"verdict-{table}": "approve"})
    sanna.get(f"/releases/{release}").follow("Let every file out").press("Let out 1 file")
    releases.deliver(site.ports, release)
    page = author.get(f"/releases/{release}")
    assert "Released" in page.text
    fetched = page.follow("Fetch table1.csv")
    assert fetched.answer is not None
    assert fetched.answer.content.splitlines() == SAFE.splitlines()
    assert "attachment" in fetched.answer.headers["content-disposition"]


def test_an_auditor_sees_the_findings_and_not_the_contents(site: Rig, tunnel: str) -> None:
    release = submit(site, tunnel, {"secret-table.csv": SMALL})
    before = len(site.ledger("refusal.recorded"))
    text = person(site, "auli").get(f"/releases/{release}").text
    assert "the limit is 10" in text
    assert "shown only to its author and to reviewers" in text
    assert len(site.ledger("refusal.recorded")) == before
    assert "male" in person(site, "aino").get(f"/releases/{release}").text


def test_a_picture_is_shown_only_by_the_second_origin(site: Rig, tunnel: str) -> None:
    release = submit(site, tunnel, {"figure.png": picture()})
    page = person(site, "sanna").get(f"/releases/{release}")
    origin = site.settings.preview_origin
    address = page.html.split(f'<img src="{origin}')[1].split('"')[0]
    host = {"Host": origin.partition("://")[2]}
    shown = site.browser().get(address, headers=host)
    assert shown.headers["content-type"] == "image/png"
    assert "sandbox" in shown.headers["content-security-policy"]
    assert site.browser().get(address[:-4] + "AAAA", headers=host).status_code == 404
    assert site.browser().get("/register", headers=host).status_code == 404
    assert site.browser().get(address).status_code == 404


def test_a_steward_halts_with_a_reason(site: Rig, permit: str, tunnel: str) -> None:
    page = person(site, "aino").get(f"/permits/{permit}")
    assert "You have a tunnel open under this permit" in page.text
    assert person(site, "aino").get("/halt").status == 404


def test_a_steward_halts_what_the_page_is_about_and_nothing_else(site: Rig, tunnel: str) -> None:
    permit = approve(site, identifier(apply(site, title="A sixth question"), "app_"))
    made = identifier(person(site, "aino").get(f"/permits/{permit}").follow("Open a tunnel").press("Open the tunnel", {"minutes": "60"}), "tun_")
    dataset = site.ports.store.peek([permit])[permit].paper.grants[0].dataset
    for address, link in ((f"/tunnels/{made}", "Halt all of this person"), (f"/datasets/{dataset}", "Halt its tunnels")):
        assert "2 tunnels live now" in person(site, "sanna").get(address).follow(link).text
    page = person(site, "sanna").get(f"/permits/{permit}").follow("Halt its tunnels")
    assert "1 tunnel live now" in page.text
    assert f"sulku tunnels halt permit {permit} --reason" in page.text
    page.press("Halt now", {"reason": "A leak is suspected under this permit."})
    assert site.ports.store.peek([made])[made].state.value in {"closing", "closed"}
    assert site.ports.store.peek([tunnel])[tunnel].state.value == "open"
    assert "Halt its tunnels" not in person(site, "sanna").get(f"/permits/{permit}").text


def test_suspending_needs_a_reason_and_a_confirmation(site: Rig) -> None:
    permit = approve(site, identifier(apply(site, title="A fifth question"), "app_"))
    page = person(site, "sanna").get(f"/permits/{permit}").follow("Suspend the permit")
    assert "closes at once" in page.text
    assert page.press("Suspend the permit", {"reason": "short"}).status == 422
    page.press("Suspend the permit", {"reason": "Ethics approval is being renewed."})
    assert "Suspended" in page.text
    reader = person(site, "aino").get(f"/permits/{permit}")
    assert "Ethics approval is being renewed." in reader.text
    assert "Open a tunnel: not now" in reader.text
    page.follow("Resume the permit").press("Resume the permit")
    assert "Open a tunnel: not now" not in person(site, "aino").get(f"/permits/{permit}").text


def test_an_auditor_reads_everything_and_changes_nothing(site: Rig, sent: str, permit: str) -> None:
    page = person(site, "auli").get("/audit")
    assert page.press("Verify now").status == 200
    assert "The ledger is whole" in page.text
    timeline = page.get("/ledger?noun=permit").text
    assert "issued permit" in timeline
    page.get(f"/ledger?noun={sent}")
    assert "sent application" in page.text
    page.follow("Record")
    assert "As it is stored" in page.text
    assert page.get(f"/applications/{sent}").status == 200
    assert "Your decision" not in page.text
    assert page.http.post(f"/applications/{sent}/judge", data={"verdict": "approve"}).status_code in {403, 409}
    assert person(site, "sami").get("/ledger").status == 403


def test_a_decision_is_replayed_from_its_record(site: Rig, sent: str) -> None:
    page = person(site, "auli").get(f"/ledger?noun={sent}&action=application.submitted")
    page.follow("Record").press("Replay this decision")
    assert "The same policy gives the same answer, bit for bit." in page.text
    assert '"application.submit"' in page.text


def test_an_auditor_is_told_whether_history_still_holds(site: Rig, sent: str) -> None:
    site.store.ledger.checkpoint(site.ports.archive.keys.checkpoint, site.clock.now())
    page = person(site, "auli").get("/audit")
    assert "first time that this browser has seen the ledger" in page.text
    assert "Everything that you saw then is still there" in page.get("/audit").text
    page.http.cookies.set("sulku-seen", "bm90IGEgY2hlY2twb2ludA==", domain="broker.localhost", path="/audit")
    assert "Everything that you saw then is still there" not in page.get("/audit").text


def test_switching_roles_is_explicit(site: Rig) -> None:
    page = person(site, "sanna").get("/home")
    assert page.path == "/queue"
    assert "acting as data steward" in page.text
    page.press("Switch", {"role": "researcher"})
    assert page.path == "/work"
    assert page.get("/queue").status == 404


def test_a_timeline_is_its_address(site: Rig, permit: str) -> None:
    page = person(site, "auli").get("/ledger.json?action=permit.issued")
    assert page.answer is not None
    assert {entry["type"] for entry in page.answer.json()["entries"]} == {"permit.issued"}
    assert person(site, "auli").get("/ledger.csv?action=permit.issued").text.startswith("index,at,person")
    assert person(site, "auli").get("/ledger?since=yesterday").status == 422


def test_a_refusal_says_why_and_can_be_read_again(site: Rig, tunnel: str) -> None:
    page = person(site, "risto")
    page.http.headers["Accept"] = "text/html"
    page.get(f"/enter/{tunnel}?nonce_hash={'a' * 64}")
    assert "It belongs to somebody else." in page.text
    page.follow("Why was this refused?")
    assert "tunnel.enter" in page.text
    decision = identifier(page, "dec_")
    assert person(site, "aino").get(f"/refusals/{decision}").status == 404
    assert person(site, "auli").get(f"/refusals/{decision}").status == 200


def test_an_operator_registers_and_ends_accounts_and_sees_no_data(site: Rig, permit: str) -> None:
    page = person(site, "otto").get("/people").follow("Register a person")
    assert page.press("Register", {"name": "", "email": "x", "organisation": ""}).status == 422
    page.press("Register", {"name": "Uusi Tutkija", "email": "uusi@example.org", "organisation": "uni-north", "role": "researcher"})
    assert "Uusi Tutkija" in page.text
    page.follow("End this account").press("End the account", {"reason": "Left the university."})
    assert "Left" in page.text
    assert page.get("/system").status == 200
    assert person(site, "aino").get("/system").status == 404
    assert page.get(f"/permits/{permit}").status == 404
    assert page.get("/ledger").status == 403


def test_an_operator_releases_a_sign_in(site: Rig) -> None:
    site.signed_in("risto")
    page = person(site, "otto").get(f"/people/{site.ids['risto']}")
    assert "bound to their account" in page.text
    page.follow("Release the sign-in")
    assert "The next sign-in that proves risto@example.org becomes theirs" in page.text
    assert page.press("Release the sign-in", {"reason": "no"}).status == 422
    page.press("Release the sign-in", {"reason": "The university gave him a new account."})
    assert "the next one is bound" in page.text
    assert "The sign-in was released" in page.text
    assert "Release the sign-in" not in page.text
    person(site, "risto")
    assert "Signed in for the first time" in page.get(f"/people/{site.ids['risto']}").text
    assert "Release the sign-in" not in page.get(f"/people/{site.ids['otto']}").text
    assert "Release the sign-in" not in person(site, "sami").get(f"/people/{site.ids['risto']}").text


def test_a_steward_says_when_they_are_away(site: Rig) -> None:
    page = person(site, "sami").get("/absence")
    assert page.press("Save absence", {"until": ""}).status == 422
    day = site.clock.now().date() + timedelta(days=7)
    page.press("Save absence", {"until": str(day), "delegate": site.ids["sanna"]})
    assert "Sanna Salo stands in" in page.text
    assert "stands in" not in page.press("I am back").text.split("Absence and delegation")[1][200:260]


def test_the_public_reads_the_register_and_nothing_else(site: Rig, permit: str, sent: str) -> None:
    page = Paper(site.browser())
    assert "Light chains and survival" in page.get("/register").text
    assert "Aino" not in page.text
    for path in (
        "/",
        "/datasets",
        f"/datasets/{site.dataset}",
        "/help",
        "/accessibility",
        "/register.csv",
        "/register.json",
        "/register/status",
    ):
        assert page.get(path).status == 200, path
    for path in ("/work", "/queue", "/ledger", f"/permits/{permit}", f"/applications/{sent}", "/people"):
        assert page.http.get(path).headers["location"].startswith("/sign-in?next="), path


def test_every_page_has_the_strict_headers(site: Rig) -> None:
    headers = site.browser().get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
