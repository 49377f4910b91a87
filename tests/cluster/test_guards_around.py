"""What is around a tunnel's pod: its namespace, what may be written there and by whom, its volumes, and where the worker's rights end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sulku.manifests import Manifest
from tests.cluster.bench import HOME as BENCH
from tests.cluster.guarding import HOME, LABEL, Guarded, changed, path_of, there
from tests.soon import soon

SPACE = there("t-0123456789abcdef")
NAMED = {"name": "x"}
_TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}], "restartPolicy": "Always"}}
_SELECTED = {"selector": {"matchLabels": {"app": "x"}}, "template": _TEMPLATE}
_ONCE = {"template": changed({"template": _TEMPLATE}, lambda one: one["template"]["spec"].update(restartPolicy="Never"))["template"]}
_ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
_SUBJECT = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "x"}


def thing(version: str, kind: str, **about: Any) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": dict(NAMED), **about}


NEVER = [
    thing("v1", "Service", spec={"ports": [{"port": 80}]}),
    thing("v1", "Endpoints"),
    thing("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[]),
    thing("networking.k8s.io/v1", "Ingress", spec={"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}),
    thing("batch/v1", "Job", spec=_ONCE),
    thing("batch/v1", "CronJob", spec={"schedule": "0 0 * * *", "jobTemplate": {"spec": _ONCE}}),
    thing("apps/v1", "Deployment", spec=_SELECTED),
    thing("apps/v1", "StatefulSet", spec=_SELECTED | {"serviceName": "x"}),
    thing("apps/v1", "DaemonSet", spec=_SELECTED),
    thing("apps/v1", "ReplicaSet", spec=_SELECTED),
    thing("v1", "ReplicationController", spec={"selector": {"app": "x"}, "template": _TEMPLATE}),
    thing("v1", "PodTemplate", template=_TEMPLATE),
    thing("v1", "ServiceAccount"),
    thing("v1", "ConfigMap"),
    thing("v1", "Event", involvedObject={"namespace": "any"}),
    thing("rbac.authorization.k8s.io/v1", "Role", rules=[]),
    thing("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef=_ROLE, subjects=[_SUBJECT]),
    thing("coordination.k8s.io/v1", "Lease"),
    thing("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1}),
]
THE_WORKERS = ["Secret", "PersistentVolumeClaim", "ResourceQuota", "LimitRange", "NetworkPolicy"]


@pytest.fixture
def made(guarded: Guarded) -> dict[str, Manifest]:
    """Give what the worker would make, by kind; what is made several times, once."""
    return {one["kind"]: one for one in guarded.objects(guarded.plan())}


# --- what is in its namespace -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", NEVER, ids=lambda one: str(one["kind"]))
def test_nobody_puts_anything_else_into_a_tunnel(guarded: Guarded, what: Manifest) -> None:
    for person in (guarded.admin, guarded.mighty):
        body = changed(what, lambda one: one.get("involvedObject", {}).update(namespace=guarded.bare))
        assert person.refused("POST", path_of(what, guarded.bare), body)[0] == "writers"
    for name in ("hub", "gateway", "broker", "nobody", "worker"):
        assert guarded.accounts[name].refused("POST", path_of(what, guarded.bare), what)[0] == "rights"


@pytest.mark.parametrize("what", NEVER, ids=lambda one: str(one["kind"]))
def test_elsewhere_all_of_it_may_be_made(guarded: Guarded, what: Manifest) -> None:
    body = changed(what, lambda one: one.get("involvedObject", {}).update(namespace=HOME))
    guarded.admin.does("POST", path_of(what, HOME), body)


@pytest.mark.parametrize("kind", THE_WORKERS)
def test_only_the_worker_makes_what_a_tunnel_needs(guarded: Guarded, made: dict[str, Manifest], kind: str) -> None:
    one = changed(made[kind], lambda one: one["metadata"].update(namespace=guarded.bare))
    if kind == "PersistentVolumeClaim":
        one["spec"]["volumeName"] = f"{guarded.bare}-home"
    path = path_of(one, guarded.bare)
    guarded.accounts["worker"].does("POST", path, one)
    assert guarded.admin.refused("POST", path, one)[0] == "writers"
    assert guarded.accounts["editor"].refused("POST", path, one)[0] in {"writers", "rights"}
    for name in ("hub", "gateway", "broker", "nobody"):
        assert guarded.accounts[name].refused("POST", path, one)[0] == "rights"


@pytest.mark.parametrize("kind", THE_WORKERS)
def test_nobody_changes_it_and_only_the_worker_removes_its_claims(guarded: Guarded, made: dict[str, Manifest], kind: str) -> None:
    path = f"{path_of(made[kind], guarded.space(guarded.running))}/{made[kind]['metadata']['name']}"
    change = {"metadata": {"labels": {"app": "other"}}}
    for person in (guarded.admin, guarded.mighty):
        assert person.refused("PATCH", path, change)[0] in {"writers", "claims"}
    assert guarded.admin.refused("DELETE", path)[0] == "writers"
    assert guarded.admin.refused("DELETE", path.rpartition("/")[0])[0] == "writers"
    if kind == "PersistentVolumeClaim":
        guarded.accounts["worker"].does("DELETE", path)
    else:
        assert guarded.mighty.refused("DELETE", path)[0] == "writers"


def test_nobody_says_that_a_quota_is_not_used(guarded: Guarded) -> None:
    path = f"/api/v1/namespaces/{guarded.space(guarded.running)}/resourcequotas/one/status"
    for person in (guarded.admin, guarded.mighty):
        assert person.refused("PATCH", path, {"status": {"used": {"pods": "0"}}})[0] == "writers"


def test_kubernetes_own_controllers_do_their_work_there(guarded: Guarded) -> None:
    space = guarded.space(guarded.running)
    assert guarded.cluster.get("serviceaccount", "default", "-n", space)
    assert guarded.cluster.get("configmap", "kube-root-ca.crt", "-n", space)
    assert soon(lambda: guarded.cluster.get("resourcequota", "one", "-n", space)["status"]["used"]["pods"] == "1")
    assert {one["status"]["phase"] for one in guarded.cluster.get("pvc", "-n", space)["items"]} == {"Bound"}
    assert soon(lambda: guarded.cluster.get("events", "-n", space)["items"])


OPEN: dict[str, Callable[[Any], None]] = {
    "a way out": lambda spec: spec.update(egress=[{}]),
    "a way out to names": lambda spec: spec.update(egress=[{"ports": [{"port": 53, "protocol": "UDP"}]}]),
    "silence about ways out": lambda spec: spec.update(policyTypes=["Ingress"]),
    "some pods only": lambda spec: spec.update(podSelector={"matchLabels": {"app": "x"}}),
    "everybody in": lambda spec: spec.update(ingress=[{}]),
    "an address in": lambda spec: spec["ingress"][0].update({"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
    "another namespace in": lambda spec: spec["ingress"][0]["from"][0]["namespaceSelector"].update(matchLabels={"kubernetes.io/metadata.name": "default"}),
    "every namespace in": lambda spec: spec["ingress"][0]["from"][0].update(namespaceSelector={}),
    "another pod in": lambda spec: spec["ingress"][0]["from"][0].update(podSelector={"matchLabels": {"app.kubernetes.io/component": "hub"}}),
    "every pod of ours in": lambda spec: spec["ingress"][0]["from"][0].pop("podSelector"),
    "somebody beside the gateway": lambda spec: spec["ingress"][0]["from"].append({"podSelector": {}}),
    "every port": lambda spec: spec["ingress"][0].pop("ports"),
    "many ports": lambda spec: spec["ingress"][0]["ports"][0].update(port=8888, endPort=9999),
    "another port": lambda spec: spec["ingress"][0]["ports"][0].update(port=22),
}


@pytest.mark.parametrize("what", OPEN)
def test_a_network_policy_that_opens_more_than_the_gateways_way_is_refused(guarded: Guarded, made: dict[str, Manifest], what: str) -> None:
    one = changed(made["NetworkPolicy"], lambda one: one["metadata"].update(namespace=guarded.bare), lambda one: OPEN[what](one["spec"]))
    assert guarded.accounts["worker"].refused("POST", path_of(one, guarded.bare), one)[0] == "networks"


@pytest.mark.parametrize("change", [{"storageClassName": "fast"}, {"storageClassName": None}, {"volumeName": "other"}, {"volumeName": None}], ids=json.dumps)
def test_a_claim_takes_the_volume_that_was_made_for_it(guarded: Guarded, made: dict[str, Manifest], change: dict[str, Any]) -> None:
    one = changed(made["PersistentVolumeClaim"], lambda one: one["metadata"].update(namespace=guarded.bare), lambda one: one["spec"].update(change))
    assert guarded.accounts["worker"].refused("POST", path_of(one, guarded.bare), one)[0] == "claims"


# --- the namespace itself ---------------------------------------------------------------------------------------------

SPACES = "/api/v1/namespaces"
WRONG: dict[str, Callable[[Any], None]] = {
    "no label": lambda about: about["labels"].pop(LABEL),
    "an empty label": lambda about: about["labels"].update({LABEL: ""}),
    "the label of another": lambda about: about["labels"].update({LABEL: SPACE}),
    "a name of its own": lambda about: about.update(name="elsewhere"),
    "a generated name": lambda about: about.update(name=None, generateName="g-") or about["labels"].update({LABEL: ""}),
    "no restriction": lambda about: about["labels"].pop("pod-security.kubernetes.io/enforce"),
    "a weaker restriction": lambda about: about["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_namespace_is_a_tunnel_from_its_first_moment_or_never(guarded: Guarded, made: dict[str, Manifest], what: str) -> None:
    one = changed(made["Namespace"], lambda one: WRONG[what](one["metadata"]))
    guard, _ = guarded.accounts["worker"].refused("POST", SPACES, one)
    assert guard in {"namespaces", "worker"}


def test_only_the_worker_makes_one_or_a_namespace_that_is_called_like_one(guarded: Guarded, made: dict[str, Manifest]) -> None:
    """Who has the name first has the tunnel: the worker takes a namespace that is there already for its own."""
    one = made["Namespace"]
    guarded.accounts["worker"].does("POST", SPACES, one)
    without = changed(one, lambda one: one["metadata"].pop("labels"))
    for name in (one, without):
        assert guarded.admin.refused("POST", SPACES, name)[0] == "namespaces"
    assert guarded.accounts["editor"].refused("POST", SPACES, one)[0] == "rights"
    assert guarded.accounts["hub"].refused("POST", SPACES, one)[0] == "rights"


@pytest.mark.parametrize("value", ["", "yes", SPACE, HOME])
def test_no_namespace_becomes_a_tunnel_when_something_may_be_in_it(guarded: Guarded, value: str) -> None:
    change = {"metadata": {"labels": {LABEL: value}}}
    for person in (guarded.admin, guarded.mighty):
        for way in ("", "/status"):
            assert person.refused("PATCH", f"{SPACES}/{HOME}{way}", change)[0] in {"namespaces", "worker"}
    whole = changed(guarded.admin.does("GET", f"{SPACES}/{HOME}"), lambda one: one["metadata"]["labels"].update({LABEL: value}))
    assert guarded.admin.refused("PUT", f"{SPACES}/{HOME}/finalize", whole)[0] == "namespaces"


def test_other_namespaces_are_made_labelled_and_removed_as_ever(guarded: Guarded) -> None:
    one = thing("v1", "Namespace")
    guarded.admin.does("POST", SPACES, one)
    guarded.admin.does("PATCH", f"{SPACES}/{HOME}", {"metadata": {"labels": {"app": "x", "pod-security.kubernetes.io/enforce": "baseline"}}})
    guarded.admin.does("DELETE", f"{SPACES}/{HOME}")


TOUCHED = [
    {"metadata": {"labels": {LABEL: None}}},
    {"metadata": {"labels": {LABEL: ""}}},
    {"metadata": {"labels": {LABEL: SPACE}}},
    {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
    {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": None}}},
    {"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "v1.20"}}},
    {"metadata": {"labels": {"x": "y"}}},
    {"metadata": {"annotations": {"sulku.internal/deadline": "2099-01-01T00:00:00Z"}}},
]


@pytest.mark.parametrize("change", TOUCHED, ids=json.dumps)
def test_the_labels_of_a_tunnel_stay_by_every_way_to_change_them(guarded: Guarded, change: dict[str, Any]) -> None:
    path = f"{SPACES}/{guarded.space(guarded.running)}"
    for person in (guarded.admin, guarded.mighty):
        for way in ("", "/status"):
            assert person.refused("PATCH", path + way, change)[0] in {"namespaces", "worker"}


def test_a_tunnels_namespace_cannot_be_finalised_away(guarded: Guarded) -> None:
    path = f"{SPACES}/{guarded.space(guarded.running)}"
    whole = guarded.admin.does("GET", path)
    for change in (lambda one: one["spec"].update(finalizers=[]), lambda one: one["metadata"]["labels"].pop(LABEL)):
        assert guarded.admin.refused("PUT", f"{path}/finalize", changed(whole, change))[0] == "namespaces"


def test_only_the_worker_removes_a_tunnel(guarded: Guarded) -> None:
    path = f"{SPACES}/{guarded.space(guarded.running)}"
    guarded.accounts["worker"].does("DELETE", path)
    assert guarded.admin.refused("DELETE", path)[0] == "namespaces"
    assert guarded.accounts["hub"].refused("DELETE", path)[0] == "rights"


# --- volumes ----------------------------------------------------------------------------------------------------------

VOLUMES = "/api/v1/persistentvolumes"


def source(**about: Any) -> Callable[[Any], None]:
    """Put another source in place of the volume's."""

    def change(one: Any) -> None:
        del one["spec"]["hostPath"]
        one["spec"] |= about

    return change


