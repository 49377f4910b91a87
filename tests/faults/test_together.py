"""What several do at the same moment is done as if one came after the other."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from broker.flows import applications, releases, tunnels
from sulku.applications import Verdict
from sulku.errors import RefusalError
from sulku.releases import State
from tests.faults.world import Broker


def together(*acts: Callable[[], object]) -> list[object]:
    """Do all of it at once, each in a thread of its own, and return what each gave or was refused with."""
    gate, found = threading.Barrier(len(acts)), dict[int, object]()

    def one(n: int) -> None:
        gate.wait()
        try:
            found[n] = acts[n]()
        except RefusalError as error:
            found[n] = error

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[n] for n in range(len(acts))]


def test_one_request_sent_eight_times_has_one_effect_and_one_answer(made: Broker) -> None:
    permit, ada = made.permit(), made.by("ada")

    def ask() -> frozenset[str]:
        while True:  # whoever lost the race reads again and sends the same: the key makes that harmless
            try:
                return frozenset(tunnels.open_(made.ports, ada, permit, 60, key="k").facts)
            except RefusalError as error:
                assert error.code == "stale"

    answers = together(*[ask] * 8)
    assert len(set(answers)) == 1
    assert len(made.ports.store.find("tun")) == 1
    assert not made.refusals()
    made.work()
    assert Counter(made.world.asked)["hub.start"] == 1
    made.ports.archive.verify()


def test_two_stewards_who_approve_at_once_give_one_permit(made: Broker) -> None:
    application = made.submitted()

    def approve(who: str) -> Callable[[], object]:
        return lambda: applications.judge(made.ports, made.by(who), application, Verdict.APPROVE)

    first = together(approve("bo"), approve("cy"))
    for who, answer in zip(("bo", "cy"), first, strict=True):
        if isinstance(answer, RefusalError):
            assert answer.code == "stale"
            approve(who)()
    assert len(made.read(application).judgements) == 2
    assert made.read(application).state == "approved"
    assert len(made.ports.store.find("per")) == 1


def test_two_reviewers_at_once_are_two_verdicts_and_two_consolidations_one_release(made: Broker) -> None:
    release = made.release(made.tunnel(), b"n\n20\n")
    for who, answer in zip(("bo", "cy"), together(lambda: made.judge(release, "bo"), lambda: made.judge(release, "cy")), strict=True):
        if isinstance(answer, RefusalError):
            assert answer.code == "stale"
            made.judge(release, who)
    assert {one.by for one in made.read(release).reviews} == {made.ids["bo"], made.ids["cy"]}

    def let_out(who: str) -> Callable[[], object]:
        return lambda: releases.consolidate(made.ports, made.by(who), release, let_out=True)

    answers = together(let_out("bo"), let_out("cy"))
    assert sum(isinstance(one, RefusalError) for one in answers) == 1
    made.work()
    assert made.read(release).state is State.RELEASED
    assert Counter(entry["type"] for entry in made.ledger(record=release))["release.delivered"] == 1


def test_two_clocks_that_see_the_same_deadline_record_one_end(made: Broker) -> None:
    tunnel = made.tunnel()
    made.clock.at = made.read(tunnel).deadline
    together(*[lambda: tunnels.sweep(made.ports)] * 4, lambda: tunnels.close(made.ports, made.by("ada"), tunnel))
    made.work()
    types = Counter(entry["type"] for entry in made.ledger(record=tunnel))
    assert (types["tunnel.closing"], types["tunnel.ended"]) == (1, 1)
    assert not made.world.alive
