"""Ledger entries as sentences: who did what to which thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.web.oversight import Sentence
from broker.web.pages import words
from broker.web.pages.render import person
from broker.web.views import Moment
from sulku import ids
from sulku.codec import Plain, unstamp
from sulku.people import Actor, Role

PLACES: Final = {
    "app": "/applications/",
    "per": "/permits/",
    "tun": "/tunnels/",
    "rel": "/releases/",
    "dst": "/datasets/",
    "usr": "/people/",
}
TITLES: Final = {
    "application.submitted": "Sent to the data stewards",
    "application.drafted": "Answers saved",
    "application.judged": "A data steward gave a verdict",
    "application.judgement-retracted": "A data steward took a verdict back",
    "application.conflict-declared": "A data steward stepped aside: conflict of interest",
    "application.returned": "Returned with points",
    "application.decided": "Decided",
    "application.withdrawn": "Withdrawn",
    "permit.issued": "Issued and signed",
    "permit.suspended": "Suspended",
    "permit.resumed": "Resumed",
    "permit.revoked": "Revoked",
    "permit.expired": "Ended",
    "permit.homes-wiped": "What was kept in its tunnels was destroyed",
    "tunnel.requested": "Asked for and cleared",
    "tunnel.closure-proved": "Proved closed",
    "tunnel.opened": "Workspace ready",
    "tunnel.entry-granted": "Ticket given",
    "tunnel.entered": "Entered",
    "tunnel.budget-topped-up": "Viewing budget added",
    "tunnel.closing": "Ended: no entry from here on",
    "tunnel.ended": "Destroyed; nothing is left running or mounted",
    "release.submitted": "Submitted for review",
    "release.compared": "Its files were compared with each other",
    "release.reviewed": "A reviewer gave their verdict",
    "release.review-retracted": "A reviewer took their verdict back",
    "release.returned": "Returned with points",
    "release.approved": "Approved",
    "release.delivered": "Signed and delivered",
    "release.fetched": "A file was fetched",
    "release.withdrawn": "Withdrawn",
    "dataset.catalogued": "Catalogued",
    "dataset.revised": "A version was added",
    "dataset.withdrawn": "Withdrawn from the catalogue",
    "person.registered": "Registered",
    "person.roles-changed": "Roles changed",
    "person.left": "Left",
    "person.sign-in-bound": "Signed in for the first time",
    "person.sign-in-unbound": "The sign-in was released",
    "record.seen": "Read",
    "record.erased": "Its texts were erased",
    "application.reminder": "Reminder: an application waits for you",
    "application.second-reminder": "Second reminder: an application still waits for you",
    "release.reminder": "Reminder: a release waits for you",
    "release.second-reminder": "Second reminder: a release still waits for you",
}


def moment(entry: Mapping[str, Any], by: Actor, names: Mapping[str, str]) -> Moment:
    """Return an entry as one line of a timeline; researchers see that stewards acted, not which."""
    who, role = str(entry["by"]["id"]), str(entry["by"]["role"])
    veiled = role == "steward" and by.role not in {Role.STEWARD, Role.AUDITOR}
    said = "a data steward" if veiled else f"{person(who, names)} ({words.ROLES.get(role, role).lower()})"
    refused = entry["type"] == "refusal.recorded"
    title = f"Refused: {_action(entry)}" if refused else TITLES.get(str(entry["type"]), str(entry["type"]))
    href = f"/ledger/{entry['index']}" if by.role is Role.AUDITOR else ""
    return Moment(unstamp(str(entry["at"])), title, "sulku" if role == "service" else said, href, refused)


def _action(entry: Mapping[str, Any]) -> str:
    body = entry["body"]
    codes = ", ".join(map(str, body.get("codes", ())))
    return f"{body.get('action', '')} ({codes})" if codes else str(body.get("action", ""))


def sentence(entry: Mapping[str, Any], names: Mapping[str, str]) -> Sentence:
    """Return an entry as a sentence for an auditor."""
    noun, kind, role = str(entry["id"]), str(entry["type"]), str(entry["by"]["role"])
    refused = kind == "refusal.recorded"
    return Sentence(
        index=int(entry["index"]),
        at=unstamp(str(entry["at"])),
        who=person(str(entry["by"]["id"]), names),
        role=role,
        did=words.DID.get(kind, kind),
        what=names.get(noun) or (f"{ids.NOUNS[noun[:3]]} {noun}" if noun[:3] in ids.NOUNS else noun),
        href=f"{PLACES[noun[:3]]}{noun}" if noun[:3] in PLACES else "",
        noun=noun,
        kind=kind,
        refused=refused,
        detail=_action(entry) if refused else _detail(entry["body"]),
    )


def _detail(body: Mapping[str, Plain]) -> str:
    """Return the plain words of a body that tell the most, if it has any."""
    return ", ".join(f"{name} {body[name]}" for name in ("verdict", "cause", "action", "minutes", "revision") if body.get(name))
