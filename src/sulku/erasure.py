"""Erasure: what of a record may go and when, and what it is without its texts. An entry of the ledger never goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, get_origin, get_type_hints

from sulku import applications, outputs, people, permits, releases, tunnels
from sulku.codec import Plain, plain, typed
from sulku.errors import InvalidInputError, RuleError
from sulku.events import REGISTRY, Event
from sulku.forms import Form
from sulku.texts import clean

ACTION: Final = "ledger.erase"
LEAST, MOST = 10, 500  # characters of a legal ground
ERASABLE: Final = {  # whose texts may be erased, and from which state on
    "usr": frozenset({people.State.LEFT}),
    "app": frozenset({applications.State.APPROVED, applications.State.REFUSED, applications.State.WITHDRAWN}),
    "tun": frozenset({tunnels.State.CLOSED}),
    "rel": frozenset({releases.State.RELEASED, releases.State.WITHDRAWN}),
}
SILENT: Final = frozenset({  # actions whose commands hold nothing that somebody wrote
    ACTION, "person.change-roles", "person.set-absence", "tunnel.open", "tunnel.enter", "tunnel.entered", "tunnel.prove", "tunnel.opened",
    "tunnel.fail", "tunnel.close", "tunnel.lease", "tunnel.report", "output.freeze", "output.inspect", "release.compare", "release.deliver",
    "release.fetch",
})  # fmt: skip


def require_erasable(identifier: str) -> None:
    """Require that the texts of such a record may be erased at all.

    Raises:
        RuleError: It is public (a permit, a dataset), has no texts, or goes with another record (an output).
    """
    if identifier[:3] not in ERASABLE:
        raise RuleError(
            "not-erasable",
            f"{identifier} holds nothing that is erased by itself",
            "Name a person, an application, a tunnel or a release; a release takes its files with it.",
        )


def require_over(record: Any, permit: permits.Permit | None = None) -> None:
    """Require that nobody needs the texts of ``record`` any more; ``permit`` is what an application gave.

    Raises:
        RuleError: It is under way, or a permit that rests on it still holds.
    """
    if record.state not in ERASABLE[record.id[:3]]:
        raise RuleError("not-over", f"{record.id} is {record.state}", "Wait until it is closed for good, or close it first.")
    if permit is not None and permit.state not in permits.OVER:
        raise RuleError("not-over", f"permit {permit.id} rests on it and is {permit.state}", "Wait for the permit's end, or revoke it.")


def ground(text: str) -> str:
    """Return a legal ground as it is kept: one safe line.

    Raises:
        InvalidInputError: It says too little or too much, or holds what cannot be seen.
    """
    kept = clean(text, most=MOST, lines=False)
    if len(kept) < LEAST:
        raise InvalidInputError("no legal ground", fields=[("ground", f"Name the legal ground in at least {LEAST} characters")])
    return kept


def nameless(record: Any) -> Any:
    """Return ``record`` without names and free texts; whom and what it refers to by id stays."""
    match record:
        case people.Person():
            return replace(record, name="", email="", subject="")
        case applications.Application():
            form = replace(record.form, title="", purpose="", basis="", outputs="")
            said = tuple(replace(one, reason="") for one in record.judgements)
            return replace(record, form=form, points=(), judgements=said)
        case tunnels.Tunnel():
            return replace(record, detail="")
        case outputs.Output():
            return replace(record, name="", declared=None, rebuilt_name="", summary=None, findings=())
        case releases.Release():
            return replace(record, title="", context="", items=(), reviews=(), points=(), envelope="", findings=())
        case _:
            return record


def emptied(record: Any) -> Any:
    """Return ``record`` as it stands once its texts are erased: whatever the ledger only commits to is gone."""
    without = nameless(record)
    return replace(without, form=Form()) if isinstance(without, applications.Application) else without


def evolve(record: Any) -> Any:
    """Return ``record`` after its erasure, one version on."""
    return replace(emptied(record), version=record.version + 1)


def private(kind: str) -> frozenset[str]:
    """Return the fields of event type ``kind`` that the ledger only commits to, in any schema."""
    return frozenset().union(*(event.PRIVATE for (name, _), event in REGISTRY.items() if name == kind))


def blank(event: type[Event], gone: Iterable[str]) -> dict[str, Plain]:
    """Return empty plain values for fields whose text is erased, so that a history can still be read."""
    hints = get_type_hints(event)
    return {name: "" if hints[name] is str else [] if get_origin(hints[name]) is tuple else {} for name in gone}


def shows(asked: Mapping[str, Any], identifier: str) -> bool:
    """Return whether a question to policy (``decisions.policy_input``) shows texts of ``identifier``, or what somebody wrote to it."""
    try:
        if asked["target"]["id"] == identifier and asked["command"] and asked["action"] not in SILENT:
            return True  # a command that was refused is in no entry, and only here
        return any(one["id"] == identifier and _speaks(one) for one in _facts(asked))
    except (KeyError, TypeError, AttributeError, InvalidInputError):  # of another version: rather too much than too little
        return True


def _facts(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {name: value for name, value in asked["target"].items() if name != "noun"}
    for part in asked["about"].values():
        yield from [part] if "id" in part else part.values()


def _speaks(fact: dict[str, Any]) -> bool:
    return bool(plain(nameless(typed(_KINDS[fact["id"][:3]], fact))) != fact)


_KINDS: Final[dict[str, Any]] = {
    "usr": people.Person,
    "app": applications.Application,
    "tun": tunnels.Tunnel,
    "out": outputs.Output,
    "rel": releases.Release,
}
