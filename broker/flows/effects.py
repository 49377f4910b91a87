"""What must happen outside the database after each event, as data; the worker does it, once in effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sulku import applications, outputs, people, permits, releases, tunnels
from sulku.events import Happened
from sulku.ports import Effect, Facts

STEWARDS = "role:steward"


def effects_of(happened: Sequence[Happened], facts: Facts) -> list[Effect]:
    """Return the effects of a change, in order; ``facts`` are the records after it. Names are deterministic."""
    return [effect for one in happened for effect in _effects(one, facts)]


def _effects(one: Happened, facts: Facts) -> Iterator[Effect]:
    noun, event = one.noun, one.event
    record = facts[noun]
    match event:
        case tunnels.Requested():
            yield _do("open-tunnel", noun, record.epoch)
        case tunnels.Closing():
            yield _do("close-tunnel", noun, record.epoch)
        case outputs.Frozen():
            yield _do("inspect-output", noun, record.version)
        case (releases.Submitted() | releases.ItemRebuilt()) if all(item.blocked is not None for item in record.items):
            yield _do("compare-release", noun, record.version)
        case releases.Approved():
            yield _do("deliver-release", noun, record.version)
        case people.Left():
            yield _do("end-person", noun, record.version)
        case people.SignInUnbound():
            yield _do("end-sessions", noun, record.version)
        case permits.Suspended() | permits.Revoked() | permits.Superseded() | permits.Expired():
            yield _do("end-permit", noun, record.version)
        case _:
            pass
    yield from _notices(one, facts)


def _notices(one: Happened, facts: Facts) -> Iterator[Effect]:
    noun, event, record = one.noun, one.event, facts[one.noun]
    match event:
        case applications.Submitted() | releases.Submitted():
            yield _tell(STEWARDS, event.TYPE, noun, record.version)
        case applications.Returned() | applications.Decided():
            yield _tell(record.applicant, event.TYPE, noun, record.version)
        case releases.Returned() | releases.Delivered():
            yield _tell(record.author, event.TYPE, noun, record.version)
        case permits.Suspended() | permits.Revoked() | permits.Resumed() | permits.Issued():
            for person in record.paper.people:
                yield _tell(person, event.TYPE, noun, record.version)
        case _:
            pass


def _do(kind: str, target: str, epoch: int) -> Effect:
    return Effect(f"{kind}:{target}:{epoch}", kind, target, epoch)


def _tell(to: str, what: str, about: str, version: int) -> Effect:
    return Effect(f"notify:{to}:{what}:{about}:{version}", "notify", about, version, {"to": to, "what": what})
