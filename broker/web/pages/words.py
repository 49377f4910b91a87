"""Codes in words: states, roles, actions, events and reasons as people read them. A code that is not here reads as itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROLES: Final = {
    "researcher": "Researcher",
    "steward": "Data steward",
    "auditor": "Auditor",
    "operator": "Operator",
    "service": "System",
    "public": "Public",
}

# state -> (word, tone of the tag)
STATES: Final = {
    "application": {
        "draft": ("Draft", "quiet"),
        "submitted": ("With the stewards", "now"),
        "returned": ("Returned to you", "warn"),
        "approved": ("Approved", "good"),
        "refused": ("Refused", "bad"),
        "withdrawn": ("Withdrawn", "quiet"),
    },
    "permit": {
        "active": ("Active", "good"),
        "suspended": ("Suspended", "warn"),
        "revoked": ("Revoked", "bad"),
        "superseded": ("Superseded", "quiet"),
        "expired": ("Ended", "quiet"),
    },
    "tunnel": {
        "requested": ("Being closed off", "now"),
        "proved": ("Mounting data", "now"),
        "open": ("Open", "good"),
        "closing": ("Closing", "warn"),
        "closed": ("Closed", "quiet"),
    },
    "output": {
        "frozen": ("Being checked", "now"),
        "inspected": ("Checked", "quiet"),
        "released": ("Released", "good"),
    },
    "release": {
        "submitted": ("Under review", "now"),
        "returned": ("Returned for changes", "warn"),
        "approved": ("Approved, being delivered", "good"),
        "released": ("Released", "good"),
        "withdrawn": ("Withdrawn", "quiet"),
    },
    "dataset": {"listed": ("Available", "good"), "withdrawn": ("Withdrawn", "bad"), "draft": ("Not catalogued", "quiet")},
    "person": {"active": ("Active", "good"), "left": ("Left", "quiet")},
}

CAUSES: Final = {
    "deadline": "its time was up",
    "closed-by-person": "the researcher closed it",
    "halted-by-steward": "a data steward halted it",
    "permit-ended": "its permit ended, was suspended or changed",
    "person-left": "the researcher left",
    "closure-not-proved": "it could not be proved closed, so no data was let in",
    "could-not-open": "the workspace could not be started",
    "workspace-lost": "the workspace stopped by itself",
}

SENSITIVITY: Final = {
    "public": ("Public", "Anybody may know what is in it. It is here so that it can be used beside other data."),
    "personal": ("Personal", "It is about single persons. A disclosure would intrude on them."),
    "special": ("Special category", "It is about people's health, genes or other matters that the law protects most."),
}

CHANGE_REASONS: Final = {
    "small-count": "A count is too small",
    "dominance": "One person dominates a value",
    "differencing": "Together with other results it discloses somebody",
    "group-disclosure": "It says something about everybody in a group",
    "low-degrees-of-freedom": "A model has too few degrees of freedom",
    "row-level-data": "It has rows about single persons",
    "identifier": "It holds an identifier",
    "unclear": "It is not clear what it shows",
    "beyond-purpose": "It goes beyond the permit's purpose",
    "format": "It cannot be checked in this format",
}

SEVERITY: Final = {"block": ("Must change", "bad"), "review": ("Needs a reviewer's answer", "warn"), "note": ("For information", "quiet")}

# action or event type -> what somebody did, between their name and the thing
DID: Final = {
    "person.registered": "registered",
    "person.roles-changed": "changed the roles of",
    "person.absence-set": "set an absence for",
    "person.left": "ended the account of",
    "person.sign-in-bound": "bound the first sign-in of",
    "person.sign-in-unbound": "released the sign-in of",
    "dataset.catalogued": "catalogued",
    "dataset.revised": "added a version to",
    "dataset.withdrawn": "withdrew",
    "application.drafted": "saved answers in",
    "application.submitted": "sent",
    "application.judged": "gave a verdict on",
    "application.judgement-retracted": "took back a verdict on",
    "application.conflict-declared": "declared a conflict of interest in",
    "application.returned": "returned, with points,",
    "application.decided": "completed the decision on",
    "application.withdrawn": "withdrew",
    "permit.issued": "issued",
    "permit.suspended": "suspended",
    "permit.resumed": "resumed",
    "permit.revoked": "revoked",
    "permit.superseded": "superseded",
    "permit.expired": "recorded the end of",
    "permit.homes-wiped": "destroyed what was kept under",
    "tunnel.requested": "asked for",
    "tunnel.closure-proved": "proved closed",
    "tunnel.opened": "opened",
    "tunnel.entry-granted": "was let into",
    "tunnel.entered": "saw an entry into",
    "tunnel.budget-leased": "leased viewing budget to",
    "tunnel.budget-topped-up": "added viewing budget to",
    "tunnel.code-executed": "recorded code run in",
    "tunnel.closing": "ended",
    "tunnel.ended": "confirmed that nothing is left of",
    "mount.attached": "mounted data through",
    "mount.detached": "unmounted",
    "output.frozen": "froze",
    "output.inspected": "checked",
    "output.released": "released",
    "release.submitted": "submitted for release",
    "release.item-rebuilt": "finished a check in",
    "release.compared": "compared the files of",
    "release.reviewed": "gave a verdict on",
    "release.review-retracted": "took back a verdict on",
    "release.returned": "returned, with points,",
    "release.approved": "let out",
    "release.delivered": "signed and delivered",
    "release.fetched": "fetched a file from",
    "release.withdrawn": "withdrew",
    "refusal.recorded": "was refused at",
    "record.seen": "read",
    "record.erased": "erased the texts about",
}

# rules of the lifecycles, which stand beside the reasons of policy (policies/data/reasons.json): what is the matter, who can act
RULES: Final = {
    "already-registered": ("Somebody with this e-mail address is in the directory.", "Change their roles instead."),
    "auditor-alone": ("An auditor holds no other role.", "Use two accounts, or drop a role."),
    "auditor-must-expire": ("An auditor's account needs an end date.", "Give a date in the future."),
    "blocked": ("A file has a finding that forbids release.", "The researcher can correct it and submit it again."),
    "bound-elsewhere": ("This person signs in with another account.", "An operator can release that sign-in."),
    "consolidating": ("Both verdicts are in and open to both reviewers.", "Say it in the consolidation instead."),
    "dissent": ("A reviewer asks for changes.", "Return it with what to change; nobody is outvoted."),
    "illegal-move": ("This step is not open at this point.", "Look at its state: it has moved on, or is not there yet."),
    "judged-already": ("You have given your verdict.", "Another data steward acts next; you can take yours back until then."),
    "no-quorum": ("Two independent verdicts are needed.", "Another data steward has to give theirs."),
    "no-verdict": ("You have given no verdict in this round.", "There is nothing to take back."),
    "not-a-reviewer": ("Only those who reviewed a release consolidate it.", "Its reviewers can act."),
    "not-bound": ("No sign-in is bound to this person.", "Their next one is bound by itself."),
    "not-erasable": ("It holds nothing that is erased by itself.", "Name a person, an application, a tunnel or a release."),
    "not-inspected": ("The automatic checks are still running.", "Wait a few seconds and read the page again."),
    "not-over": ("It is under way, or something that rests on it is.", "Wait until it is closed for good, or close it first."),
    "own-delegate": ("Nobody stands in for themselves.", "Name another person."),
    "person-left": ("This person has left.", "Register them anew if they came back."),
    "reason-needed": ("A reason is needed.", "Write at least 10 characters; the people it concerns will read it."),
    "too-many-tunnels": ("You have a tunnel open under this permit.", "Enter it, or close it first."),
}


def _reasons() -> dict[str, tuple[str, str]]:
    policy = json.loads((Path(__file__).parents[3] / "policies" / "data" / "reasons.json").read_bytes())
    return RULES | {code: (said["means"], said["remedy"]) for code, said in policy.items()}


REASONS: Final = _reasons()

PROBLEMS: Final = {
    "sign-in-required": "Sign in to continue",
    "bound-elsewhere": "This is not the account that you use here",
    "denied": "This was refused",
    "not-found": "Page not found",
    "illegal-move": "That step is not open now",
    "stale": "Somebody else acted first",
    "repeated-key": "This was sent before with other contents",
    "rule": "A rule does not allow this",
    "invalid-input": "There is a problem",
    "policy-unavailable": "Decisions cannot be made at the moment",
    "store-unavailable": "Nothing can be saved at the moment",
    "permit-not-live": "The permit does not hold now",
    "tunnel-ended": "This tunnel has ended",
    "integrity": "Something has changed that must never change",
}


def spoken(code: str) -> str:
    """Return a code that has no words of its own as readable text: ``not-on-list`` becomes ``Not on list`` with a full stop."""
    return f"{code.replace('-', ' ').replace('_', ' ').capitalize()}."


def sentences(codes: Iterable[str]) -> tuple[str, ...]:
    """Return one sentence for each reason code: what is the matter, and who can act."""
    return tuple(" ".join(REASONS[code]) if code in REASONS else spoken(code) for code in codes)


def state(noun: str, value: str) -> tuple[str, str]:
    """Return the word and the tone for a state of a noun."""
    return STATES.get(noun, {}).get(value, (spoken(value).rstrip("."), "quiet"))


GLOSSARY: Final = (
    ("Application", "A request for data: who, for what purpose, which datasets and variables, from when to when."),
    ("Budget", "How much a tunnel may show on screens, in bytes. It limits how much can be carried away by looking."),
    ("Closure", "The proof that a workspace has no way out. A probe inside tries to leave, and must fail, before any data comes in."),
    (
        "Conflict of interest",
        "A reason why a steward may not decide: the same organisation or group, a name on the application, control of the data.",
    ),
    ("Data steward", "Somebody who decides applications and reviews results. Two different stewards are needed for either."),
    ("Dataset", "A catalogued, versioned set of files with a controller, a sensitivity and terms."),
    ("Finding", "Something that the automatic checks noticed in a file, with its place and what to do about it."),
    ("Ledger", "The record of everything that happened. It can only grow, and anybody with a copy can prove that nothing was changed."),
    ("Output", "A file that a researcher submitted from inside a tunnel, frozen at that moment."),
    ("Permit", "The signed paper that an approved application gives. Whatever a tunnel may do is written in it."),
    ("Release", "A set of outputs under review. Two stewards judge every file without seeing each other's verdict."),
    ("Tunnel", "One person's closed workspace under one permit, with a deadline that it cannot outlive."),
)