MISMADE: dict[str, Callable[[Any], None]] = {
    "no label": lambda one: one["metadata"].pop("labels"),
    "an empty label": lambda one: one["metadata"]["labels"].update({LABEL: ""}),
    "the label of another": lambda one: one["metadata"]["labels"].update({LABEL: SPACE}),
    "anybody's claim": lambda one: one["spec"].pop("claimRef"),
    "a claim elsewhere": lambda one: one["spec"]["claimRef"].update(namespace="default"),
    "a class": lambda one: one["spec"].update(storageClassName="fast"),
    "data that dies with it": lambda one: one["spec"].update(persistentVolumeReclaimPolicy="Delete"),
    "the node's root": lambda one: one["spec"].update(hostPath={"path": "/"}),
    "another folder": lambda one: one["spec"].update(hostPath={"path": "/etc"}),
    "a folder beside": lambda one: one["spec"].update(hostPath={"path": one["spec"]["hostPath"]["path"].rpartition("/homes")[0] + "/homes-of-others"}),
    "another driver": source(csi={"driver": "other.example", "volumeHandle": "x"}),
    "another server": source(nfs={"server": "other.example", "path": "/"}),
    "a disk": source(local={"path": "/mnt"}, nodeAffinity={"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "Exists"}]}]}}),
}


@pytest.mark.parametrize("what", MISMADE)
def test_a_volume_that_is_not_of_the_tunnels_storage_or_not_of_one_tunnel_is_refused(guarded: Guarded, made: dict[str, Manifest], what: str) -> None:
    guard, _ = guarded.mighty.refused("POST", VOLUMES, changed(made["PersistentVolume"], MISMADE[what]))
    assert guard in {"volumes", "worker"}


@pytest.mark.parametrize("about", [{"csi": {"driver": "guards.example", "volumeHandle": "x"}}, {"nfs": {"server": "guards.example", "path": "/"}}], ids=json.dumps)
def test_the_operators_other_storage_may_be_used(guarded: Guarded, made: dict[str, Manifest], about: dict[str, Any]) -> None:
    guarded.accounts["worker"].does("POST", VOLUMES, changed(made["PersistentVolume"], source(**about)))


def test_the_tunnels_storage_is_the_workers_alone(guarded: Guarded, made: dict[str, Manifest]) -> None:
    one = made["PersistentVolume"]
    guarded.accounts["worker"].does("POST", VOLUMES, one)
    assert guarded.admin.refused("POST", VOLUMES, one)[0] == "volumes"
    unlabelled = changed(one, lambda one: one["metadata"].pop("labels"))
    assert guarded.admin.refused("POST", VOLUMES, unlabelled)[0] == "volumes"
    assert guarded.accounts["hub"].refused("POST", VOLUMES, one)[0] == "rights"
    guarded.admin.does("POST", VOLUMES, changed(unlabelled, lambda one: one["spec"].update(hostPath={"path": "/srv/elsewhere"})))


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {LABEL: None}}},
        {"metadata": {"labels": {LABEL: SPACE}}},
        {"spec": {"persistentVolumeReclaimPolicy": "Delete"}},
        {"spec": {"claimRef": None}},
        {"metadata": {"annotations": {"x": "y"}}},
    ],
    ids=json.dumps,
)
def test_a_tunnels_volume_stays_with_it(guarded: Guarded, change: dict[str, Any]) -> None:
    path = f"{VOLUMES}/{guarded.space(guarded.running)}-home"
    for way in (path, f"{path}/status"):
        assert guarded.admin.refused("PATCH", way, change)[0] == "volumes"
        assert guarded.mighty.refused("PATCH", way, change)[0] in {"volumes", "worker"}


