"""A tunnel on Kubernetes as data: every object is written down, and what makes it a tunnel is asserted by name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sulku.errors import ConfigurationError
from sulku.manifests import CLAIMS, OWNER, POD, PROBE_PORT, PROVE, TUNNEL, WORDS, WORKSPACE, WORKSPACE_PORT, Place, manifests
from sulku.plan import WorkspacePlan

GOLDEN = Path(__file__).with_name("golden") / "tunnel.json"
PLAN = WorkspacePlan(
    tunnel="tun_7zk3m9qp2v4x6abc", person="usr_0123456789abcdef", permit="per_0123456789abcdef", title="Free light chains",
    deadline=datetime(2026, 3, 1, 16, 0, tzinfo=UTC), datasets=("flchain", "whas500"), home="/homes/x", token="t" * 32,
)  # fmt: skip
PLACE = Place(
    image="registry.example/sulku-workspace@sha256:" + "0" * 64,
    runtime_class="gvisor",
    gateway=("sulku", {"app.kubernetes.io/component": "gateway"}),
    datasets={"csi": {"driver": "volumes.example", "readOnly": True, "volumeHandle": "{dataset}-{version}"}},
    homes={"nfs": {"server": "files.example", "path": "/homes/{permit}/{person}"}},
)
FILTERS = {"x86_64": b"\0" * 16, "aarch64": b"\1" * 16}
SOURCES = {name: {"dataset": f"dst_{name}", "version": "1", "name": name, "view": f"{name:x<64}"} for name in PLAN.datasets}


def made(place: Place = PLACE, plan: WorkspacePlan = PLAN, seconds: int = 3600) -> tuple[dict[str, Any], ...]:
    return manifests(plan, place, seconds=seconds, probe_key="k" * 64, filters=FILTERS, sources=SOURCES)


def one(kind: str, name: str = "", **changes: Any) -> dict[str, Any]:
    found = [each for each in made(**changes) if each["kind"] == kind and (not name or each["metadata"]["name"] == name)]
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]


def pod(**changes: Any) -> dict[str, Any]:
    return dict(one("Pod", **changes)["spec"])


def containers(**changes: Any) -> list[dict[str, Any]]:
    spec = pod(**changes)
    return [*spec["initContainers"], *spec["containers"]]


def test_every_object_is_as_written_down() -> None:
    """After a change that is meant: ``python -m tests.core.test_manifests`` writes the file anew; read its difference."""
    assert json.loads(GOLDEN.read_text()) == json.loads(json.dumps(made()))


def test_the_same_plan_gives_the_same_objects() -> None:
    assert made() == made()


def test_the_pod_comes_last_and_everything_around_it_first() -> None:
    kinds = [each["kind"] for each in made()]
    assert kinds[0] == "Namespace"
    assert kinds[-1] == "Pod"


def test_nothing_goes_out_and_only_the_gateway_comes_in() -> None:
    spec = one("NetworkPolicy")["spec"]
    assert spec["podSelector"] == {}
    assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
    assert spec["egress"] == []
    [way_in] = spec["ingress"]
    assert [each["port"] for each in way_in["ports"]] == [WORKSPACE_PORT, PROBE_PORT]
    [caller] = way_in["from"]
    assert set(caller) == {"namespaceSelector", "podSelector"}


def test_no_pod_without_an_end_fits_into_the_namespace() -> None:
    assert one("ResourceQuota", "endless")["spec"] == {"hard": {"pods": "0"}, "scopes": ["NotTerminating"]}
    assert one("ResourceQuota", "one")["spec"]["hard"]["pods"] == "1"
    assert pod(seconds=90)["activeDeadlineSeconds"] == 90
    assert pod(seconds=-5)["activeDeadlineSeconds"] == 1


def test_the_pod_has_no_identity_no_names_and_no_services() -> None:
    spec = pod()
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["dnsPolicy"] == "None"
    assert spec["hostUsers"] is False
    assert not {"serviceAccountName", "hostNetwork", "hostPID", "hostIPC", "nodeName"} & set(spec)
    assert not any("projected" in volume or "hostPath" in volume for volume in spec["volumes"])


def test_every_container_is_restricted() -> None:
    for each in containers():
        rules = each["securityContext"]
        assert rules["allowPrivilegeEscalation"] is False
        assert rules["readOnlyRootFilesystem"] is True
        assert rules["runAsNonRoot"] is True
        assert rules["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in each["resources"]["limits"]
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_data_is_in_the_workspace_alone_and_read_only() -> None:
    mounts = {each["name"]: each["volumeMounts"] for each in containers()}
    data = {name: [mount for mount in own if mount["mountPath"].startswith("/data")] for name, own in mounts.items()}
    assert [mount["mountPath"] for mount in data[WORKSPACE]] == ["/data/flchain", "/data/whas500"]
    assert all(mount["readOnly"] for mount in data[WORKSPACE])
    assert not data[PROVE]
    claims = {volume["name"]: volume["persistentVolumeClaim"] for volume in pod()["volumes"] if "persistentVolumeClaim" in volume}
    assert [name for name, claim in claims.items() if not claim["readOnly"]] == ["home"]


def test_the_workspace_does_not_see_the_probes_key() -> None:
    keys = {volume["name"]: [item["key"] for item in volume["secret"]["items"]] for volume in pod()["volumes"] if "secret" in volume}
    seen = {each["name"]: {key for mount in each["volumeMounts"] for key in keys.get(mount["name"], [])} for each in containers()}
    assert "probe-key" not in seen[WORKSPACE]
    assert "token" not in seen[PROVE]


def test_every_container_finds_the_filter_of_its_machine() -> None:
    keys = {volume["name"]: {item["key"] for item in volume["secret"]["items"]} for volume in pod()["volumes"] if "secret" in volume}
    for each in containers():
        seen = {key for mount in each["volumeMounts"] for key in keys.get(mount["name"], set())}
        assert {"filter-x86_64", "filter-aarch64"} <= seen


def test_a_volume_is_bound_to_this_tunnels_claim_and_survives_it() -> None:
    volumes = [each for each in made() if each["kind"] == "PersistentVolume"]
    assert len(volumes) == 3
    for each in volumes:
        assert each["spec"]["claimRef"]["namespace"] == one("Namespace")["metadata"]["name"]
        assert each["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volumes[0]["spec"]["csi"]["volumeHandle"] == "dst_flchain-1"
    assert volumes[2]["spec"]["nfs"]["path"] == "/homes/per_0123456789abcdef/usr_0123456789abcdef"


def test_a_dataset_may_come_from_the_folder_in_which_the_vault_laid_out_what_is_granted() -> None:
    place = replace(PLACE, datasets={"nfs": {"server": "files.example", "path": "/views/{view}", "readOnly": True}})
    volumes = [each["spec"] for each in made(place=place) if each["kind"] == "PersistentVolume" and each["spec"]["accessModes"] == ["ReadOnlyMany"]]
    assert [each["nfs"]["path"] for each in volumes] == [f"/views/{SOURCES[name]['view']}" for name in PLAN.datasets]


def test_every_object_says_whose_it_is() -> None:
    """By these two labels alone whoever ends a tunnel finds it; another installation's are not ours."""
    space = one("Namespace")["metadata"]["name"]
    assert {(each["metadata"]["labels"][TUNNEL], each["metadata"]["labels"][OWNER]) for each in made()} == {(space, "sulku")}


