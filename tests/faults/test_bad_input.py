"""Whatever is wrong with what is asked gets a clear refusal with a code and a remedy, a record, and changes nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.flows import applications, outputs, permits, releases, tunnels
from broker.flows import people as people_flow
from sulku import ids
from sulku.applications import Verdict
from sulku.errors import (
    DeniedError,
    IllegalMoveError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RefusalError,
    RepeatedKeyError,
    RuleError,
    SulkuError,
    UnsafeNameError,
)
from sulku.people import Register, Role, service
from sulku.releases import Mark, State
from sulku.reviews import Verdict as Say
from tests.faults.world import Broker


def codes(error: SulkuError) -> set[str]:
    assert error.remedy().endswith(".") and len(error.remedy()) > 10, error
    return {error.code, getattr(error, "rule", ""), *getattr(error, "reasons", ())}


# --- permits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda made, permit: permits.suspend(made.ports, made.by("bo"), permit, "a complaint was made"), "permit-suspended"),
        (lambda made, permit: permits.revoke(made.ports, made.by("bo"), permit, "a complaint was true"), "permit-revoked"),
        (lambda made, permit: setattr(made.clock, "at", made.clock.at + timedelta(days=40)), "permit-ended"),
    ],
    ids=["suspended", "revoked", "expired"],
)
def test_no_tunnel_under_a_permit_that_does_not_hold(made: Broker, change: object, wanted: str) -> None:
    permit = made.permit()
    change(made, permit)  # type: ignore[operator]
    with pytest.raises(RefusalError) as refused:
        made.requested(permit)
    found = codes(refused.value)
    assert any(wanted.split("-")[1][:5] in code or "permit" in code for code in found), found
    assert not made.ports.store.find("tun")
    assert made.refusals()


def test_a_permit_that_is_not_yet_valid_opens_nothing(made: Broker) -> None:
    day = made.clock.at.date() + timedelta(days=3)
    permit = made.permit(starts=day.isoformat())
    with pytest.raises(RefusalError):
        made.requested(permit)
    made.clock.at += timedelta(days=4)
    assert made.tunnel(permit)


def test_a_stranger_and_a_missing_permit_look_alike_from_outside(made: Broker) -> None:
    permit = made.permit()
    with pytest.raises(NotFoundError) as stranger:
        permits.view(made.ports, made.by("eve"), permit)
    with pytest.raises(NotFoundError) as missing:
        permits.view(made.ports, made.by("eve"), ids.new("per"))
    assert str(stranger.value).replace(permit, "") == str(missing.value)[: len(str(missing.value))].replace(str(missing.value).split()[4], "")


@pytest.mark.parametrize(("who", "minutes"), [("eve", 60), ("bo", 60), ("ada", 0), ("ada", -1), ("ada", 481), ("ada", 10**9)])
def test_who_and_how_long(made: Broker, who: str, minutes: int) -> None:
    permit = made.permit()
    with pytest.raises(RefusalError) as refused:
        made.requested(permit, minutes, who)
    assert codes(refused.value)
    assert made.refusals()
    assert not made.ports.store.find("tun")


def test_a_tunnel_does_not_outlive_its_permit(made: Broker) -> None:
    permit = made.permit()
    made.clock.at = made.read(permit).paper.ends - timedelta(minutes=30)
    with pytest.raises(RefusalError):
        made.requested(permit, 60)
    assert made.tunnel(permit, 25)


def test_two_opens_at_once_give_one_tunnel(made: Broker) -> None:
    permit = made.permit()
    done: list[object] = []

    def one() -> None:
        try:
            done.append(made.requested(permit))
        except RefusalError as error:
            done.append(error)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made.ports.store.find("tun")) == 1, done


# --- forms and names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"title": "x" * 5000},
        {"title": 7},
        {"datasets": "all"},
        {"datasets": [{"dataset": "dst_x", "version": "1", "variables": ["age"]}]},
        {"people": ["usr_me"]},
        {"colour": "red"},
        {"title": "Light\u202echains"},
        {"purpose": "Why\x07 not, is the question here"},
    ],
)
def test_a_wrong_form_is_not_kept(made: Broker, other: dict) -> None:
    with pytest.raises(InvalidInputError) as refused:
        applications.draft(made.ports, made.by("ada"), made.answers(**other))
    assert codes(refused.value)
    assert not made.ports.store.find("app")


@pytest.mark.parametrize(
    "other",
    [
        {"purpose": ""},
        {"datasets": []},
        {"ends": "2020-01-01"},
        {"starts": "soon"},
    ],
)
def test_an_incomplete_form_is_kept_and_not_sent(made: Broker, other: dict) -> None:
    receipt = applications.draft(made.ports, made.by("ada"), made.answers(**other))
    application = next(one for one in receipt.facts if one.startswith("app"))
    with pytest.raises(InvalidInputError) as refused:
        applications.submit(made.ports, made.by("ada"), application)
    assert refused.value.fields
    assert made.read(application).state == "draft"


@pytest.mark.parametrize("wanted", [{"version": "9"}, {"variables": ["age", "name"]}])
def test_a_version_or_variable_that_is_not_there_cannot_be_asked_for(made: Broker, wanted: dict) -> None:
    asked = [{"dataset": made.dataset, "version": "1", "variables": ["age"], **wanted}]
    with pytest.raises(RefusalError):
        applications.draft(made.ports, made.by("ada"), made.answers(datasets=asked))


@pytest.mark.parametrize("name", ["a\u202etxt.csv", "../up.csv", "a/b.csv", ".hidden", "", "nul\x00.csv", "x" * 300 + ".csv", "a\nb.csv"])
def test_an_unsafe_file_name_is_refused(made: Broker, name: str) -> None:
    tunnel = made.tunnel()
    with pytest.raises((UnsafeNameError, InvalidInputError)):
        outputs.freeze(made.ports, tunnel, "s", name, b"n\n20\n", {})
    assert outputs.freeze(made.ports, tunnel, "s", "ok.csv", b"n\n20\n", {}).state == "frozen"


@pytest.mark.parametrize("name", ["Mallory\u202e", "Zero\u200bWidth", "Bell\x07", ""])
def test_a_person_with_an_unsafe_name_is_not_entered(made: Broker, name: str) -> None:
    before = len(made.ports.store.find("usr"))
    with pytest.raises(InvalidInputError):
        people_flow.register(made.ports, service("setup"), Register(name, "m@example.org", "uni", (Role.RESEARCHER,)))
    assert len(made.ports.store.find("usr")) == before


# --- repeats and stale pages ------------------------------------------------------------------------------------------


def test_the_same_request_twice_is_done_once(made: Broker) -> None:
    first = applications.draft(made.ports, made.by("ada"), made.answers(), key="k1")
    again = applications.draft(made.ports, made.by("ada"), made.answers(), key="k1")
    assert {one.id for one in made.ports.store.find("app")} <= set(first.facts)
    assert again.repeated


def test_a_key_is_not_for_another_request_but_for_another_person(made: Broker) -> None:
    permit = made.permit()
    tunnels.open_(made.ports, made.by("ada"), permit, 60, key="k")
    with pytest.raises(RepeatedKeyError) as refused:
        tunnels.open_(made.ports, made.by("ada"), permit, 30, key="k")
    assert codes(refused.value)
    assert tunnels.open_(made.ports, made.by("aki"), permit, 30, key="k").facts


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["ada", "aki", "sten", "olli", "tove", "eve"])
def test_who_may_not_decide_an_application(made: Broker, who: str) -> None:
    application = made.submitted()
    with pytest.raises(DeniedError) as refused:
        applications.judge(made.ports, made.by(who), application, Verdict.APPROVE)
    assert refused.value.reasons
    assert made.refusals(application)
    assert not made.read(application).judgements


def test_a_steward_who_is_also_the_applicant_decides_nothing(made: Broker) -> None:
    application = made.submitted()
    both = replace(made.by("ada"), role=Role.STEWARD)
    with pytest.raises(DeniedError):
        applications.judge(made.ports, both, application, Verdict.APPROVE)


def test_a_verdict_twice_or_late_is_refused_and_recorded(made: Broker) -> None:
    application = made.submitted()
    applications.judge(made.ports, made.by("bo"), application, Verdict.APPROVE)
    with pytest.raises(RuleError):
        applications.judge(made.ports, made.by("bo"), application, Verdict.APPROVE)
    applications.judge(made.ports, made.by("cy"), application, Verdict.APPROVE)
    with pytest.raises((IllegalMoveError, DeniedError)):
        applications.judge(made.ports, made.by("di"), application, Verdict.APPROVE)
    assert len(made.refusals(application)) == 2


@pytest.mark.parametrize("who", ["ada", "aki", "sten", "olli", "tove"])
def test_who_may_not_judge_a_release(made: Broker, who: str) -> None:
    release = made.release(made.tunnel(), b"n\n20\n")
    with pytest.raises(RefusalError):
        made.judge(release, who)
    assert not made.read(release).reviews
    assert made.refusals(release)


def test_two_others_let_it_out_and_only_the_permits_people_fetch(made: Broker) -> None:
    release = made.release(made.tunnel(), b"n\n20\n")
    made.judge(release, "bo", "cy")
    releases.consolidate(made.ports, made.by("cy"), release, let_out=True)
    made.work()
    assert made.read(release).state is State.RELEASED
    output = made.read(release).items[0].output
    assert releases.fetch(made.ports, made.by("aki"), release, output)[2] == b"N\n20\n"
    with pytest.raises(NotFoundError):
        releases.fetch(made.ports, made.by("eve"), release, output)


def test_verdicts_are_blind(made: Broker) -> None:
    release = made.release(made.tunnel(), b"n\n20\n")
    made.judge(release, "bo")
    assert not releases.view(made.ports, made.by("cy"), release).reviews
    assert releases.view(made.ports, made.by("bo"), release).reviews
    assert not releases.view(made.ports, made.by("tove"), release).reviews


def test_a_blocked_file_is_never_let_out(made: Broker) -> None:
    release = made.release(made.tunnel(), b"n\n3\n")
    with pytest.raises(RuleError) as refused:
        made.judge(release, "bo")
    assert refused.value.rule == "blocked"


def test_a_file_that_changed_on_the_disk_is_not_delivered(made: Broker) -> None:
    release = made.release(made.tunnel(), b"n\n20\n")
    made.judge(release, "bo", "cy")
    releases.consolidate(made.ports, made.by("cy"), release, let_out=True)
    rebuilt = made.read(release).items[0].rebuilt
    path = next((made.state / "blobs").rglob(rebuilt))
    path.chmod(0o600)
    path.write_bytes(b"N\n21\n")
    with pytest.raises(IntegrityError):
        releases.deliver(made.ports, release)
    assert made.read(release).state is State.APPROVED


def test_a_verdict_on_other_bytes_is_stale(made: Broker) -> None:
    release = made.release(made.tunnel(), b"n\n20\n")
    item = made.read(release).items[0]
    with pytest.raises(RefusalError) as refused:
        releases.judge(made.ports, made.by("bo"), release, (Mark(item.output, "0" * 64, Say.APPROVE),))
    assert refused.value.code == "stale"


def test_a_submission_that_arrives_twice_is_one_release(made: Broker) -> None:
    tunnel = made.tunnel()

    def arrive(data: bytes) -> str:
        frozen = outputs.freeze(made.ports, tunnel, "s1", "t.csv", data, {})
        return releases.submit(made.ports, tunnel, "A table", "", (frozen.id,), key="s1").id

    assert arrive(b"n\n20\n") == arrive(b"n\n20\n")
    assert len(made.ports.store.find("rel")) == len(made.ports.store.find("out")) == 1
    with pytest.raises(RuleError) as refused:
        arrive(b"n\n21\n")
    assert refused.value.rule == "changed-file"


def test_outputs_of_another_tunnel_cannot_be_submitted(made: Broker) -> None:
    permit = made.permit()
    hers, his = made.tunnel(permit), made.tunnel(permit, who="aki")
    frozen = outputs.freeze(made.ports, hers, "s", "t.csv", b"n\n20\n", {})
    with pytest.raises(RefusalError):
        releases.submit(made.ports, his, "A table", "", (frozen.id,))
    assert releases.submit(made.ports, hers, "A table", "", (frozen.id,)).state is State.SUBMITTED


# --- tickets ----------------------------------------------------------------------------------------------------------


def test_a_ticket_opens_one_tunnel_once_in_one_browser_for_half_a_minute(made: Broker) -> None:
    permit = made.permit()
    tunnel, other = made.tunnel(permit), made.tunnel(permit, who="aki")
    nonce = "a" * 64

    def fresh() -> str:
        return tunnels.enter(made.ports, made.by("ada"), tunnel, nonce)

    assert tunnels.redeem(made.ports, fresh(), nonce, tunnel).id == tunnel
    used = fresh()
    tunnels.redeem(made.ports, used, nonce, tunnel)
    late = fresh()
    for ticket, browser, where in [(used, nonce, tunnel), (fresh(), "b" * 64, tunnel), (fresh(), nonce, other), ("x" * 43, nonce, tunnel)]:
        with pytest.raises(RefusalError):
            tunnels.redeem(made.ports, ticket, browser, where)
    made.clock.at += timedelta(seconds=31)
    with pytest.raises(RefusalError):
        tunnels.redeem(made.ports, late, nonce, tunnel)


def test_only_the_tunnels_person_gets_a_ticket(made: Broker) -> None:
    tunnel = made.tunnel()
    for who in ("aki", "eve", "bo", "tove", "olli"):
        with pytest.raises(RefusalError):
            tunnels.enter(made.ports, made.by(who), tunnel, "a" * 64)
    assert made.refusals(tunnel)


def test_signing_out_ends_the_sessions_inside_and_leaves_the_tunnel(made: Broker) -> None:
    permit = made.permit()
    hers, his = made.tunnel(permit), made.tunnel(permit, who="aki")
    ticket = tunnels.enter(made.ports, made.by("ada"), hers, "a" * 64)
    epochs = made.read(hers).epoch, made.read(his).epoch
    tunnels.leave(made.ports, made.ids["ada"], made.by("ada"))
    assert (made.read(hers).epoch, made.read(his).epoch) == (epochs[0] + 1, epochs[1])
    assert made.read(hers).state == "open"
    with pytest.raises(RefusalError):
        tunnels.redeem(made.ports, ticket, "a" * 64, hers)
    again = tunnels.enter(made.ports, made.by("ada"), hers, "a" * 64)
    assert tunnels.redeem(made.ports, again, "a" * 64, hers).id == hers


def test_an_old_sign_in_does_not_enter(made: Broker) -> None:
    tunnel = made.tunnel(minutes=480)
    ada = made.by("ada")
    with pytest.raises(DeniedError):
        tunnels.enter(made.ports, replace(ada, signed_in=ada.signed_in - timedelta(hours=13)), tunnel, "a" * 64)  # type: ignore[operator]
