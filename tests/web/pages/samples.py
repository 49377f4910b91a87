"""One of each page, with enough in it to look at: for the render tests, the accessibility checks and the screenshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from broker.flows.permits import Listed
from broker.web import oversight as o
from broker.web import views as v
from broker.web.pages import differences, words
from sulku import ids, rounds
from sulku.applications import Application, Judgement, State, Verdict
from sulku.codec import plain
from sulku.datasets import Dataset, Edition, File, Sensitivity, Variable
from sulku.datasets import State as DatasetState
from sulku.disclosure.findings import Code, Severity, Where, found
from sulku.forms import Form, Wanted
from sulku.outputs import Output
from sulku.outputs import State as OutputState
from sulku.people import Person, Role
from sulku.people import State as Gone
from sulku.permits import SCHEMA, Document, Grant, Limits, Permit
from sulku.permits import State as PermitState
from sulku.records import Beside
from sulku.releases import Item, Mark, Reason, Release, Review
from sulku.releases import State as ReleaseState
from sulku.releases import Verdict as ReleaseVerdict
from sulku.tunnels import Cause, Tunnel
from sulku.tunnels import State as TunnelState

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
AINO, MARIA, JUHANI, OLA = (f"usr_{letter * 16}" for letter in "amje")
NAMES = {AINO: "Aino Korhonen", MARIA: "Maria Lind", JUHANI: "Juhani Saarinen", OLA: "Ola Öberg"}
APP, PER, TUN, REL, DST = (f"{prefix}_{'4k7' * 5}x" for prefix in ("app", "per", "tun", "rel", "dst"))
SHA = "9f3c" * 16

EDITION = Edition(
    "2026.1",
    SHA,
    (File("flchain.parquet", 182_133, 7874, SHA),),
    (
        Variable("person", "integer", "A number that tells persons apart"),
        Variable("age", "integer", "Age in years when the sample was taken"),
        Variable("sex", "text", "Sex as registered"),
        Variable("kappa", "number", "Serum free light chain, kappa, mg/dl"),
        Variable("death", "boolean", "Died during follow-up"),
    ),
    7874,
    "person",
)
DATASET = Dataset(
    DST,
    1,
    DatasetState.LISTED,
    "flchain",
    "Free light chain and mortality",
    "Serum free light chain of residents of Olmsted County over 50, with follow-up until death.",
    "County laboratory",
    (),
    Sensitivity.SPECIAL,
    "Scientific research in the public interest. Counts below 10 do not leave.",
    "scikit-survival",
    (EDITION,),
)
FORM = Form(
    "Free light chain and survival",
    "Whether a raised free light chain predicts death in people over 50, to decide whom to screen.\n\nBenefits: earlier diagnosis.",
    "GDPR Art. 6(1)(e) and 9(2)(j)",
    "Tables of counts by sex and ten-year age band; one survival curve with at least 10 at risk.",
    (OLA,),
    (Wanted(DST, "2026.1", ("person", "age", "sex", "death")),),
    "2026-11-22",
    "2027-11-21",
)
DRAFT = Application(APP, 2, State.DRAFT, AINO, "University of Tampere", FORM)
SENT = replace(DRAFT, state=State.SUBMITTED, round=2, version=6, submitted_at=NOW - timedelta(days=3))
JUDGED = replace(SENT, judgements=(Judgement(MARIA, Verdict.APPROVE, "Clear purpose, few variables.", NOW),))
BACK = replace(DRAFT, state=State.RETURNED, round=1, points=("Say which age bands you will use.", "Name the legal basis."))
PAPER = Document(
    schema=SCHEMA,
    id=PER,
    revision=1,
    application=APP,
    title=FORM.title,
    purpose=FORM.purpose,
    organisation="University of Tampere",
    people=(AINO, OLA),
    grants=(Grant(DST, "flchain", "2026.1", SHA, ("person", "age", "sex", "death"), "special"),),
    starts=NOW - timedelta(days=1),
    ends=NOW + timedelta(days=364),
    limits=Limits(),
    profile="default",
    approved_by=(MARIA, JUHANI),
    issued=NOW,
    checkpoint="",
)
PERMIT = Permit(PER, 1, PermitState.ACTIVE, PAPER, '{"payloadType":"application/vnd.sulku.permit+json","payload":"eyJ…","signatures":[…]}')
OPEN = Tunnel(
    id=TUN,
    version=5,
    state=TunnelState.OPEN,
    permit=PER,
    person=AINO,
    minutes=120,
    requested_at=NOW - timedelta(minutes=30),
    deadline=NOW + timedelta(minutes=90),
    opened_at=NOW - timedelta(minutes=29),
    closure=SHA,
    budget=150 * 2**20,
    leased=50 * 2**20,
)
OPENING = replace(OPEN, state=TunnelState.PROVED, opened_at=None)
OVER = replace(OPEN, state=TunnelState.CLOSED, cause=Cause.DEADLINE, ended_at=NOW, detail="0 processes, 0 mounts")
OUT1, OUT2, OUT3 = (f"out_{digit * 16}" for digit in "123")
ITEMS = (Item(OUT1, "table1.csv", SHA, SHA, True), Item(OUT2, "survival.png", SHA, SHA, False), Item(OUT3, "notes.txt", SHA))
WAITING = Release(
    id=REL,
    version=4,
    state=ReleaseState.SUBMITTED,
    author=AINO,
    people=(AINO, OLA),
    organisation="University of Tampere",
    permit=PER,
    tunnel=TUN,
    title="Counts by sex and age band",
    context="Table 1 and figure 1 of the paper.",
    round=1,
    items=ITEMS,
    submitted_at=NOW - timedelta(hours=5),
)
MARKS = (
    Mark(OUT1, SHA, ReleaseVerdict.CHANGE, Reason.SMALL_COUNT, "Row Kemi is too small."),
    Mark(OUT2, SHA, ReleaseVerdict.APPROVE),
    Mark(OUT3, SHA, ReleaseVerdict.APPROVE),
)
BOTH = replace(
    WAITING, reviews=(Review(MARIA, MARKS, NOW), Review(JUHANI, tuple(replace(m, verdict=ReleaseVerdict.APPROVE) for m in MARKS), NOW))
)
RETURNED = replace(WAITING, state=ReleaseState.RETURNED, reasons=(Reason.SMALL_COUNT,), points=("Merge Kemi with Tornio.",), decided_at=NOW)
RELEASED = replace(WAITING, state=ReleaseState.RELEASED, decided_at=NOW, decided_by=(MARIA, JUHANI))
SMALL = found(Code.SMALL_COUNT, Severity.BLOCK, "3 people; the limit is 10.", Where(1, 2, "Kemi", "65–74"))
FIGURE = found(Code.PICTURE, Severity.REVIEW, "how many persons stand behind each point is not declared.")


def _output(identifier: str, name: str, kind: str, rebuilt: str) -> Output:
    return Output(
        id=identifier,
        version=2,
        state=OutputState.INSPECTED,
        name=name,
        size=1204,
        sha256=SHA,
        kind=kind,
        rebuilt=SHA,
        rebuilt_name=rebuilt,
    )


SHEET = v.Sheet(
    (("region", ""), ("50–64", ""), ("65–74", ""), ("75 and over", "")),
    (
        (("Tampere", ""), ("412", ""), ("388", ""), ("207", "")),
        (("Kemi", ""), ("14", ""), ("3", "block"), ("11", "review")),
        (("Turku", ""), ("305", ""), ("296", ""), ("[suppressed]", "")),
    ),
    12,
)
FILES = (
    v.FileView(_output(OUT1, "table1.csv", "csv", "table1.csv"), True, (plain(SMALL),), SHEET),
    v.FileView(_output(OUT2, "survival.png", "png", "survival.png"), False, (plain(FIGURE),), picture="/static/mark.svg"),
    v.FileView(_output(OUT3, "notes.txt", "text", "notes.txt"), None, (), text="Hazard ratio 1.42 (1.31 to 1.54)"),
)
HISTORY = (
    v.Moment(NOW, "Returned with points", "Maria Lind (data steward)", "/ledger/41"),
    v.Moment(NOW - timedelta(hours=1), "A file download was refused", "sulku (gateway)", "/ledger/40", refused=True),
    v.Moment(NOW - timedelta(days=1), "Sent to the data stewards", "Aino Korhonen (researcher)"),
)
ACTS = (
    v.Act("Check answers and send", f"/applications/{APP}/check"),
    v.Act("Withdraw", f"/applications/{APP}/withdraw", "plain"),
    v.Act("Give a verdict", "", against=("You have given your verdict. Another data steward acts next.",)),
)
STEPS = (
    v.Step("Cleared", "done", "Policy allowed it"),
    v.Step("Closure proved", "now", "A probe tries to get out"),
    v.Step("Data mounted", "waiting"),
)
SENTENCE = o.Sentence(
    41, NOW, "Maria Lind", "steward", "gave a verdict on", "release Counts by sex", f"/releases/{REL}", REL, "release.reviewed", False
)
REFUSED = replace(
    SENTENCE,
    index=40,
    who="Aino Korhonen",
    role="researcher",
    did="was refused at",
    what="a file download",
    kind="refusal.recorded",
    refused=True,
)
ERASED = replace(SENTENCE, index=57, who="Otto Oja", role="operator", did="erased the texts about", what=f"person {AINO}", noun=AINO, kind="record.erased")
CASE = o.Case(
    f"/releases/{REL}", REL, "release", WAITING.title, "Aino Korhonen", WAITING.organisation, "submitted", NOW, 16, "1 of 2 verdicts", "You"
)
REPORT = o.Report((o.Check("records", 48211, 48211, "each hash fits its place"), o.Check("signatures", 1204, 1204)), NOW)
STEWARD = Person(
    MARIA, 1, name="Maria Lind", email="maria@authority.example", organisation="Authority", roles=(Role.STEWARD, Role.RESEARCHER)
)
OPEN_TO_ALL: dict[str, tuple[str, ...]] = {
    f"{noun}.{verb}": ()
    for noun, verbs in {"application": ("judge", "return", "declare", "retract"), "release": ("judge", "retract", "consolidate")}.items()
    for verb in verbs
}
CLOSED = dict.fromkeys(OPEN_TO_ALL, ("You share a research group with somebody in it. Leave it to another steward.",))
EARLIER = replace(FORM, purpose=FORM.purpose.replace("over 50", "of all ages"), people=(), ends="2028-11-21", datasets=(Wanted(DST, "2026.1", ("person", "age", "sex", "kappa", "death")),))
CHANGED = differences.of_answers(rounds.answers(EARLIER, FORM), NAMES, {DST: DATASET})
FIRST = rounds.FilesChanged()
SECOND = rounds.FilesChanged(
    1,
    ("Merge Kemi with Tornio.", "Say who stands behind each point."),
    (Reason.SMALL_COUNT,),
    rounds.files(
        (Item(OUT1, "table1.csv", "1b" * 32), Item(OUT3, "notes-old.txt", "5d" * 32), Item(OUT2, "all-of-the-coefficients-by-age-and-sex.csv", "2c" * 32)),
        (Item(OUT1, "table1.csv", "7e" * 32), Item(OUT2, "survival.png", "3a" * 32), Item(OUT3, "notes.txt", "5d" * 32)),
    ),
)
REASONS = tuple(words.CHANGE_REASONS.items())
KEY = ids.new("dec")
SETS = {DST: DATASET}

# name -> (role that looks, view)
PAGES: dict[str, tuple[str, v.View]] = {
    "front": ("", v.Front(3, 1)),
    "accessibility": ("", v.Accessibility()),
    "help": ("", v.Help(words.GLOSSARY)),
    "register": ("", v.Register((Listed(PER, FORM.title, FORM.purpose, PAPER.organisation, ("flchain 2026.1",), PAPER.starts, PAPER.ends, "active"),))),
    "register-empty": ("", v.Register(())),
    "catalogue": ("", v.Catalogue((DATASET, replace(DATASET, id=f"dst_{'5' * 16}", title="Breast cancer trial GBSG2", state=DatasetState.WITHDRAWN)))),
    "catalogue-empty": ("", v.Catalogue(())),
    "dataset": ("researcher", v.DatasetPage(DATASET, EDITION, (v.Act("Apply to use this", "/applications", post=True),), HISTORY)),
    "problem": ("researcher", v.Problem("denied", "This was refused", "policy refused tunnel.open", "Read the reasons.", "dec_" + "1" * 16, (), words.sentences(["not-on-permit"]), 403)),
    "problem-fault": ("researcher", v.Problem("store-unavailable", "Nothing can be saved at the moment", "The database is away.", "Try again in a minute.", "a1b2c3", (("title", "is missing"),), (), 503)),
    "problem-sign-in": ("", v.Problem("sign-in-required", "Sign in to continue", "nobody is signed in", "Sign in and try again.", status=401)),
    "confirm": ("steward", v.Confirm("Revoke this permit?", ("It ends for good.", "Its 1 live tunnel closes at once."), "Revoke the permit", f"/permits/{PER}/revoke", f"/permits/{PER}", reason="Why?", reason_hint="At least 10 characters; the people on the permit read it.", version=3, key=KEY, command=f"sulku permits revoke {PER}", errors=(("reason", "Give at least 10 characters"),))),
    "work": ("researcher", v.Work((BACK, SENT, replace(SENT, state=State.APPROVED, permit=PER)), (PERMIT,), (OPEN, OVER), (WAITING, RETURNED), HISTORY[:1])),
    "work-empty": ("researcher", v.Work((), (), (), ())),
    "tasks": ("researcher", v.TaskList(BACK, (v.Task("Project", f"/applications/{APP}/project", "Completed", "Title, purpose, legal basis"), v.Task("Data", f"/applications/{APP}/data", "Not started", "Datasets and variables")), ACTS, HISTORY)),
    "section-project": ("researcher", v.Section(DRAFT, "project", "About the project", {"title": "", "purpose": FORM.purpose, "basis": ""}, NAMES, errors=(("title", "Title of the project: give at least 5 characters"),))),
    "section-people": ("researcher", v.Section(DRAFT, "people", "People", {"people": (OLA,), "add": ""}, NAMES)),
    "section-data": ("researcher", v.Section(DRAFT, "data", "Data", {"datasets": (DST,)}, NAMES, (DATASET,))),
    "section-setting": ("researcher", v.Section(DRAFT, "setting", "Setting", {"starts": "2026-11-22", "ends": ""}, NAMES, errors=(("ends", "The last day is before the first"),))),
    "section-outputs": ("researcher", v.Section(DRAFT, "outputs", "Outputs", {"outputs": FORM.outputs}, NAMES, next="check")),
    "variables": ("researcher", v.Variables(DRAFT, DATASET, EDITION, ("age", "sex"))),
    "check": ("researcher", v.CheckAnswers(DRAFT, NAMES, SETS, KEY, (("basis", "Legal basis: give at least 3 characters"),))),
    "sent": ("researcher", v.Sent(SENT)),
    "application": ("researcher", v.ApplicationPage(JUDGED, NAMES, SETS, False, {}, acts=ACTS[1:2], history=HISTORY)),
    "application-steward": ("steward", v.ApplicationPage(JUDGED, NAMES, SETS, True, OPEN_TO_ALL, (v.Step("Everybody is in the directory", "done"), v.Step("Every dataset is available", "failed", "flchain is withdrawn")), since=1, asked=BACK.points, changed=CHANGED, history=HISTORY, key=KEY, given={"me": MARIA}, errors=(("verdict", "Choose a verdict"),))),
    "application-conflict": ("steward", v.ApplicationPage(SENT, NAMES, SETS, True, CLOSED, history=HISTORY)),
    "permit": ("steward", v.PermitPage(PERMIT, NAMES, (v.Act("Open a tunnel", f"/permits/{PER}/open"), v.Act("Suspend", f"/permits/{PER}/suspend", "plain"), v.Act("Revoke", f"/permits/{PER}/revoke", "bad")), (OPEN,), (WAITING,), HISTORY)),
    "permit-suspended": ("researcher", v.PermitPage(replace(PERMIT, state=PermitState.SUSPENDED, reason="Ethics approval is being renewed."), NAMES, ())),
    "open": ("researcher", v.OpenTunnel(PERMIT, KEY, "900", (("minutes", "A tunnel lasts 1 to 480 minutes"),))),
    "tunnel": ("researcher", v.TunnelPage(OPEN, PERMIT, NAMES, tuple(replace(s, state="done") for s in STEPS), 5400, "http://t-4k7.sulku.localhost:8081/.sulku/enter", ("pandas 2.3", "lifelines 0.30"), (v.Act("Close the tunnel", f"/tunnels/{TUN}/close", "plain"),), True, HISTORY)),
    "tunnel-opening": ("researcher", v.TunnelPage(OPENING, PERMIT, NAMES, STEPS, 5400, "", (), (), True)),
    "tunnel-over": ("steward", v.TunnelPage(OVER, PERMIT, NAMES, STEPS, 0, "", (), (), False, HISTORY)),
    "release": ("researcher", v.ReleasePage(WAITING, NAMES, FILES, (v.Act("Withdraw", "", "plain"),), HISTORY)),
    "release-returned": ("researcher", v.ReleasePage(RETURNED, NAMES, FILES, ())),
    "release-out": ("researcher", v.ReleasePage(RELEASED, NAMES, FILES, (), HISTORY)),
    "review": ("steward", v.ReviewPage(replace(WAITING, round=2), NAMES, FILES, OPEN_TO_ALL, False, (RELEASED,), SECOND, REASONS, KEY, history=HISTORY, errors=((f"verdict-{OUT2}", "Give a verdict on survival.png"),))),
    "review-mine": ("steward", v.ReviewPage(replace(WAITING, reviews=BOTH.reviews[:1]), NAMES, FILES, OPEN_TO_ALL, True, (), FIRST, REASONS, KEY)),
    "review-both": ("steward", v.ReviewPage(BOTH, NAMES, FILES, OPEN_TO_ALL, True, (), FIRST, REASONS, KEY)),
    "review-conflict": ("steward", v.ReviewPage(WAITING, NAMES, FILES, CLOSED, False, (), FIRST, REASONS, KEY)),
    "queue": ("steward", o.Queue((v.Link("Needs you", "/queue", True, 2), v.Link("Waiting for others", "/queue?show=waiting", False, 1), v.Link("Done", "/queue?show=done", False, 14)), "needs", (CASE, replace(CASE, kind="application", id=APP, days=1)), {"kind": "", "organisation": "", "text": ""}, ("University of Tampere",), "show=needs", HISTORY[:1])),
    "queue-empty": ("steward", o.Queue((), "needs", (), {"kind": "", "organisation": "", "text": ""}, (), "")),
    "permits": ("steward", o.Permits((PERMIT,))),
    "tunnels": ("steward", o.Tunnels((OPEN,), (OVER,), NAMES, {PER: FORM.title}, True)),
    "absence": ("steward", o.Absence(replace(STEWARD, away_until=NOW + timedelta(days=7), delegate=JUHANI), (replace(STEWARD, id=JUHANI, name="Juhani Saarinen"),), NAMES, {}, (("until", "Give a date"),))),
    "audit": ("auditor", o.Audit(48211, SHA, "sulku.example/ledger\n48211\nn2zk…\n\n— sulku.example/ledger AAAA", 48100, "Everything that you saw then is still there, unchanged.", REPORT)),
    "audit-broken": ("auditor", o.Audit(48211, SHA, "", report=replace(REPORT, failed="record 117 (rel_…): the hash does not fit"))),
    "timeline": ("auditor", o.Timeline((SENTENCE, REFUSED), dict.fromkeys(("person", "noun", "action", "dataset", "outcome", "since", "until"), ""), NAMES, (DATASET,), ("application", "permit"), "outcome=refused", 2, "", "/ledger?before=40")),
    "entry": ("auditor", o.Entry(SENTENCE, '{\n  "v": 1\n}', SHA, (SHA, SHA), 48211, SHA, (Beside("marks", "two of three may leave", True), Beside("comment", "x" * 400, False)), True, decision="dec_" + "1" * 16, asked="{}", answered='{"allow":true}', again='{"allow":true}', replayed=True)),
    "entry-closed": ("auditor", o.Entry(SENTENCE, "{}", SHA, (SHA,), 48211, SHA, (Beside("marks", None, True),), asked_kept=True, decision="dec_" + "1" * 16)),
    "entry-erased": ("auditor", o.Entry(SENTENCE, "{}", SHA, (SHA,), 48211, SHA, (Beside("name", None, None), Beside("email", None, None)), erased=ERASED, ground="GDPR Art. 17(1)(a), request 2026/41", asked_kept=False, decision="dec_" + "1" * 16)),
    "entry-lost": ("auditor", o.Entry(SENTENCE, "{}", SHA, (SHA,), 48211, SHA, (Beside("name", None, None),))),
    "access": ("auditor", o.Access((DATASET,), DATASET, (o.AccessRow(AINO, "2026.1", PER, TUN, NOW, None),), NAMES)),
    "why": ("researcher", o.Why("dec_" + "1" * 16, "tunnel.open", NOW, (("not-on-permit", words.sentences(["not-on-permit"])[0]),), SHA)),
    "people": ("operator", o.People((STEWARD, replace(STEWARD, id=AINO, name="Aino Korhonen", expires=NOW)))),
    "person": ("operator", o.PersonPage(STEWARD, tuple(words.ROLES.items())[:4], KEY, {"roles": ("steward",)}, (v.Act("End this account", "/people/x/leave", "bad"),), HISTORY)),
    "person-erased": ("operator", o.PersonPage(replace(STEWARD, name="", email="", state=Gone.LEFT), tuple(words.ROLES.items())[:4], KEY, history=HISTORY)),
    "person-new": ("operator", o.PersonPage(None, tuple(words.ROLES.items())[:4], KEY, errors=(("email", "Give an e-mail address"), ("roles", "Choose at least one role")))),
    "system": ("operator", o.System((("Ledger", True, "48,211 records"), ("Policy engine", False, "does not answer")), (("Mode", "demo"),))),
}  # fmt: skip
