"""The document that policy is asked with and the answer it must give: one shape for every engine, so that all agree.

Input::

    {"action": "noun.verb",
     "subject": {"id", "kind": "person|service|public", "role", "organisation", "groups", "mfa", "signed_in"},
     "target":  {the record, plus "noun"},
     "about":   {part: {a record}, …; parts named "dataset.0", "dataset.1" become {"dataset": {"0": …, "1": …}}},
     "command": {…},
     "context": {"now": "2026-11-22T10:00:00.000Z"}}

Answer of ``data.sulku.decision``::

    {"allow": bool, "reasons": [code, …], "obligations": {"scope": "all|own", "record": bool, …}}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sulku import ids
from sulku.clearance import Query
from sulku.codec import Plain, stamp
from sulku.errors import PolicyUnavailableError

RULE: Final = "data.sulku.decision"
MAX_REASONS: Final = 50


@dataclass(frozen=True, slots=True)
class Answer:
    """A well-formed answer. ``reasons`` are sorted codes; empty exactly when allowed."""

    allow: bool
    reasons: tuple[str, ...]
    obligations: dict[str, Plain]


def policy_input(query: Query) -> dict[str, Plain]:
    """Return the document for ``query``."""
    about: dict[str, Any] = {}
    for part, identifier in query.about.items():
        head, _, index = part.partition(".")
        if index:
            about.setdefault(head, {})[index] = query.facts[identifier]
        else:
            about[head] = query.facts[identifier]
    by = query.by
    kind = "service" if by.id.startswith("service:") else "person" if by.id.startswith("usr_") else "public"
    return {
        "action": query.action,
        "subject": {
            "id": by.id,
            "kind": kind,
            "role": by.role.value,
            "organisation": by.organisation,
            "groups": list(by.groups),
            "mfa": by.mfa,
            "signed_in": stamp(by.signed_in) if by.signed_in else None,
        },
        "target": {**query.facts[query.target], "noun": ids.noun(query.target)},
        "about": about,
        "command": query.command,
        "context": {"now": stamp(query.at)},
    }


def read_answer(raw: object) -> Answer:
    """Return the answer in ``raw``, which an engine gave; anything unexpected is not an answer.

    Raises:
        PolicyUnavailableError: Undefined, of the wrong shape, or allowed and refused at once.
    """
    if not isinstance(raw, dict) or set(raw) != {"allow", "reasons", "obligations"}:
        raise PolicyUnavailableError("policy gave no answer of the agreed shape")
    allow, reasons, obligations = raw["allow"], raw["reasons"], raw["obligations"]
    if not isinstance(allow, bool) or not isinstance(obligations, dict) or not isinstance(reasons, list):
        raise PolicyUnavailableError("policy gave an answer of the wrong types")
    if len(reasons) > MAX_REASONS or not all(isinstance(code, str) and code.isascii() for code in reasons):
        raise PolicyUnavailableError("policy gave reasons that are not codes")
    if allow == bool(reasons):
        raise PolicyUnavailableError("policy allowed and refused at once, or refused without a reason")
    return Answer(allow, tuple(sorted(reasons)), obligations)
