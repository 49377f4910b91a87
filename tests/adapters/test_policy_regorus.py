"""The embedded policy keeps the contract, and one that does not compile is found at start."""

from __future__ import annotations

import pytest

from broker.adapters.policy_regorus import RegorusPolicy
from sulku import policies
from sulku.errors import PolicyUnavailableError
from sulku.ports import Policy
from tests.adapters.policy_contract import Contract, ask
from tests.policies import cases


class TestRegorus(Contract):
    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Policy:
        return RegorusPolicy(cases.bundle())

    def test_it_says_what_it_is(self, policy: Policy) -> None:
        assert policy.ask(ask("tunnel.close")).basis.engine.startswith("regorus 0.")


def _with_main(text: str) -> policies.Bundle:
    return policies.bundle({**cases.bundle().files, "main.rego": text})


def test_rules_that_do_not_compile_are_found_at_start() -> None:
    with pytest.raises(PolicyUnavailableError):
        RegorusPolicy(_with_main("package sulku\n\ndecision if"))


def test_an_undefined_answer_is_recorded_as_a_refusal() -> None:
    silent = _with_main('package sulku\n\ndecision := {"allow": true, "reasons": [], "obligations": {}} if input.nothing\n')
    query = ask("tunnel.close")
    with pytest.raises(PolicyUnavailableError) as caught:
        RegorusPolicy(silent).ask(query)
    refusal = caught.value.refusal
    assert (refusal.target, refusal.codes) == (query.target, ("policy-unavailable",))
    assert refusal.basis.policy == silent.sha256
    assert refusal.basis.answered == ""