def test_the_namespace_names_every_claim_in_it_so_that_an_end_needs_no_list() -> None:
    claims = [each["metadata"]["name"] for each in made() if each["kind"] == "PersistentVolumeClaim"]
    volumes = [each["metadata"]["name"] for each in made() if each["kind"] == "PersistentVolume"]
    about = one("Namespace")["metadata"]
    assert about["annotations"][CLAIMS].split() == claims
    assert [f"{about['name']}-{claim}" for claim in claims] == volumes


def test_what_is_said_inside_does_not_come_into_the_pods_status() -> None:
    assert {(each["terminationMessagePath"], each["terminationMessagePolicy"]) for each in containers()} == {(WORDS, "File")}
    assert WORDS.startswith("/root/")  # which nobody but root may enter


def test_scratch_is_in_memory_and_bounded() -> None:
    rooms = [volume["emptyDir"] for volume in pod()["volumes"] if "emptyDir" in volume]
    assert len(rooms) == 2
    assert all(room["medium"] == "Memory" and int(room["sizeLimit"]) > 0 for room in rooms)


def test_two_datasets_whose_names_look_alike_get_volumes_of_their_own() -> None:
    plan = replace(PLAN, datasets=("a.b", "a-b", "home"))
    sources = {name: {"dataset": name, "version": "1", "name": name} for name in plan.datasets}
    names = [each["metadata"]["name"] for each in manifests(plan, PLACE, seconds=9, probe_key="k", filters={}, sources=sources) if each["kind"] == "PersistentVolume"]
    assert len(set(names)) == 4


def test_a_value_cannot_change_the_shape_of_a_volume() -> None:
    sources = {name: {**SOURCES[name], "dataset": 'x", "readOnly": false, "y": "'} for name in PLAN.datasets}
    volume = next(each for each in manifests(PLAN, PLACE, seconds=9, probe_key="k", filters={}, sources=sources) if each["kind"] == "PersistentVolume")
    assert volume["spec"]["csi"]["readOnly"] is True
    assert set(volume["spec"]["csi"]) == {"driver", "readOnly", "volumeHandle"}


def test_isolation_is_never_silently_absent() -> None:
    with pytest.raises(ConfigurationError):
        replace(PLACE, runtime_class="")
    assert pod()["runtimeClassName"] == "gvisor"
    assert "runtimeClassName" not in pod(place=replace(PLACE, runtime_class="", weak_isolation=True))


def test_the_name_of_the_pod_is_the_same_in_every_namespace() -> None:
    assert one("Pod")["metadata"]["name"] == POD


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(made(), indent=1) + "\n")


@pytest.mark.parametrize("pattern", ["/homes/{person}", "/homes/{permit}", "/homes"])
def test_a_pattern_by_which_two_would_share_a_home_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="share"):
        replace(PLACE, homes={"hostPath": {"path": pattern}})
