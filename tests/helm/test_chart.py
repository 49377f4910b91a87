"""The chart without a cluster: it renders, it refuses wrong values with a sentence, and its guards and rights are what they should be."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from broker.adapters import kubernetes as adapter
from broker.adapters import kubernetes_endings
from sulku import guards, ids, manifests
from sulku.manifests import DOMAIN, KEY, POD, PROBE_PORT, TUNNEL, WORKSPACE_PORT, Manifest
from tests.cluster import programs
from tests.core.test_manifests import made

CHART: Final = Path(__file__).parents[2] / "helm" / "sulku"
SAMPLE: Final = CHART / "ci" / "values.yaml"
WRITES: Final = {"find": "get", "gone": "get", "every": "list", "make": "create", "merge": "patch", "remove": "delete"}


def helm(*words: str, given: dict[str, Any] | None = None) -> tuple[int, str, str]:
    """Return exit status, output and errors of helm; ``given`` are values on top of the sample."""
    command = [str(programs.program("helm")), words[0], *words[1:], "-f", str(SAMPLE), "-f", "-"]
    done = subprocess.run(command, input=json.dumps(given or {}), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def rendered(given: dict[str, Any] | None = None, *words: str) -> list[Manifest]:
    """Return the chart's objects."""
    status, out, errors = helm("template", "ours", str(CHART), "-n", "lock", "--kube-version", programs.KUBERNETES, *words, given=given)
    assert status == 0, errors
    return [one for one in yaml.safe_load_all(out) if one]


def refused(given: dict[str, Any] | None = None, kubernetes: str = programs.KUBERNETES) -> str:
    """Return what helm says of values, or of a cluster, for which it renders nothing."""
    status, _, errors = helm("template", "ours", str(CHART), "--kube-version", kubernetes, given=given)
    assert status != 0
    return errors


def of(kind: str, objects: list[Manifest] | None = None) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in objects or rendered() if one["kind"] == kind}


# --- rendering --------------------------------------------------------------------------------------------------------


def test_helm_finds_nothing_to_say() -> None:
    status, out, errors = helm("lint", str(CHART), "--strict")
    assert status == 0, out + errors
    assert "0 chart(s) failed" in out


def test_a_cluster_that_deletes_namespaces_in_any_order_is_refused() -> None:
    """Before 1.34 a network policy may go before the pod that it closes."""
    assert "kubeVersion" in refused(kubernetes="1.33.9")