def test_only_the_worker_removes_a_tunnels_volume(guarded: Guarded) -> None:
    path = f"{VOLUMES}/{guarded.space(guarded.running)}-home"
    guarded.accounts["worker"].does("DELETE", path)
    assert guarded.admin.refused("DELETE", path)[0] == "volumes"
    assert guarded.admin.refused("DELETE", VOLUMES, labelSelector=LABEL)[0] == "volumes"


# --- where the worker's rights end ------------------------------------------------------------------------------------


def test_the_worker_does_nothing_elsewhere_whatever_rights_it_has(guarded: Guarded, made: dict[str, Manifest]) -> None:
    """With a pod or a secret of another namespace it would be somebody else."""
    for space in ("default", "kube-system", HOME):
        for kind in ("Pod", *THE_WORKERS):
            one = changed(made[kind], lambda one, space=space: one["metadata"].update(namespace=space))
            for person in (guarded.mighty, guarded.accounts["worker"]):
                assert person.refused("POST", path_of(one, space), one)[0] == "worker"
    bind = thing("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", roleRef=_ROLE, subjects=[_SUBJECT])
    assert guarded.mighty.refused("POST", path_of(bind), bind)[0] == "worker"
    for person in (guarded.mighty, guarded.accounts["worker"]):
        assert person.refused("DELETE", f"{SPACES}/{HOME}")[0] == "worker"
    assert guarded.mighty.refused("DELETE", "/api/v1/nodes/n1")[0] == "worker"
    assert guarded.mighty.refused("POST", f"/api/v1/namespaces/{HOME}/pods/plain/exec", dry=False, command="id", stdout="1")[0] == "worker"


