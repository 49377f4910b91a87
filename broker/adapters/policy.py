"""What every policy adapter shares: reading the bundle, refusing malformed questions, and minting the yes and the no."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import orjson

from sulku import nouns, policies
from sulku.clearance import LIFETIME, Basis, Clearance, Query, Refusal
from sulku.codec import Plain, plain, typed
from sulku.decisions import policy_input, read_answer
from sulku.errors import ConfigurationError, DeniedError, InvalidInputError, NotCanonicalError, PolicyUnavailableError
from sulku.ledger.canonical import canonical

MALFORMED: Final = "malformed-input"
_ACTION: Final = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*")
_PART: Final = re.compile(r"[a-z]+(\.[0-9]+)?")
_THRESHOLDS: Final = "data/thresholds.json"


def read(folder: Path, *, profile: str | None = None) -> policies.Bundle:
    """Return the bundle in ``folder``: its rules and tables, without the cases that test them.

    Args:
        profile: Which profile of ``data/thresholds.json`` is in force here; ``None`` leaves what the file says.

    Raises:
        ConfigurationError: A file is missing or unreadable, or there is no such profile.
    """
    paths = sorted([*folder.glob("*.rego"), *folder.glob("lib/*.rego"), *folder.glob("data/*.json")])
    try:
        files = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}
        thresholds = orjson.loads(files[_THRESHOLDS])
    except (OSError, UnicodeDecodeError, KeyError, orjson.JSONDecodeError) as error:
        raise ConfigurationError(f"the policies in {folder} cannot be read: {error}") from None
    if profile is not None:
        if profile not in thresholds["profiles"]:
            raise ConfigurationError(f"{_THRESHOLDS} has no profile {profile!r}")
        files[_THRESHOLDS] = canonical({**thresholds, "active": profile}).decode()
    return policies.bundle(files)


class Engine(Protocol):
    """What answers: which rules it follows, what it calls itself, and the answer, each as canonical JSON."""

    bundle: policies.Bundle
    engine: str

    def evaluate(self, asked: str) -> str:
        """Return the answer to ``asked``.

        Raises:
            PolicyUnavailableError: There is none, or it makes no sense.
        """


def mint(query: Query, engine: Engine, new_id: Callable[[str], str]) -> Clearance:
    """Ask ``engine`` and return the proof that it said yes.

    Raises:
        DeniedError: It said no, or the question was malformed and never asked.
        PolicyUnavailableError: It gave no answer, or one that makes no sense.
    """
    decision = new_id("dec")
    try:
        asked = _asked(query)
    except (InvalidInputError, NotCanonicalError) as error:
        denied = DeniedError(query.action, [MALFORMED], decision=decision)
        denied.refusal = Refusal(query.by, query.action, query.target, (MALFORMED,), None, str(error)[:500])
        raise denied from None
    answered = ""

    def basis() -> Basis:
        digest = hashlib.sha256(asked).hexdigest()
        return Basis(decision, engine.bundle.sha256, digest, engine.engine, asked.decode(), answered)

    try:
        answered = engine.evaluate(asked.decode())
    except PolicyUnavailableError as error:
        error.refusal = Refusal(query.by, query.action, query.target, (error.code,), basis(), str(error)[:500])
        raise
    answer = read_answer(orjson.loads(answered))
    if not answer.allow:
        denied = DeniedError(query.action, answer.reasons, decision=decision)
        denied.refusal = Refusal(query.by, query.action, query.target, answer.reasons, basis())
        raise denied
    return Clearance(
        by=query.by,
        action=query.action,
        target=query.target,
        digest=_digest(query),
        seen=frozenset((identifier, fact["version"]) for identifier, fact in query.facts.items()),
        basis=basis(),
        expires=query.at + LIFETIME,
        obligations=answer.obligations,
    )


def _asked(query: Query) -> bytes:
    """Return the exact bytes of the question.

    Raises:
        InvalidInputError: The question has not the shape that policy was written for.
        NotCanonicalError: It has no byte form.
    """
    require_intact(query)
    return canonical(policy_input(query))


def _digest(query: Query) -> str:
    asked = {"by": query.by.id, "action": query.action, "command": query.command, "about": dict(query.about)}
    return hashlib.sha256(canonical(asked)).hexdigest()


def require_intact(query: Query) -> None:
    """Require that every record in the question is whole and typed, so that no rule meets a hole.

    Raises:
        InvalidInputError: Something is missing, unknown or of the wrong type.
    """
    if not _ACTION.fullmatch(query.action):
        raise InvalidInputError(f"not an action: {query.action[:40]!r}")
    if not isinstance(query.command, dict):
        raise InvalidInputError("a command is an object")
    if {query.target, *query.about.values()} != set(query.facts):
        raise InvalidInputError("policy must see exactly the records that are named")
    heads = [part.partition(".")[0] for part in query.about]
    if not all(_PART.fullmatch(part) for part in query.about) or any(head in query.about for head in _numbered(query)):
        raise InvalidInputError(f"parts that policy cannot read: {', '.join(sorted(heads))[:100]}")
    for identifier, fact in query.facts.items():
        _require_record(identifier, fact)


def _numbered(query: Query) -> set[str]:
    return {part.partition(".")[0] for part in query.about if "." in part}


def _require_record(identifier: str, fact: Plain) -> None:
    record = typed(nouns.of(identifier).record, fact)  # type: ignore[arg-type]  # each is a dataclass
    if plain(record) != fact or fact["id"] != identifier or fact["version"] < 0:
        raise InvalidInputError(f"{identifier} is not given whole")
