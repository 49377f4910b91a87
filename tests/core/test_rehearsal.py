"""What the doctor attacks is a tunnel: the same objects, changed only where somebody would work in it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sulku.manifests import POD, PROBE, PROVE, TUNNEL, WORKSPACE, manifests
from sulku.plan import MIB, Limits
from sulku.rehearsal import DOCTOR, KEPT, SECONDS, Rehearsal
from tests.core.test_manifests import PLACE, PLAN

DOCTORS = Rehearsal("tun_7zk3m9qp2v4x6abc", PLACE, "print()", PLAN.deadline, {"x86_64": b"filter"})
SAMPLED = replace(DOCTORS, sample={"name": "flchain", "dataset": "dst_x", "version": "1"})


def pod(plan: Rehearsal = DOCTORS) -> dict[str, Any]:
    return dict(plan.tunnel_objects({})[-1])


def real() -> list[dict[str, Any]]:
    plan = replace(PLAN, datasets=(), limits=Limits(memory=512 * MIB, home=16 * MIB))
    return list(manifests(plan, PLACE, seconds=SECONDS, probe_key="k", filters={"x86_64": b"filter"}, sources={}))


def comparable(one: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what differs on purpose."""
    copy = json.loads(json.dumps(one))
    copy["metadata"].get("labels", {}).pop(DOCTOR, None)
    copy["metadata"].pop("annotations", None)
    copy.pop("data", None)  # of the secret
    if copy["kind"] == "Pod":
        copy["spec"]["volumes"] = [each for each in copy["spec"]["volumes"] if each["name"] not in {"home", "probe"}]
        for each in (*copy["spec"]["initContainers"], *copy["spec"]["containers"]):
            each.pop("command")
            each.pop("env", None)
            each["volumeMounts"] = [mount for mount in each["volumeMounts"] if mount["name"] != "probe"]
    return dict(copy)


def test_but_for_the_home_and_the_programs_it_is_what_a_worker_makes() -> None:
    ours = {(one["kind"], one["metadata"]["name"]): comparable(one) for one in DOCTORS.tunnel_objects({})}
    theirs = {(one["kind"], one["metadata"]["name"]): comparable(one) for one in real() if not one["metadata"]["name"].endswith("home")}
    assert ours == theirs


def test_everything_that_it_makes_can_be_found_again() -> None:
    made = [*SAMPLED.tunnel_objects({}), *DOCTORS.quotas(), DOCTORS.namespace("x"), DOCTORS.bystander("x", {})]
    assert {one["metadata"]["labels"][DOCTOR] for one in made} == {DOCTORS.run}


def test_a_killed_doctor_leaves_no_pod_that_runs_for_ever() -> None:
    for one in (pod(), DOCTORS.bystander("x", {})):
        assert one["spec"]["activeDeadlineSeconds"] <= SECONDS


def test_no_service_sends_anybody_to_a_bystander_whatever_its_labels() -> None:
    one = DOCTORS.bystander("x", {}, space="sulku", labels={"app": "gateway", DOCTOR: "other"})
    assert one["spec"]["readinessGates"]
    assert one["metadata"]["labels"] == {"app": "gateway", DOCTOR: DOCTORS.run}


def test_the_kept_volume_is_written_by_the_first_container_and_read_only_in_the_others() -> None:
    spec = pod()["spec"]
    mounts = {one["name"]: one["volumeMounts"][-1] for one in (*spec["initContainers"], *spec["containers"])}
    assert {name: (mount["mountPath"], mount["readOnly"]) for name, mount in mounts.items()} == {
        PROVE: (KEPT, False), PROBE: (KEPT, True), WORKSPACE: (KEPT, True),
    }  # fmt: skip


def test_no_home_of_anybody_is_touched() -> None:
    made = DOCTORS.tunnel_objects({})
    assert not [one for one in made if one["kind"] in {"PersistentVolume", "PersistentVolumeClaim"}]
    assert [sorted(volume) for volume in pod()["spec"]["volumes"] if volume["name"] == "home"] == [["emptyDir", "name"]]


def test_a_dataset_that_is_named_comes_by_the_operators_own_source() -> None:
    [volume] = [one for one in SAMPLED.tunnel_objects({}) if one["kind"] == "PersistentVolume"]
    assert volume["spec"]["csi"]["volumeHandle"] == "dst_x-1"
    assert volume["metadata"]["labels"][TUNNEL] == DOCTORS.inside


def test_the_quotas_alone_guard_the_namespace_for_quotas() -> None:
    assert {one["metadata"]["namespace"] for one in DOCTORS.quotas()} == {DOCTORS.bounded}
    assert TUNNEL not in DOCTORS.namespace(DOCTORS.bounded)["metadata"]["labels"]


@pytest.mark.parametrize("changes", [{"hostNetwork": True}, {"runtimeClassName": None}, {"container": {"privileged": True}}])
def test_an_attack_differs_in_what_it_changes_and_spoils_nothing_else(changes: dict[str, Any]) -> None:
    before = pod()
    assert DOCTORS.attack(**changes) != before
    assert pod() == before
    assert DOCTORS.attack() == before
    assert before["metadata"]["name"] == POD