def test_it_reads_no_secret_and_no_pod_but_those_of_tunnels(guarded: Guarded) -> None:
    worker, space = guarded.accounts["worker"], guarded.space(guarded.running)
    listed = worker.does("GET", "/api/v1/pods", fieldSelector="metadata.name=workspace", labelSelector=LABEL)["items"]
    assert space in {one["metadata"]["namespace"] for one in listed}
    assert worker.refused("GET", "/api/v1/pods", fieldSelector="metadata.name=plain")[0] == "rights"
    secrets = (f"namespaces/{BENCH}/secrets/canary", "secrets", f"namespaces/{space}/secrets", f"namespaces/{space}/secrets/tunnel")
    for path in (*secrets, f"namespaces/{HOME}/pods/plain", "pods", f"namespaces/{space}/pods/workspace/log"):
        assert worker.refused("GET", f"/api/v1/{path}")[0] == "rights"


def test_in_its_own_namespace_it_writes_what_it_remembers_of_tunnels_and_nothing_else(guarded: Guarded) -> None:
    label = {"labels": {LABEL.replace("/tunnel", "/ended"): SPACE}}
    record = thing("v1", "ConfigMap", data={"record": "{}"})
    record["metadata"] |= label
    path, worker = f"/api/v1/namespaces/{HOME}/configmaps", guarded.accounts["worker"]
    worker.does("POST", path, record)
    for one in (thing("v1", "ConfigMap"), changed(record, lambda one: one["metadata"].pop("labels"))):
        assert worker.refused("POST", path, one)[0] == "worker"
    for change in ({"data": {"guards.yaml": ""}}, {"metadata": label}):
        assert worker.refused("PATCH", f"{path}/guards", change)[0] == "worker"


