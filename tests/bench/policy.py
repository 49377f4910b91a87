"""A policy decision in process, against a real OPA server that is asked the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from broker.adapters.policy_opa import OpaPolicy
from broker.adapters.policy_regorus import RegorusPolicy
from sulku.clearance import Query
from sulku.errors import DeniedError
from sulku.ports import Policy
from tests.bench.figures import Row, Samples, written
from tests.policies import cases
from tests.servers import opa

INPUTS = 500
ROUNDS = 3
GOAL, SHARE = 0.0003, 0.25  # seconds; of OPA's time


def run() -> Iterator[Row]:
    """Put the same questions to both in turn, ``ROUNDS`` times each; a decision begins with a query and ends with its proof."""
    asked = questions()
    with opa.serving() as url:
        ours, theirs = RegorusPolicy(cases.bundle()), OpaPolicy(url, cases.bundle(), timeout=30)
        theirs.publish()
        yeses = [(_ask(ours, one)[1], _ask(theirs, one)[1]) for one in asked]  # warms both
        assert all(mine == other for mine, other in yeses), "the engines disagree"
        mine, other = [], []
        for _ in range(ROUNDS):
            for one in asked:
                mine.append(_ask(ours, one)[0])
                other.append(_ask(theirs, one)[0])
        theirs.close()
    left, right = Samples(tuple(mine)), Samples(tuple(other))
    for share, goal, most in ((0.5, f"≤ {written(GOAL, 's')}, ≤ {SHARE}×", GOAL), (0.99, "", 0.0)):
        ratio = left.at(share) / right.at(share)
        met = (left.at(share) <= most and ratio <= SHARE) if goal else None
        shown = written(left.at(share), "s"), written(right.at(share), "s")
        yield Row(f"policy decision, p{share * 100:.0f} / OPA server", *shown, f"{ratio:.2f}×", goal, met)
    allowed = sum(mine for mine, _ in yeses)
    yield Row("   questions", f"{len(asked)}, {allowed} with a yes, each {ROUNDS} times")


def questions() -> list[Query]:
    """Return ``INPUTS`` different questions: those of the cases that flows could put, at different times of day."""
    whole = [one.query for one in cases.every() if not one.changed]
    return [replace(whole[n % len(whole)], at=whole[n % len(whole)].at + timedelta(milliseconds=n)) for n in range(INPUTS)]


def _ask(policy: Policy, query: Query) -> tuple[float, bool]:
    began = time.perf_counter()
    try:
        policy.ask(query)
    except DeniedError:
        return time.perf_counter() - began, False
    return time.perf_counter() - began, True
