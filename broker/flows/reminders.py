"""Whom a clock reminds of what waits for a decision: the stewards who may still act, or who stands in. It approves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.flows import applications, releases
from sulku.applications import Application
from sulku.people import Actor, Person, Role, State
from sulku.ports import Ports
from sulku.releases import Phase, Release

TIMES: Final = ("reminder", "second-reminder")  # after N days and after 2 N; then nobody is asked again


@dataclass(frozen=True, slots=True)
class Reminder:
    """One notice to several people; its ``name`` is the same whenever it is due, so that it is given once."""

    name: str
    persons: tuple[str, ...]
    what: str
    about: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What waits since when, and who of the stewards can still do something about it."""

    case: Application | Release
    step: str
    since: datetime
    asked: Callable[[Person], bool]
    may: Callable[[Actor], bool]


def due(ports: Ports, after: timedelta, given: Callable[[str], bool]) -> Iterator[Reminder]:
    """Yield the reminders that are due and were not given.

    A broker that was away for long gives the latest only. Asks the very policy that guards the decision, so that nobody is
    reminded of what they may not do; without policy nobody is reminded now.

    Args:
        after: N days.
        given: Whether a reminder of that name was given.

    Raises:
        PolicyUnavailableError: No answer is a no.
    """
    now = ports.clock.now()
    for one in _waiting(ports):
        times = min((now - one.since) // after, len(TIMES))
        name = f"remind:{one.case.id}:{one.case.round}:{one.step}:{times}"
        if times > 0 and not given(name) and (persons := _who(ports, one, now)):
            noun = "application" if isinstance(one.case, Application) else "release"
            yield Reminder(name, persons, f"{noun}.{TIMES[times - 1]}", one.case.id)


def _waiting(ports: Ports) -> Iterator[_Waiting]:
    for case in ports.store.find("app", state="submitted"):
        yield _application(ports, case)
    for case in ports.store.find("rel", state="submitted"):
        yield _release(ports, case)


def _application(ports: Ports, case: Application) -> _Waiting:
    judged = {one.by for one in case.judgements}
    if len({one.verdict for one in case.judgements}) > 1:  # a dissent: only taking a verdict back or returning it goes on
        judged = set()

    def may(by: Actor) -> bool:
        return by.id not in judged and not applications.may(ports, by, case.id)["application.judge"]

    assert case.submitted_at is not None
    return _Waiting(case, "judge", case.submitted_at, lambda person: Role.STEWARD in person.roles, may)


def _release(ports: Ports, case: Release) -> _Waiting:
    reviewed = {one.by for one in case.reviews}
    if case.phase is Phase.CONSOLIDATING:

        def may(by: Actor) -> bool:
            return not releases.may(ports, by, case.id)["release.consolidate"]

        return _Waiting(case, "consolidate", case.reviews[-1].at, lambda person: person.id in reviewed, may)

    def may_judge(by: Actor) -> bool:
        return by.id not in reviewed and not releases.may(ports, by, case.id)["release.judge"]

    assert case.submitted_at is not None
    return _Waiting(case, "judge", case.submitted_at, lambda person: Role.STEWARD in person.roles, may_judge)


def _who(ports: Ports, waiting: _Waiting, at: datetime) -> tuple[str, ...]:
    """Return the ids of whoever can act now, each once; for somebody who is away, of who stands in and can."""
    people: dict[str, Person] = {one.id: one for one in ports.store.find("usr") if one.state is State.ACTIVE}
    here = {_here(people, one, at) for one in people.values() if waiting.asked(one)} - {""}
    return tuple(sorted(one for one in here if waiting.may(_steward(people[one]))))


def _here(people: dict[str, Person], person: Person, at: datetime) -> str:
    """Return who acts for ``person`` at ``at``: themselves, or whom their absence names, and so on; empty if nobody."""
    passed: set[str] = set()
    while person.away_until is not None and person.away_until > at:
        passed.add(person.id)
        if person.delegate in passed or person.delegate not in people:
            return ""
        person = people[person.delegate]
    return person.id


def _steward(person: Person) -> Actor:
    return Actor(person.id, Role.STEWARD, organisation=person.organisation, groups=person.groups)