def test_it_forgets_what_is_in_the_ledger_and_nothing_else(guarded: Guarded) -> None:
    """What was not acknowledged, and what is none of its records, it cannot remove; what was, it can."""
    path, worker = f"/api/v1/namespaces/{HOME}/configmaps", guarded.accounts["worker"]
    fresh, known = (changed(thing("v1", "ConfigMap", data={"record": "{}"}), lambda one, name=name: one["metadata"].update(name=name)) for name in ("fresh", "known"))
    ended, acknowledged = LABEL.replace("/tunnel", "/ended"), LABEL.replace("/tunnel", "/acknowledged")
    for one, labels in ((fresh, {ended: "fresh"}), (known, {ended: "known", acknowledged: "yes"})):
        one["metadata"]["labels"] = labels
        guarded.admin.does("POST", path, one, dry=False)
    try:
        for name in ("guards", "fresh"):
            assert worker.refused("DELETE", f"{path}/{name}")[0] == "worker"
        worker.does("DELETE", f"{path}/known")
    finally:
        for name in ("fresh", "known"):
            guarded.admin.does("DELETE", f"{path}/{name}", dry=False)


@pytest.mark.parametrize("handler", ["runc", "runsc-debug"])
def test_the_runtime_class_of_tunnels_keeps_its_meaning(guarded: Guarded, handler: str) -> None:
    one = thing("node.k8s.io/v1", "RuntimeClass", handler=handler)
    guarded.admin.does("POST", path_of(one), one)
    called = changed(one, lambda one: one["metadata"].update(name="gvisor"))
    assert guarded.admin.refused("POST", path_of(one), called)[0] == "runtime"
