"""What waits too long is brought before the stewards who may still act, twice, and nothing is ever decided by it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from broker.flows import applications, people, releases
from broker.settings import Settings
from broker.worker.handlers import REMIND_EVERY, Watch
from broker.worker.reminders import remind
from sulku.applications import Verdict
from sulku.clearance import Query
from sulku.errors import PolicyUnavailableError
from sulku.people import ChangeRoles, Role, service
from tests.faults.world import Broker, swapped

N = timedelta(days=7)
TABLE = b"a,120\nb,140\n"  # a 3 anywhere is what the inspector of these tests objects to


def told(made: Broker, *names: str) -> dict[str, list[str]]:
    """Return the reminders that each of the stewards was given, oldest first."""
    who = names or ("bo", "cy", "di", "sten")
    return {name: [one.what for one in reversed(made.store.notices.of(made.ids[name])) if "reminder" in one.what] for name in who}


def sweep(made: Broker, later: timedelta = timedelta(0)) -> int:
    made.clock.at += later
    return remind(made.ports, made.store.notices, N)


def nothing_decided(made: Broker, record: str, state: str = "submitted") -> None:
    seen = made.read(record)
    assert seen.state == state
    assert not getattr(seen, "permit", "") or record.startswith("rel")


def away(made: Broker, who: str, delegate: str, days: int = 100) -> None:
    people.set_absence(made.ports, made.by(who), made.clock.at + timedelta(days=days), made.ids[delegate] if delegate else "")


def test_before_n_days_nobody_is_reminded(made: Broker) -> None:
    application = made.submitted()
    assert sweep(made, N - timedelta(minutes=1)) == 0
    assert told(made) == {"bo": [], "cy": [], "di": [], "sten": []}
    nothing_decided(made, application)


def test_after_n_and_2n_days_those_who_may_act_are_reminded_and_nothing_is_decided(made: Broker) -> None:
    application = made.submitted()
    before = made.read(application)
    assert sweep(made, N) == 1
    assert told(made) == {"bo": ["application.reminder"], "cy": ["application.reminder"], "di": ["application.reminder"], "sten": []}
    sweep(made, N)
    sweep(made, 10 * N)
    assert told(made, "bo") == {"bo": ["application.reminder", "application.second-reminder"]}
    assert told(made, "sten") == {"sten": []}, "a steward of the applicant's own organisation cannot act"
    assert made.read(application) == before
    assert not made.ports.store.find("per")


def test_a_sweep_that_is_repeated_gives_nothing_twice(made: Broker) -> None:
    made.submitted()
    assert sweep(made, N) == 1
    assert [sweep(made, timedelta(hours=1)) for _ in range(5)] == [0] * 5
    assert told(made, "bo") == {"bo": ["application.reminder"]}


def test_a_broker_that_was_away_catches_up_with_one_notice(made: Broker) -> None:
    made.submitted()
    assert sweep(made, 40 * N) == 1
    assert sweep(made, 40 * N) == 0
    assert told(made, "bo", "cy") == {"bo": ["application.second-reminder"], "cy": ["application.second-reminder"]}


def test_who_has_judged_declared_or_is_not_here_is_left_alone(made: Broker) -> None:
    application = made.submitted()
    applications.judge(made.ports, made.by("bo"), application, Verdict.APPROVE)
    applications.declare(made.ports, made.by("cy"), application, "my sister is in the group")
    sweep(made, N)
    assert told(made) == {"bo": [], "cy": [], "di": ["application.reminder"], "sten": []}
    nothing_decided(made, application)


def test_who_is_away_is_left_alone_and_who_stands_in_is_told_once(made: Broker) -> None:
    made.submitted()
    away(made, "bo", "cy")
    away(made, "di", "")
    sweep(made, N)
    assert told(made) == {"bo": [], "cy": ["application.reminder"], "di": [], "sten": []}


def test_who_stands_in_for_a_reviewer_is_told_in_their_place(made: Broker) -> None:
    release = made.release(made.tunnel(), TABLE)
    made.judge(release, "bo", "cy")
    away(made, "bo", "di")
    away(made, "cy", "sten")
    sweep(made, N)
    assert told(made) == {"bo": [], "cy": [], "di": ["release.reminder"], "sten": []}, "who has a conflict stands in for nobody here"
    nothing_decided(made, release)


def test_who_is_back_is_reminded_again(made: Broker) -> None:
    made.submitted()
    away(made, "bo", "cy", days=8)
    sweep(made, N)
    sweep(made, N)
    assert told(made, "bo", "cy") == {
        "bo": ["application.second-reminder"],
        "cy": ["application.reminder", "application.second-reminder"],
    }


def test_two_who_stand_in_for_each_other_and_are_both_away_do_not_hang_the_sweep(made: Broker) -> None:
    made.submitted()
    away(made, "bo", "cy")
    away(made, "cy", "bo")
    sweep(made, N)
    assert told(made) == {"bo": [], "cy": [], "di": ["application.reminder"], "sten": []}


def test_who_is_no_steward_any_more_or_has_left_is_not_told(made: Broker) -> None:
    made.submitted()
    people._do(made.ports, service("setup"), made.ids["bo"], ChangeRoles((Role.RESEARCHER,)))
    people.leave(made.ports, made.by("olli"), made.ids["cy"], "moved away")
    sweep(made, N)
    assert told(made) == {"bo": [], "cy": [], "di": ["application.reminder"], "sten": []}


def test_a_dissent_is_brought_before_those_who_made_it(made: Broker) -> None:
    application = made.submitted()
    applications.judge(made.ports, made.by("bo"), application, Verdict.APPROVE)
    applications.judge(made.ports, made.by("cy"), application, Verdict.REFUSE, "the purpose is not clear")
    sweep(made, N)
    assert told(made, "bo", "cy", "di") == {name: ["application.reminder"] for name in ("bo", "cy", "di")}
    nothing_decided(made, application)


def test_a_new_round_is_a_new_wait(made: Broker) -> None:
    application = made.submitted()
    sweep(made, N)
    applications.return_(made.ports, made.by("bo"), application, ("say which tables",))
    assert sweep(made, N) == 0, "what waits for the applicant waits for no steward"
    applications.submit(made.ports, made.by("ada"), application)
    assert sweep(made, timedelta(hours=1)) == 0
    assert sweep(made, N) == 1
    assert told(made, "di") == {"di": ["application.reminder", "application.reminder"]}


def test_a_release_waits_for_its_reviewers_and_then_for_those_who_consolidate(made: Broker) -> None:
    release = made.release(made.tunnel(), TABLE)
    made.judge(release, "bo")
    sweep(made, N)
    assert told(made) == {"bo": [], "cy": ["release.reminder"], "di": ["release.reminder"], "sten": []}
    made.judge(release, "cy")
    assert sweep(made, N - timedelta(hours=1)) == 0, "the second verdict began another wait"
    sweep(made, timedelta(hours=1))
    assert told(made) == {"bo": ["release.reminder"], "cy": ["release.reminder"] * 2, "di": ["release.reminder"], "sten": []}
    nothing_decided(made, release)
    releases.consolidate(made.ports, made.by("bo"), release, let_out=True)  # and people still can
    made.work()
    assert made.read(release).state == "released"
    assert sweep(made, 9 * N) == 0


class Dead:
    """A policy engine that is down."""

    def ask(self, query: Query) -> Any:
        raise PolicyUnavailableError("nobody answers")


def test_without_policy_nobody_is_reminded_and_all_are_once_it_is_back(made: Broker) -> None:
    made.submitted()
    policy = made.ports.policy
    swapped(made, policy=Dead())
    with pytest.raises(PolicyUnavailableError):
        sweep(made, N)
    assert told(made, "bo") == {"bo": []}
    swapped(made, policy=policy)
    assert sweep(made) == 1
    assert told(made, "bo") == {"bo": ["application.reminder"]}


def test_the_brokers_clock_reminds_and_a_reminder_that_fails_keeps_no_tunnel_open(made: Broker) -> None:
    application = made.submitted()
    made.clock.at += N
    watch = Watch(made.ports, made.neighbours, lambda: None, lambda: sweep(made))
    for _ in range(REMIND_EVERY):
        watch.tick()
    assert told(made, "bo") == {"bo": ["application.reminder"]}
    nothing_decided(made, application)
    tunnel = made.tunnel()
    made.clock.at += timedelta(minutes=61)
    sealed: list[bool] = []

    def fail() -> None:
        raise PolicyUnavailableError("nobody answers")

    watch = Watch(made.ports, made.neighbours, lambda: sealed.append(True), fail)
    for _ in range(REMIND_EVERY - 1):
        watch.tick()
    with pytest.raises(PolicyUnavailableError):
        watch.tick()
    made.work()
    assert made.read(tunnel).state == "closed"
    assert sealed


def test_asking_who_may_act_is_no_attempt_and_leaves_no_trace(made: Broker) -> None:
    made.submitted()
    size, _ = made.ports.archive.head()
    sweep(made, N)
    assert made.ports.archive.head()[0] == size
    assert made.refusals() == []


@pytest.mark.parametrize("days", [0, 366])
def test_the_wait_is_a_setting_with_bounds(days: int) -> None:
    assert Settings().remind_days == 7
    with pytest.raises(ValueError, match="remind_days"):
        Settings(remind_days=days)