def test_the_values_as_they_come_are_refused_until_somebody_names_an_image() -> None:
    done = subprocess.run([str(programs.program("helm")), "lint", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "name at least one image of a workspace in tunnels.images" in done.stdout + done.stderr


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no image": ({"images": []}, "name at least one image of a workspace"),
    "an image by tag": ({"images": ["registry.example/sulku-workspace:latest"]}, "a tag can come to mean another image"),
    "an image that is code": ({"images": ["x'] || true || c.image in ['y@sha256:" + "0" * 64]}, "an image by digest"),
    "isolation that is silently absent": ({"runtimeClass": {"name": ""}}, "no runtime class isolates the tunnels"),
    "a runtime class of unknown meaning": ({"runtimeClass": {"handler": ""}}, "name the handler of the runtime class"),
    "half an isolation": ({"weakIsolation": True}, "tunnels either have a runtime class or weak isolation"),
    "a runtime class that is code": ({"runtimeClass": {"name": "x' || 'y"}}, "does not match pattern"),
    "a deadline of seconds": ({"longest": 10}, "from a minute (60) to a day (86400)"),
    "a deadline of years": ({"longest": 99999999}, "from a minute (60) to a day (86400)"),
    "a deadline in words": ({"longest": "8h"}, "want integer"),
    "the node's root": ({"volumes": {"hostPath": ["/"]}}, "a folder of the nodes, at least two levels down"),
    "the way up": ({"volumes": {"hostPath": ["/srv/../etc"]}}, "a folder of the nodes"),
    "a folder's end": ({"volumes": {"hostPath": ["/srv/data/"]}}, "a folder of the nodes"),
    "every driver": ({"volumes": {"csi": ["*"]}}, "the exact name of a driver"),
    "a group that marks volumes": ({"volumes": {"attachers": ["system:masters"]}}, "one account"),
    "a value that is spelt wrongly": ({"imgaes": []}, "additional properties 'imgaes' not allowed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_value_is_refused_with_a_sentence(what: str) -> None:
    given, sentence = REFUSED[what]
    assert sentence in refused({"tunnels": given})


@pytest.mark.parametrize("resource", ["pods/exec", "pods", "secrets", "*", "networking.k8s.io/networkpolicies", "rbac.authorization.k8s.io/roles", "batch/jobs", "*.example/*"])
def test_no_network_plug_in_is_given_what_the_guards_keep(resource: str) -> None:
    user = "system:serviceaccount:kube-system:cilium"
    said = refused({"guards": {"network": [{"user": user, "resources": [resource]}]}})
    assert "nothing of Kubernetes itself, which the guards keep" in said


def test_a_network_plug_in_is_given_what_is_its_own() -> None:
    given = {"guards": {"network": [{"user": "system:serviceaccount:kube-system:cilium", "resources": ["cilium.io/ciliumendpoints"]}]}}
    writers = of("ValidatingAdmissionPolicy", rendered(given))[f"writers.tunnels.{DOMAIN}"]
    [network] = [one["expression"] for one in writers["spec"]["variables"] if one["name"] == "network"]
    assert network.strip() == "(variables.who == 'system:serviceaccount:kube-system:cilium' && variables.what in ['cilium.io/ciliumendpoints'])"
    assert writers["spec"]["validations"][0]["expression"].endswith("|| variables.network")
    assert "network" not in of("ValidatingAdmissionPolicy")[f"writers.tunnels.{DOMAIN}"]["spec"]["validations"][0]["expression"]


def test_weak_isolation_that_is_meant_is_said_aloud() -> None:
    weak = {"tunnels": {"weakIsolation": True, "runtimeClass": {"name": "", "handler": ""}}}
    objects = rendered(weak)
    assert f"runtime.tunnels.{DOMAIN}" not in of("ValidatingAdmissionPolicy", objects)
    pods = of("ValidatingAdmissionPolicy", objects)[f"pods.tunnels.{DOMAIN}"]
    assert "!has(variables.spec.runtimeClassName)" in [one["expression"].strip() for one in pods["spec"]["validations"]]


def test_a_runtime_class_that_the_chart_makes_is_watched_too() -> None:
    objects = rendered({"tunnels": {"runtimeClass": {"create": True}}})
    assert of("RuntimeClass", objects)["gvisor"]["handler"] == "runsc"
    assert "RuntimeClass" in {one["kind"] for one in guards.watched(objects)}
    assert not of("RuntimeClass")


# --- the guards -------------------------------------------------------------------------------------------------------


def test_every_guard_counts_and_fails_closed() -> None:
    policies, bindings = of("ValidatingAdmissionPolicy"), of("ValidatingAdmissionPolicyBinding")
    assert len(policies) >= 10
    assert set(policies) == set(bindings)
    for name, one in policies.items():
        assert one["spec"]["failurePolicy"] == "Fail", name
        assert one["spec"]["matchConstraints"]["objectSelector"] == {}, name
        assert "excludeResourceRules" not in one["spec"]["matchConstraints"], name
        assert bindings[name]["spec"] == {"policyName": name, "validationActions": ["Deny"]}
        for rule in one["spec"]["validations"]:
            assert rule.get("message") or rule.get("messageExpression"), name
            assert "\n" not in rule.get("message", ""), name


def test_only_the_workers_own_guard_looks_at_who_asks_before_it_looks_at_what() -> None:
    conditional = [one for one in of("ValidatingAdmissionPolicy").values() if "matchConditions" in one["spec"]]
    assert [one["metadata"]["name"] for one in conditional] == [f"worker.tunnels.{DOMAIN}"]
    assert conditional[0]["spec"]["matchConditions"][0]["expression"] == "request.userInfo.username == 'system:serviceaccount:lock:worker'"


def test_the_guards_and_the_code_call_things_by_the_same_names() -> None:
    text = "\n".join(json.dumps(one) for one in rendered())
    name = f"^t-[{re.sub('0123456789', '0-9', ids.ALPHABET)}]{{{ids.LENGTH}}}$"
    for needed in (TUNNEL, name, f"== '{POD}'", f"== '{KEY}'", f"in [{WORKSPACE_PORT}, {PROBE_PORT}]", adapter._DONE):
        assert needed in text, needed


def test_the_worker_is_let_make_each_kind_that_a_tunnel_is_made_of() -> None:
    writers = of("ValidatingAdmissionPolicy")[f"writers.tunnels.{DOMAIN}"]
    [worker] = [one["expression"] for one in writers["spec"]["variables"] if one["name"] == "worker"]
    create = re.search(r"'CREATE' && variables\.what in \[(.*?)\]", worker)
    assert create is not None
    inside = {f"{_group(one)}/{_plural(one['kind'])}".lstrip("/") for one in made() if "namespace" in one["metadata"]}
    assert {text.strip().strip("'") for text in create[1].split(",")} == inside


def test_the_worker_is_told_of_every_guard_and_of_its_own_rights() -> None:
    told = [one for text in of("ConfigMap")["guards"]["data"].values() for one in yaml.safe_load_all(text) if one]
    assert guards.digest(told) == guards.digest(rendered())
    assert len(guards.watched(told)) == len(guards.watched(rendered())) == 2 * len(of("ValidatingAdmissionPolicy")) + 2


# --- the rights -------------------------------------------------------------------------------------------------------


def _group(one: Manifest) -> str:
    return one["apiVersion"].rpartition("/")[0]


def _plural(kind: str) -> str:
    return f"{re.sub('y$', 'ie', kind.lower())}s"


def _called() -> set[tuple[str, str]]:
    """Return (resource, verb) of every call of the API in the adapter's two files, read from their text."""
    found = {(_plural(one["kind"]), "create") for one in made()}
    for node in [node for file in (adapter.__file__, kubernetes_endings.__file__) for node in ast.walk(ast.parse(Path(file).read_text()))]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "self._api":
            kind = node.args[0]
            if isinstance(kind, ast.Constant):
                found.add((_plural(str(kind.value)), WRITES[node.func.attr]))
            else:
                assert node.func.attr == "make" or (node.func.attr, ast.unparse(kind)) == ("every", "kind"), ast.unparse(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._known":  # which lists what it is told to
            assert isinstance(node.args[0], ast.Constant)
            found.add((_plural(str(node.args[0].value)), "list"))
    return found | {("configmaps", "create")}


def test_the_worker_may_do_what_its_adapter_calls_and_look_at_the_guards_and_nothing_else() -> None:
    looking = {_plural(kind).replace("policys", "policies").replace("classs", "classes") for kind in guards.WATCHED}
    wide = of("ClusterRole")[f"worker.tunnels.{DOMAIN}"]["rules"]
    given = {(resource, verb) for rule in wide + of("Role")["worker"]["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {pair for pair in given if pair[0] not in looking} == _called()
    assert {pair for pair in given if pair[0] in looking} == {(resource, "get") for resource in looking}
    assert not any("*" in rule[part] for rule in wide for part in ("apiGroups", "resources", "verbs"))


def test_it_reads_no_secret_and_pods_of_one_name() -> None:
    wide = of("ClusterRole")[f"worker.tunnels.{DOMAIN}"]["rules"]
    given = {one: [(verb, rule.get("resourceNames")) for rule in wide if one in rule["resources"] for verb in rule["verbs"]] for one in ("secrets", "pods")}
    assert given["secrets"] == [("create", None)]
    assert sorted(given["pods"]) == [("create", None), *((verb, [POD]) for verb in ("delete", "get", "list", "patch"))]


def test_nobody_but_the_worker_has_a_right_and_no_account_brings_its_token() -> None:
    objects = rendered()
    bound = {subject["name"] for kind in ("ClusterRoleBinding", "RoleBinding") for one in of(kind, objects).values() for subject in one["subjects"]}
    assert bound == {"worker"}
    accounts = of("ServiceAccount", objects)
    assert {"broker", "gateway", "hub", "opa", "worker"} <= set(accounts)
    assert {one["automountServiceAccountToken"] for one in accounts.values()} == {False}


def test_manifests_name_what_the_guards_look_for() -> None:
    """The guards' list of what may be mounted knows the names that the code gives."""
    claims = {one["metadata"]["name"] for one in made() if one["kind"] == "PersistentVolumeClaim"}
    assert "home" in claims
    volumes = {one["metadata"]["name"] for one in made() if one["kind"] == "PersistentVolume"}
    space = manifests.namespace_of("tun_7zk3m9qp2v4x6abc")
    assert volumes == {f"{space}-{claim}" for claim in claims}
