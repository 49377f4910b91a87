"""What of a guard matters, its digest, and how a departure is found; without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from sulku.guards import Departure, Look, compare, digest, essence, mark, touched, watched

POLICY: dict[str, Any] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "pods", "labels": {"app": "x"}},
    "spec": {"failurePolicy": "Fail", "validations": [{"expression": "a"}, {"expression": "b"}]},
}
NOTED = {
    **POLICY,
    "metadata": {"name": "pods", "uid": "u", "generation": 2, "resourceVersion": "7", "labels": {"team": "y"}, "managedFields": [{}]},
    "status": {"observedGeneration": 2},
}
OTHER = {**POLICY, "metadata": {"name": "other"}}
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker"}}


def spoilt(**spec: Any) -> dict[str, Any]:
    return {**NOTED, "spec": POLICY["spec"] | spec}


def test_what_the_server_notes_is_no_difference() -> None:
    assert essence(POLICY) == essence(NOTED)
    assert digest([POLICY]) == digest([NOTED])
    assert compare(POLICY, NOTED) is None


def test_the_digest_is_of_the_guards_whatever_their_order_and_of_nothing_else() -> None:
    assert digest([POLICY, OTHER]) == digest([OTHER, ACCOUNT, POLICY])
    assert digest([POLICY]) != digest([POLICY, OTHER])
    assert digest([POLICY]) != digest([spoilt(failurePolicy="Ignore")])
    assert watched([ACCOUNT]) == ()


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (spoilt(failurePolicy="Ignore"), "spec.failurePolicy"),
        (spoilt(failurePolicy=None), "spec.failurePolicy"),
        (spoilt(matchConditions=[]), "spec.matchConditions"),
        (spoilt(validations=[{"expression": "a"}]), "spec.validations"),
        (spoilt(validations=[{"expression": "a"}, {"expression": "true"}]), "spec.validations[1].expression"),
        ({**NOTED, "apiVersion": "admissionregistration.k8s.io/v1beta1"}, "apiVersion"),
        ({**NOTED, "extra": True}, "extra"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_difference_is_named_by_its_place(found: dict[str, Any], where: str) -> None:
    assert compare(POLICY, found) == Departure("ValidatingAdmissionPolicy", "pods", "changed", (where,))


def test_zero_is_not_false_and_nothing_is_not_empty() -> None:
    assert compare({**POLICY, "spec": {"x": 0}}, {**NOTED, "spec": {"x": False}}) is not None
    assert compare({**POLICY, "spec": {"x": {}}}, {**NOTED, "spec": {}}) is not None


def test_a_guard_that_is_gone_is_missing() -> None:
    assert compare(POLICY, None) == Departure("ValidatingAdmissionPolicy", "pods", "missing")


def test_a_role_that_hands_its_rules_to_another_has_changed() -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "worker"}, "rules": []}
    label = "rbac.authorization.k8s.io/aggregate-to-admin"
    found = compare(role, {**role, "metadata": {"name": "worker", "labels": {label: "true"}}})
    assert found == Departure("ClusterRole", "worker", "changed", (f"metadata.labels.{label}",))


def test_a_change_that_was_taken_back_leaves_a_mark() -> None:
    key = ("ValidatingAdmissionPolicy", "pods")
    before = Look((), {key: mark(NOTED)})
    again = {**NOTED, "metadata": NOTED["metadata"] | {"generation": 4}}
    anew = {**NOTED, "metadata": NOTED["metadata"] | {"uid": "v"}}
    for after in (again, anew):
        assert touched(before, Look((), {key: mark(after)})) == (Departure(*key, "touched"),)
    labelled = {**NOTED, "metadata": NOTED["metadata"] | {"resourceVersion": "8"}}
    assert touched(before, Look((), {key: mark(labelled)})) == ()


def test_a_guard_that_is_missing_is_not_also_touched() -> None:
    key = ("ValidatingAdmissionPolicy", "pods")
    assert touched(Look((), {key: mark(NOTED)}), Look((), {})) == ()
