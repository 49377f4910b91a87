"""Every case of ``policies/cases`` gets its answer from every engine, and the cases leave no rule unspoken."""

from __future__ import annotations

import copy
import subprocess

import orjson
import pytest

from broker.adapters.policy import require_intact
from sulku import policies
from sulku.decisions import policy_input
from sulku.ledger.canonical import canonical
from sulku.people import Actor, Role, service
from tests.policies import cases
from tests.policies.conftest import Ask
from tests.servers import opa

ENGINES = ("compiled", "interpreted", "opa")
GATE = {"role-not-allowed", "role-not-held", "account-ended"}  # asked of everybody, for every action
OUTSIDE = {"malformed-input", "undecided", "unknown-action"}  # answers where no rule of an action is reached
PEOPLE = {"researcher": "ann", "steward": "sam", "auditor": "amy", "operator": "olga"}
BY_PEOPLE = [action for action, spec in sorted(cases.specifications().items()) if ":" not in spec["by"] and spec["by"] != "public"]
TABLE = cases.bundle().tables["roles"]["actions"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", cases.every(), ids=lambda case: case.name)
def test_each_case_gets_its_answer(case: cases.Case, engine: str, engines: dict[str, Ask]) -> None:
    expected = {"allow": not case.because, "reasons": list(case.because), "obligations": case.gives}
    assert engines[engine](case.document) == expected


@pytest.mark.parametrize("action", sorted(TABLE))
def test_only_those_named_may(action: str, engines: dict[str, Ask]) -> None:
    spec = cases.specifications()[action]
    for who in cases.ACTORS:
        by = cases.actor(PEOPLE.get(who, who))
        answer = engines["compiled"](policy_input(cases.question(action, spec, by)))
        assert answer is not None
        assert ("role-not-allowed" in answer["reasons"]) == (who not in spec["who"]), who


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("action", BY_PEOPLE)
def test_whoever_may_not_act_learns_nothing_more(action: str, engine: str, engines: dict[str, Ask]) -> None:
    query = cases.question(action, cases.specifications()[action])
    base = policy_input(query)

    def answer(path: str, value: object) -> object:
        document = copy.deepcopy(base)
        cases.put(document, path, value)
        if "self" in path and query.target == query.by.id:  # their own record is the target too
            cases.put(document, path.replace("about.self", "target"), value)
        return (engines[engine](document) or {}).get("reasons")

    assert answer("about.self.state", "left") == ["account-ended"]
    assert answer("about.self.expires", "2026-11-22T10:00:00.000Z") == ["account-ended"]
    assert answer("about.self.roles", []) == ["role-not-held"]
    assert answer("subject.role", "public") == ["role-not-allowed", "role-not-held"]
    assert answer("subject.role", "service") == ["role-not-allowed", "role-not-held"]
    assert answer("about.self.expires", "2026-11-22T10:00:00.001Z") == []
    if query.target != query.by.id:
        assert answer("about.self", "DELETE") == ["account-ended", "role-not-held"]
        assert answer("about.self.id", "usr_00000000000000zz") == ["account-ended", "role-not-held"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("action", ["tunnel.reopen", "", "person", "unless", "person.view.more", "sulku.decision", "ledger.delete"])
def test_what_no_policy_speaks_of_is_refused(action: str, engine: str, engines: dict[str, Ask]) -> None:
    document = policy_input(cases.question("person.view", cases.specifications()["person.view"]))
    assert engines[engine](document | {"action": action}) == {"allow": False, "reasons": ["unknown-action"], "obligations": {}}


@pytest.mark.parametrize(
    ("action", "by"),
    [
        ("tunnel.prove", Actor(cases.record("ann").id, Role.SERVICE)),
        ("tunnel.prove", service("worker ")),
        ("application.retract", Actor("service:worker", Role.STEWARD)),
        ("tunnel.prove", Actor("service:worker", Role.STEWARD)),
        ("application.retract", Actor("public", Role.STEWARD)),
        ("dataset.list", Actor("public", Role.STEWARD)),
        ("dataset.list", Actor("service:worker", Role.PUBLIC)),
    ],
)
def test_nobody_takes_a_role_of_another_kind(action: str, by: Actor, engines: dict[str, Ask]) -> None:
    answer = engines["compiled"](policy_input(cases.question(action, cases.specifications()[action], by)))
    assert answer is not None
    assert "role-not-allowed" in answer["reasons"]


@pytest.mark.parametrize("noun", sorted({action.partition(".")[0] for action in TABLE} - {"register", "notice"}))
def test_the_rules_of_a_noun_clear_nothing_for_another(noun: str) -> None:
    codes = "\n".join(f'cleared contains "{code}"' for code in cases.bundle().tables["reasons"])
    lax = policies.Evaluator(policies.bundle({**cases.bundle().files, f"{noun}.rego": f"package sulku.{noun}\n\n{codes}\n"}))
    for case in cases.every():
        reasons = orjson.loads(lax.answer(canonical(case.document).decode()))["reasons"]
        assert reasons == ([] if case.action.startswith(f"{noun}.") else list(case.because))


def test_every_action_has_a_case_and_every_reason_of_it_a_refusal() -> None:
    assert set(cases.specifications()) == set(TABLE)
    refused: dict[str, set[str]] = {}
    for case in cases.every():
        refused.setdefault(case.action, set()).update(case.because)
    for action, entry in TABLE.items():
        assert refused[action] == set(entry["unless"]), action
        assert set(cases.specifications()[action]["who"]) == set(entry["who"]), action


def test_every_reason_can_be_said_in_words() -> None:
    spoken = set(cases.bundle().tables["reasons"])
    assert spoken == {reason for entry in TABLE.values() for reason in entry["unless"]} | GATE | OUTSIDE


@pytest.mark.parametrize("action", sorted(TABLE))
def test_cases_ask_what_flows_could_ask(action: str) -> None:
    require_intact(cases.question(action, cases.specifications()[action]))


def test_the_real_compiler_finds_nothing_to_say() -> None:
    sources = [str(cases.ROOT / path) for path in cases.bundle().modules]
    subprocess.run([opa.binary(), "check", "--strict", "--v1-compatible", *sources], check=True, timeout=60)
    unformatted = subprocess.run([opa.binary(), "fmt", "--list", *sources], check=True, timeout=60, capture_output=True, text=True)
    assert not unformatted.stdout
