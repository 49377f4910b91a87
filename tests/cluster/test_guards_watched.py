"""A change to the guards is seen by whoever compares what is there with what was installed; untouched guards give no alarm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.adapters import guards as adapter
from broker.adapters.kubernetes_api import Api
from sulku import guards
from sulku.errors import ClusterUnavailableError, ConfigurationError
from sulku.guards import Departure, Look
from sulku.manifests import Manifest
from tests.cluster.cluster import Cluster
from tests.cluster.guarding import CHART, Guarded, client, rendered, values
from tests.cluster.programs import program

DOMAIN = "watched-test.internal"  # guards that guard nothing, to be spoilt
POLICY, BINDING, ROLE = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterRole"


def name(short: str) -> str:
    return f"{short}.tunnels.{DOMAIN}"


@pytest.fixture(scope="module")
def chart(cluster: Cluster) -> list[Manifest]:
    """Give what the chart makes for the whole cluster."""
    return [one for one in rendered(values(Path("/srv/watched")), domain=DOMAIN) if "namespace" not in one["metadata"]]


@pytest.fixture
def there(cluster: Cluster, chart: list[Manifest]) -> Iterator[list[Manifest]]:
    """Give them installed."""
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": chart})
    cluster.kubectl("apply", "-f", "-", given=listed)
    yield chart
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", given=listed)


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return Api(client(cluster))


def spoil(cluster: Cluster, kind: str, short: str, **spec: Any) -> None:
    cluster.kubectl("patch", kind, name(short), "--type=merge", "-p", json.dumps({"spec": spec}))


def test_untouched_guards_give_no_alarm(api: Api, there: list[Manifest]) -> None:
    found = adapter.look(api, there)
    assert found.departures == ()
    assert len(found.marks) == len(guards.watched(there)) > 20
    assert guards.touched(found, adapter.look(api, there)) == ()


def test_the_chart_tells_the_worker_what_it_installed(guarded: Guarded, tmp_path: Path) -> None:
    """The config map as the worker's pod mounts it, read with the worker's own rights."""
    for file, text in guarded.cluster.get("configmap", "guards", "-n", "guards")["data"].items():
        (tmp_path / file).write_text(text)
    expected = adapter.installed(tmp_path)
    assert guards.digest(expected) == guards.digest(guarded.installed)
    found = adapter.look(guarded.accounts["worker"].api, expected)
    assert found.departures == ()
    assert {one["kind"] for one in expected} == set(guards.WATCHED) - {"RuntimeClass"}  # which was there before the chart


def test_what_helm_installs_and_upgrades_gives_no_alarm(cluster: Cluster, api: Api, tmp_path: Path) -> None:
    """By helm itself, translated on its way; the notes say what to do next."""
    decided, script = tmp_path / "values.json", tmp_path / "translate"
    decided.write_text(json.dumps(values(Path("/srv/watched"))))
    script.write_text("#!/bin/sh\nexec sed 's/sulku[.]internal/helm-test.internal/g; s/\\^t-\\[/^h-[/g'\n")
    script.chmod(0o700)

    def helm(*words: str) -> str:
        command = [*cluster.entering(), str(program("helm")), "--kubeconfig", str(cluster.kubeconfig), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    about = ("guards-helm", str(CHART), "-n", "guards-helm", "-f", str(decided), "--post-renderer", str(script))
    try:
        said = helm("install", *about, "--create-namespace")
        assert "kubectl delete pod workspace" in said
        assert "system:serviceaccount:guards-helm:worker" in said
        told = cluster.get("configmap", "guards", "-n", "guards-helm")["data"].values()
        expected = [one for text in told for one in yaml.safe_load_all(text) if one]
        before = adapter.look(api, expected)
        assert before.departures == ()
        helm("upgrade", *about)
        after = adapter.look(api, expected)
        assert after.departures == ()
        assert guards.touched(before, after) == ()
    finally:
        helm("uninstall", "guards-helm", "-n", "guards-helm", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", "guards-helm", "--ignore-not-found", "--wait=false")


def test_a_missing_list_of_guards_is_no_peace(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        adapter.installed(tmp_path)
    (tmp_path / "rbac.yaml").write_text("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\n")
    with pytest.raises(ConfigurationError):
        adapter.installed(tmp_path)


def test_notes_and_labels_of_others_give_no_alarm(cluster: Cluster, api: Api, there: list[Manifest]) -> None:
    before = adapter.look(api, there)
    cluster.kubectl("label", POLICY, name("pods"), "team=x")
    cluster.kubectl("annotate", POLICY, name("pods"), "note=x")
    after = adapter.look(api, there)
    assert after.departures == ()
    assert guards.touched(before, after) == ()


def test_a_weakened_policy_is_seen(cluster: Cluster, api: Api, there: list[Manifest]) -> None:
    spoil(cluster, POLICY, "pods", failurePolicy="Ignore")
    assert adapter.look(api, there).departures == (Departure(POLICY, name("pods"), "changed", ("spec.failurePolicy",)),)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"matchConditions": [{"name": "x", "expression": "false"}]}, "spec.matchConditions"),
        ({"matchConstraints": {"objectSelector": {"matchLabels": {"x": "y"}}}}, "spec.matchConstraints.objectSelector.matchLabels"),
        ({"matchConstraints": {"excludeResourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}]}}, "spec.matchConstraints.excludeResourceRules"),
        ({"validations": [{"expression": "true"}]}, "spec.validations"),
    ],
    ids=["a condition", "a selector", "an exception", "another rule"],
)  # fmt: skip
def test_a_policy_that_matches_less_is_seen(cluster: Cluster, api: Api, there: list[Manifest], spec: dict[str, Any], where: str) -> None:
    spoil(cluster, POLICY, "pods", **spec)
    assert adapter.look(api, there).departures == (Departure(POLICY, name("pods"), "changed", (where,)),)


def test_a_policy_that_is_gone_is_seen(cluster: Cluster, api: Api, there: list[Manifest]) -> None:
    cluster.kubectl("delete", POLICY, name("connections"))
    assert adapter.look(api, there).departures == (Departure(POLICY, name("connections"), "missing"),)


def test_a_binding_that_is_gone_or_only_warns_is_seen(cluster: Cluster, api: Api, there: list[Manifest]) -> None:
    cluster.kubectl("delete", BINDING, name("writers"))
    spoil(cluster, BINDING, "pods", validationActions=["Warn"])
    assert adapter.look(api, there).departures == (
        Departure(BINDING, name("pods"), "changed", ("spec.validationActions[0]",)),
        Departure(BINDING, name("writers"), "missing"),
    )


def test_a_binding_to_fewer_namespaces_is_seen(cluster: Cluster, api: Api, there: list[Manifest]) -> None:
    spoil(cluster, BINDING, "pods", matchResources={"namespaceSelector": {"matchLabels": {"x": "y"}}})
    assert adapter.look(api, there).departures == (Departure(BINDING, name("pods"), "changed", ("spec.matchResources",)),)


def test_more_rights_for_the_worker_are_seen(cluster: Cluster, api: Api, there: list[Manifest]) -> None:
    more = [{"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}}]
    cluster.kubectl("patch", ROLE, name("worker"), "--type=json", "-p", json.dumps(more))
    cluster.kubectl("label", ROLE, name("worker"), "rbac.authorization.k8s.io/aggregate-to-edit=true")
    where = ("metadata.labels.rbac.authorization.k8s.io/aggregate-to-edit", "rules")
    assert adapter.look(api, there).departures == (Departure(ROLE, name("worker"), "changed", where),)


def test_what_was_changed_and_changed_back_is_seen(cluster: Cluster, api: Api, there: list[Manifest]) -> None:
    """Long enough for a pod to slip in, and as it was when we look again."""
    before = adapter.look(api, there)
    spoil(cluster, POLICY, "pods", failurePolicy="Ignore")
    spoil(cluster, POLICY, "pods", failurePolicy="Fail")
    cluster.kubectl("delete", BINDING, name("writers"))
    again = next(one for one in there if one["kind"] == BINDING and one["metadata"]["name"] == name("writers"))
    cluster.kubectl("apply", "-f", "-", given=json.dumps(again))
    after = adapter.look(api, there)
    assert after.departures == ()
    assert guards.touched(before, after) == (Departure(POLICY, name("pods"), "touched"), Departure(BINDING, name("writers"), "touched"))


def test_who_may_not_look_any_more_has_an_alarm(cluster: Cluster, there: list[Manifest]) -> None:
    found = adapter.look(Api(client(cluster, user="guards-nobody")), there)
    assert {one.how for one in found.departures} == {"unreadable"}
    assert len(found.departures) == len(guards.watched(there))


def test_an_api_server_that_is_away_is_neither_alarm_nor_peace(cluster: Cluster, there: list[Manifest]) -> None:
    away = client(cluster)
    away.configuration.host = "https://127.0.0.1:1"
    with pytest.raises(ClusterUnavailableError):
        adapter.look(Api(away), there)


def test_looking_changes_nothing(api: Api, there: list[Manifest]) -> None:
    first = adapter.look(api, there)
    assert first == Look((), adapter.look(api, there).marks)


def test_the_api_server_finds_nothing_to_say_about_the_rules_types(guarded: Guarded) -> None:
    """A field that is spelt wrongly would be absent for ever, and some rules would hold for that reason."""
    for one in guarded.cluster.get(POLICY)["items"]:
        if one["metadata"]["name"].endswith("guards-test.internal"):
            assert one["status"]["observedGeneration"] == one["metadata"]["generation"]
            warnings = one["status"].get("typeChecking", {}).get("expressionWarnings", [])
            assert warnings == [], one["metadata"]["name"]
