"""What every policy adapter promises; both are held to it by the same tests."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.flows.act import Intent
from sulku import policies
from sulku.clearance import LIFETIME, Clearance, Query
from sulku.decisions import policy_input
from sulku.errors import DeniedError
from sulku.ledger.canonical import canonical
from sulku.ports import Policy
from tests.policies import cases

BASES = sorted(cases.specifications())


def ask(action: str, **other: Any) -> Query:
    return replace(cases.question(action, cases.specifications()[action]), **other)


def _holed(query: Query, identifier: str, **fields: Any) -> dict[str, Any]:
    return {**query.facts, identifier: {**query.facts[identifier], **fields}}


class Contract:
    """Subclasses give ``policy``."""

    @pytest.mark.parametrize("action", BASES)
    def test_a_yes_is_bound_to_what_was_asked(self, policy: Policy, action: str) -> None:
        query = ask(action)
        clearance = policy.ask(query)
        intent = Intent(query.by, action, query.target, query.command, query.about)
        assert (clearance.by, clearance.action, clearance.target) == (query.by, action, query.target)
        assert clearance.digest == intent.digest
        assert clearance.seen == {(fact["id"], fact["version"]) for fact in query.facts.values()}
        assert {identifier for identifier, _ in clearance.seen} == set(intent.sees)
        assert clearance.expires == query.at + LIFETIME
        assert clearance.obligations == cases.specifications()[action]["gives"]

    def test_a_yes_names_its_grounds_and_they_replay(self, policy: Policy) -> None:
        query = ask("tunnel.open")
        basis = policy.ask(query).basis
        assert basis.decision.startswith("dec_")
        assert basis.policy == cases.bundle().sha256
        assert basis.asked == canonical(policy_input(query)).decode()
        assert basis.input == hashlib.sha256(basis.asked.encode()).hexdigest()
        assert policies.replay(cases.bundle().data, basis.asked) == basis.answered

    def test_a_no_names_its_grounds_too(self, policy: Policy) -> None:
        query = ask("tunnel.open", by=cases.actor("ann"), at=cases.NOW + timedelta(hours=12))
        with pytest.raises(DeniedError) as caught:
            policy.ask(query)
        assert caught.value.reasons == ("sign-in-stale",)
        refusal = caught.value.refusal
        assert (refusal.by, refusal.action, refusal.target, refusal.codes) == (query.by, query.action, query.target, ("sign-in-stale",))
        assert refusal.basis.decision == caught.value.decision
        assert policies.replay(cases.bundle().data, refusal.basis.asked) == refusal.basis.answered

    def test_two_decisions_have_two_names(self, policy: Policy) -> None:
        assert policy.ask(ask("tunnel.close")).basis.decision != policy.ask(ask("tunnel.close")).basis.decision

    @pytest.mark.parametrize(
        "hole", ["missing", "null", "type", "unknown", "version", "id", "unseen", "unnamed", "command", "part", "float", "action"]
    )
    def test_a_malformed_question_is_a_no(self, policy: Policy, hole: str) -> None:
        query = ask("tunnel.open")
        permit = query.about["permit"]
        fact = query.facts[permit]
        broken = {
            "missing": {"facts": {**query.facts, permit: {name: value for name, value in fact.items() if name != "reason"}}},
            "null": {"facts": _holed(query, permit, state=None)},
            "type": {"facts": _holed(query, permit, document={**fact["document"], "people": "everybody"})},
            "unknown": {"facts": _holed(query, permit, blessed=True)},
            "version": {"facts": _holed(query, permit, version=-1)},
            "id": {"facts": _holed(query, permit, id="per_00000000000000zz")},
            "unseen": {"facts": {identifier: one for identifier, one in query.facts.items() if identifier != permit}},
            "unnamed": {"facts": {**query.facts, "per_00000000000000zz": {**fact, "id": "per_00000000000000zz"}}},
            "command": {"command": ["minutes", 60]},
            "part": {"about": {**query.about, "permit.0": permit}},
            "float": {"command": {"permit": permit, "minutes": 60.5}},
            "action": {"action": "tunnel.open; data"},
        }[hole]
        with pytest.raises(DeniedError) as caught:
            policy.ask(replace(query, **broken))
        assert caught.value.reasons == caught.value.refusal.codes == ("malformed-input",)
        assert caught.value.refusal.basis is None
        assert caught.value.refusal.detail

    def test_any_thread_may_ask(self, policy: Policy) -> None:
        given: list[Clearance] = []
        threads = [threading.Thread(target=lambda: given.append(policy.ask(ask("tunnel.close")))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(given) == len(threads)
