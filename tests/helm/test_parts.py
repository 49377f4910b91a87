"""Our own parts in the chart: each is hardened, closed but for its edges, told what it understands, and sees no secret that is not its own."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from broker.gateway import settings as gateway
from broker.settings import Settings
from hub.settings import HubSettings
from sulku import links
from sulku.codec import typed
from sulku.crypto.channels import Files, require_fit
from sulku.errors import CertificateUnfitError
from sulku.links import BROKER, GATEWAY, HUB, LINKS, PARTS
from sulku.manifests import PROBE_PORT, TUNNEL, WORKSPACE_PORT, Manifest, Place
from tests.helm.test_chart import of, refused, rendered

WORKLOADS: Final = ("Deployment", "StatefulSet", "Job")
RUNNING: Final = {"broker", "canary", "gateway", "hub", "issuer", "postgres", "redis", "worker"}
COMPONENT: Final = "app.kubernetes.io/component"

# (who connects, to whom, at which port): the whole list, by hand, to be compared with what the chart opens
EDGES: Final = {
    ("gateway", "broker", 8443), ("hub", "broker", 8443),
    ("broker", "gateway", 8444), ("hub", "gateway", 8444), ("worker", "gateway", 8444),
    ("broker", "hub", 8445), ("worker", "hub", 8445),
    ("broker", "postgres", 5432), ("issuer", "postgres", 5432), ("prepare", "postgres", 5432), ("worker", "postgres", 5432),
    ("worker", "redis", 6379), ("worker", "canary", 7000), ("worker", "canary", 7001), ("broker", "issuer", 8082),
}  # fmt: skip
ENTRANCES: Final = {"broker": {8080}, "gateway": {8081}, "issuer": {8082}}
OUTWARD: Final = {"broker": {53}, "gateway": {53, WORKSPACE_PORT, PROBE_PORT}, "hub": {53}, "issuer": {53}, "prepare": {53}, "worker": {53, 6443}}
SEES: Final = {  # which keys of which secrets each part finds in its files
    "broker": {"certificate-broker", "database/password", "session/broker", "tokens"},
    "canary": {"canary/key"},
    "gateway": {"certificate-gateway", "session/gateway", "tokens/control", "tokens/gateway"},
    "hub": {"certificate-hub", "tokens/control", "tokens/hub", "tokens/jupyterhub"},
    "issuer": {"database/password"},
    "postgres": {"database/password"},
    "prepare": {"certificate-broker", "database/password", "session/broker", "tokens"},
    "redis": {"redis/password"},
    "worker": {"canary/key", "certificate-worker", "database/password", "redis/password", "tokens"},
}


@cache
def text() -> str:
    return json.dumps(rendered())


def objects() -> list[Manifest]:
    """Return the chart's objects, to be spoilt at will."""
    return list(json.loads(text()))


def pods(found: list[Manifest]) -> dict[str, Manifest]:
    """Return part → what its pods are made of."""
    return {one["spec"]["template"]["metadata"]["labels"][COMPONENT]: one["spec"]["template"] for one in found if one["kind"] in WORKLOADS}


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def lasting(pod: Manifest) -> list[Manifest]:
    """Return the containers that live as long as their pod."""
    return [*(one for one in pod["spec"].get("initContainers", []) if one.get("restartPolicy") == "Always"), *pod["spec"]["containers"]]


def selects(selector: Manifest, pod: Manifest) -> bool:
    return all(pod["metadata"]["labels"].get(key) == value for key, value in selector.get("matchLabels", selector).items())


# --- what is wrong with a set of objects; one function a rule, each tried on a chart that breaks it -----------------------------


def faults(found: list[Manifest]) -> set[str]:
    """Return what no part of ours may be."""
    told: set[str] = set()
    for part, pod in pods(found).items():
        told |= {f"{part}: {what}" for what in (*_pod(part, pod), *_volumes(pod), *_watched(part, pod), *_around(part, pod, found))}
        for one in containers(pod):
            told |= {f"{part}/{one['name']}: {what}" for what in _container(one)}
    return told


def _pod(part: str, pod: Manifest) -> Iterator[str]:
    spec, secure = pod["spec"], pod["spec"].get("securityContext", {})
    if secure.get("runAsNonRoot") is not True or secure.get("runAsUser", 0) == 0:
        yield "may be root"
    if secure.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no system call filter"
    if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")):
        yield "shares a namespace of its node"
    if spec.get("automountServiceAccountToken") is not (part == "worker"):
        yield "a token where none is needed"
    if spec.get("enableServiceLinks") is not (part == "worker"):
        yield "is told of services"
    if part == "worker" and spec.get("runtimeClassName") != "gvisor":
        yield "inspects outputs on the node's own kernel"


def _container(one: Manifest) -> Iterator[str]:
    secure = one.get("securityContext", {})
    if secure.get("readOnlyRootFilesystem") is not True:
        yield "a root that can be written"
    if secure.get("allowPrivilegeEscalation") is not False or secure.get("privileged"):
        yield "may become more"
    if secure.get("capabilities") != {"drop": ["ALL"]}:
        yield "has capabilities"
    if not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", one["image"]):
        yield "an image by tag"
    asked, most = one.get("resources", {}).get("requests", {}), one.get("resources", {}).get("limits", {})
    if not {"cpu", "memory"} <= set(asked) or "memory" not in most:
        yield "no bounds"


def _volumes(pod: Manifest) -> Iterator[str]:
    volumes = {one["name"]: one for one in pod["spec"].get("volumes", [])}
    for one in volumes.values():
        kind = (set(one) - {"name"}).pop()
        if kind not in {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}:
            yield f"mounts a {kind}"
        if kind == "secret" and one["secret"].get("defaultMode") != 0o440:
            yield "a secret that others can read"
        if kind == "emptyDir" and "sizeLimit" not in one["emptyDir"]:
            yield "scratch without a bound"
    if {mount["name"] for one in containers(pod) for mount in one.get("volumeMounts", [])} ^ set(volumes):
        yield "volumes and mounts differ"


def _watched(part: str, pod: Manifest) -> Iterator[str]:
    if part != "prepare" and any("startupProbe" not in one or "livenessProbe" not in one for one in lasting(pod)):
        yield "nobody sees whether it lives"
    if part != "prepare" and any("readinessProbe" not in one for one in pod["spec"]["containers"]):
        yield "nobody sees whether it is ready"


def _around(part: str, pod: Manifest, found: list[Manifest]) -> Iterator[str]:
    policies = of("NetworkPolicy", found).values()
    closed = [one for one in policies if one["spec"]["podSelector"] == {}]
    if len(closed) != 1 or set(closed[0]["spec"]) != {"podSelector", "policyTypes"} or closed[0]["spec"]["policyTypes"] != ["Ingress", "Egress"]:
        yield "the namespace is open"
    own = [one for one in policies if one["spec"]["podSelector"] and selects(one["spec"]["podSelector"], pod)]
    if [one["spec"]["policyTypes"] for one in own] != [["Ingress", "Egress"]]:
        yield "no network policy of its own"
    budgets = [one for one in of("PodDisruptionBudget", found).values() if selects(one["spec"]["selector"], pod)]
    if len(budgets) != (part != "prepare"):
        yield "a node may be emptied of all its pods at once"


def test_every_part_is_hardened_closed_watched_and_bounded() -> None:
    assert set(pods(objects())) == RUNNING | {"prepare"}
    assert faults(objects()) == set()


def _in(part: str, change: Callable[[Manifest], object]) -> Callable[[list[Manifest]], object]:
    return lambda found: change(pods(found)[part]["spec"])


def _without(kind: str, name: str) -> Callable[[list[Manifest]], object]:
    return lambda found: found.remove(of(kind, found)[name])


BROKEN: dict[str, Callable[[list[Manifest]], object]] = {
    "broker: may be root": _in("broker", lambda spec: spec["securityContext"].pop("runAsNonRoot")),
    "hub: no system call filter": _in("hub", lambda spec: spec["securityContext"].pop("seccompProfile")),
    "gateway: shares a namespace of its node": _in("gateway", lambda spec: spec.update(hostNetwork=True)),
    "gateway: a token where none is needed": _in("gateway", lambda spec: spec.pop("automountServiceAccountToken")),
    "hub: is told of services": _in("hub", lambda spec: spec.update(enableServiceLinks=True)),
    "worker: inspects outputs on the node's own kernel": _in("worker", lambda spec: spec.pop("runtimeClassName")),
    "redis/redis: a root that can be written": _in("redis", lambda spec: spec["containers"][0]["securityContext"].pop("readOnlyRootFilesystem")),
    "worker/reach: may become more": _in("worker", lambda spec: spec["initContainers"][2]["securityContext"].pop("allowPrivilegeEscalation")),
    "broker/opa: has capabilities": _in("broker", lambda spec: spec["initContainers"][2]["securityContext"].update(capabilities={"add": ["NET_RAW"]})),
    "canary/canary: an image by tag": _in("canary", lambda spec: spec["containers"][0].update(image="registry.example/sulku-workspace:latest")),
    "issuer/issuer: no bounds": _in("issuer", lambda spec: spec["containers"][0]["resources"].pop("limits")),
    "broker: mounts a hostPath": _in("broker", lambda spec: spec["volumes"].__setitem__(1, {"name": "state", "hostPath": {"path": "/srv/sulku"}})),
    "hub: a secret that others can read": _in("hub", lambda spec: spec["volumes"][3]["secret"].update(defaultMode=0o444)),
    "gateway: scratch without a bound": _in("gateway", lambda spec: spec["volumes"][0].update(emptyDir={})),
    "gateway: volumes and mounts differ": _in("gateway", lambda spec: spec["containers"][0]["volumeMounts"].pop()),
    "postgres: nobody sees whether it lives": _in("postgres", lambda spec: spec["containers"][0].pop("livenessProbe")),
    "worker: nobody sees whether it is ready": _in("worker", lambda spec: spec["containers"][0].pop("readinessProbe")),
    "redis: the namespace is open": _without("NetworkPolicy", "closed"),
    "prepare: no network policy of its own": _without("NetworkPolicy", "prepare"),
    "gateway: a node may be emptied of all its pods at once": _without("PodDisruptionBudget", "gateway"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_part_that_is_not_is_noticed(fault: str) -> None:
    spoilt = objects()
    BROKEN[fault](spoilt)
    assert fault in faults(spoilt)


# --- who may connect to whom ----------------------------------------------------------------------------------------------------


def opened(way: str, found: list[Manifest] | None = None) -> set[tuple[str, str, int]]:
    """Return (from, to, port) between parts as the policies' ``ingress`` or ``egress`` open them."""
    edges = set()
    end = {"ingress": "from", "egress": "to"}[way]
    for name, one in of("NetworkPolicy", found or objects()).items():
        for rule in one["spec"].get(way) or []:
            for peer in rule.get(end, []):
                if set(peer) == {"podSelector"}:
                    other = peer["podSelector"]["matchLabels"][COMPONENT]
                    edges |= {(other, name, port["port"]) if way == "ingress" else (name, other, port["port"]) for port in rule["ports"]}
    return edges


def test_the_edges_are_those_of_the_list_at_both_ends() -> None:
    assert opened("ingress") == EDGES
    assert opened("egress") == EDGES


def test_between_parts_they_are_the_links() -> None:
    linked = {(caller, link.to) for link in LINKS for caller in link.callers}
    assert {(one, to) for one, to, port in EDGES if port in {8443, 8444, 8445}} == linked


def test_people_come_in_by_three_doors_and_never_from_a_tunnel() -> None:
    for name, one in of("NetworkPolicy", objects()).items():
        rules = [rule for rule in one["spec"].get("ingress") or [] if any("namespaceSelector" in peer or "ipBlock" in peer for peer in rule.get("from", []))]
        assert {port["port"] for rule in rules for port in rule["ports"]} == ENTRANCES.get(name, set())
        assert all({"key": TUNNEL, "operator": "DoesNotExist"} in peer["namespaceSelector"]["matchExpressions"] for rule in rules for peer in rule["from"])


def test_only_the_canary_is_there_for_everybody() -> None:
    open_to_all = {name: rule for name, one in of("NetworkPolicy", objects()).items() for rule in one["spec"].get("ingress") or [] if not rule.get("from")}
    assert set(open_to_all) == {"canary"}
    assert {port["port"] for port in open_to_all["canary"]["ports"]} == {7000}


def test_out_of_the_namespace_go_questions_for_names_the_gateway_to_tunnels_and_the_worker_to_the_api_server() -> None:
    for name, one in of("NetworkPolicy", objects()).items():
        rules = [rule for rule in one["spec"].get("egress") or [] if not all(set(peer) == {"podSelector"} for peer in rule["to"])]
        assert {port["port"] for rule in rules for port in rule["ports"]} == OUTWARD.get(name, set()), name
        if name == GATEWAY:
            [tunnels] = [rule["to"] for rule in rules if rule["ports"][0]["port"] == WORKSPACE_PORT]
            assert tunnels == [{"namespaceSelector": {"matchExpressions": [{"key": TUNNEL, "operator": "Exists"}]}}]


def test_what_lies_outside_is_opened_to_the_parts_that_are_named() -> None:
    outside = {"parts": ["broker", "worker"], "to": [{"ipBlock": {"cidr": "192.0.2.9/32"}}], "ports": [5432]}
    policies = of("NetworkPolicy", rendered({"network": {"outside": [outside]}}))
    able = {name for name, one in policies.items() if outside["to"] in [rule["to"] for rule in one["spec"].get("egress") or []]}
    assert able == {"broker", "worker"}


def test_each_service_leads_to_ports_of_one_part() -> None:
    templates = pods(objects())
    for name, one in of("Service", objects()).items():
        chosen = [pod for pod in templates.values() if selects(one["spec"]["selector"], pod)]
        assert len(chosen) == 1, name
        ports = [port for each in containers(chosen[0]) for port in each.get("ports", [])]
        for port in one["spec"]["ports"]:
            assert port.get("targetPort", port["port"]) in {each["name"] for each in ports} | {each["containerPort"] for each in ports}, name
    assert of("Service", objects())["gateway-control"]["spec"]["clusterIP"] == "None"


# --- what they are told, and what they see -------------------------------------------------------------------------------------------


def told() -> dict[str, str]:
    return dict(of("ConfigMap", objects())["settings"]["data"])


def test_every_setting_is_one_that_the_broker_knows_and_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f"SULKU_{name.upper()}" for name in Settings.model_fields}
    worker = pods(objects())["worker"]["spec"]["containers"][0]["env"]
    assert {name for name in [*told(), *(one["name"] for one in worker)] if name.startswith("SULKU_")} <= known
    for name, value in told().items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert isinstance(settings.place, Place)
    assert settings.place.gateway == ("lock", {COMPONENT: "gateway"})
    assert settings.place.image == of("Deployment", objects())["canary"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert settings.link(GATEWAY).host == "gateway-control.lock.svc"
    assert settings.workspaces == "kubernetes"


def test_gateway_and_hub_are_told_what_they_take(tmp_path: Path) -> None:
    maps = of("ConfigMap", objects())
    (tmp_path / "gateway.json").write_text(maps["gateway"]["data"]["gateway.json"])
    gate = gateway.read(tmp_path / "gateway.json")
    assert gate.workspace_networks == ("10.244.0.0/16",)
    jupyterhub = typed(HubSettings, json.loads(maps["hub"]["data"]["hub.json"]))
    services = of("Service", objects())
    for text_ in (gate.broker_address, jupyterhub.broker_address, jupyterhub.gateway_address, told()["SULKU_GATEWAY_ADDRESS"], told()["SULKU_HUB_ADDRESS"]):
        found = links.address(text_)
        service = services[found.host.removesuffix(".lock.svc")]
        assert found.port in {port["port"] for port in service["spec"]["ports"]}


def seen(pod: Manifest) -> set[str]:
    """Return ``secret`` (all its keys) or ``secret/key`` for everything secret in a pod's files."""
    found = set()
    for volume in pod["spec"].get("volumes", []):
        if "secret" in volume:
            keys = [item["key"] for item in volume["secret"].get("items", [])]
            found |= {f"{volume['secret']['secretName']}/{key}" for key in keys} or {volume["secret"]["secretName"]}
    return found


def test_each_part_sees_its_own_secrets_and_no_other() -> None:
    assert {part: seen(pod) for part, pod in pods(objects()).items()} == SEES
    assert "secretKeyRef" not in text()
    assert "authority" in of("Secret", objects())


def test_whoever_calls_a_link_has_its_token() -> None:
    for link in LINKS:
        for part in {link.to, *link.callers}:
            assert {"tokens", f"tokens/{link.token}"} & SEES[part], (part, link.token)


def test_what_is_drawn_is_long_and_never_twice_the_same() -> None:
    drawn = [value for name, one in of("Secret", objects()).items() for value in one["data"].values() if one.get("type") != "kubernetes.io/tls"]
    assert len(drawn) == len(set(drawn)) >= 10
    assert min(len(base64.b64decode(value)) for value in drawn) >= 48


def test_existing_secrets_are_used_and_none_is_drawn() -> None:
    own = {
        "secrets": {"tokens": "a", "session": "b", "canary": "c"}, "certificates": {part: f"tls-{part}" for part in PARTS},
        "database": {"existingSecret": "d"}, "redis": {"existingSecret": "e"},
    }  # fmt: skip
    found = rendered(own)
    assert not [one for one in found if one["kind"] == "Secret"]
    assert seen(pods(found)["worker"]) == {"a", "c/key", "d/password", "e/password", "tls-worker"}


def certificates(folder: Path) -> dict[str, Files]:
    found = {}
    for part in PARTS:
        for name, value in of("Secret", objects())[f"certificate-{part}"]["data"].items():
            (folder / f"{part}-{name}").touch(mode=0o600)
            (folder / f"{part}-{name}").write_bytes(base64.b64decode(value))
        found[part] = Files(*(str(folder / f"{part}-{name}") for name in ("tls.crt", "tls.key", "ca.crt")))
    return found


def test_the_certificates_for_a_trial_are_believed_as_their_part_and_as_no_other(tmp_path: Path) -> None:
    for part, files in certificates(tmp_path).items():
        require_fit(files, part)
        for other in set(PARTS) - {part}:
            with pytest.raises(CertificateUnfitError):
                require_fit(files, other)


# --- changing it while it runs ----------------------------------------------------------------------------------------------------


def test_an_upgrade_keeps_brokers_gateways_and_workers_at_work() -> None:
    for name in (BROKER, GATEWAY, "worker"):
        one = of("Deployment", objects())[name]["spec"]
        assert one["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    gate = json.loads(of("ConfigMap", objects())["gateway"]["data"]["gateway.json"])
    pod = of("Deployment", objects())[GATEWAY]["spec"]["template"]["spec"]
    notice = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > notice + gate["drain_seconds"] + gate["report_seconds"] > notice + gate["drain_seconds"] > notice > 0
    for name in (BROKER, GATEWAY):
        one = of("Deployment", objects())[name]["spec"]
        assert one["replicas"] == 2
        assert one["template"]["spec"]["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
        assert "sleep" in one["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]
    assert of("Deployment", objects())[HUB]["spec"]["strategy"] == {"type": "Recreate"}


def test_a_changed_setting_starts_those_anew_who_read_it_and_nobody_else() -> None:
    def changed(given: dict[str, Any]) -> set[str]:
        before, after = pods(objects()), pods(rendered(given))
        return {part for part, pod in after.items() if pod != before[part]}

    assert changed({}) == set()
    assert changed({"tunnels": {"patrolSeconds": 60}}) == {"broker", "issuer", "prepare", "worker"}
    assert changed({"network": {"pods": ["10.245.0.0/16"]}}) == {"gateway"}
    assert changed({"network": {"outside": []}, "replicas": {"broker": 3}}) == set()


# --- values that are refused --------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"url": ""}, "say in url at which address people find the pages"),
    "an address with a path": ({"url": "https://tre.example.org/sulku"}, "an address without a path"),
    "a domain with a scheme": ({"gateDomain": "https://x.example"}, "gateDomain is a name"),
    "no state": ({"state": {"hostPath": ""}}, "say where keys, outputs and datasets are kept"),
    "two states": ({"state": {"existingClaim": "x"}}, "either existingClaim or hostPath"),
    "the node's root": ({"state": {"hostPath": "/"}}, "a folder of the nodes"),
    "an image by tag": ({"images": {"server": "registry.example/sulku-server:1"}}, "a tag can come to mean another image"),
    "no policy server": ({"images": {"opa": ""}}, "name the image of the policy server"),
    "no database": ({"images": {"postgres": ""}}, "name a database in database.url"),
    "no Redis": ({"images": {"redis": ""}}, "name a Redis in redis.url"),
    "a password in an address": ({"database": {"url": "postgresql+psycopg://u:secret@h/d", "existingSecret": "x"}}, "without a password"),
    "a database without a password": ({"database": {"url": "postgresql+psycopg://u@h/d"}}, "needs database.existingSecret"),
    "certificates of one part": ({"certificates": {"hub": "x"}}, "of all four parts, or of none"),
    "no networks of pods": ({"network": {"pods": []}}, "name the networks of pods"),
    "everybody by an empty list": ({"network": {"people": []}}, "lets everybody in"),
    "a person without an address": ({"people": ["steward:Ada Novak"]}, "a person is role:name:e-mail:organisation"),
    "a part without bounds": ({"resources": {"hub": {"limits": None}}}, "has a limit of memory"),
    "two sources of datasets": ({"tunnels": {"datasets": {"nfs": {"server": "files.example"}}}}, "one source of a volume"),
    "a dataset from nowhere": ({"tunnels": {"datasets": {"hostPath": None}}}, "got null, want object"),
    "a worker that opens nothing": ({"worker": {"concurrency": 0}}, "from 1 to 32"),
    "a probe that hardly ever looks": ({"tunnels": {"patrolSeconds": 86400}}, "from 5 to 600"),
    "production by plain HTTP": ({"mode": "production"}, "in production url is https"),
    "production with a sign-in for everybody": ({"mode": "production"}, "issuer.development is for trials"),
    "production with our own database": ({"mode": "production"}, "name it in database.url"),
    "production with certificates from here": ({"mode": "production"}, "name their secrets in certificates"),
    "production on a folder of a node": ({"mode": "production"}, "in production the state is on a volume of its own"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_value_is_refused_with_a_sentence(what: str) -> None:
    given, sentence = REFUSED[what]
    assert sentence in refused(given)


def test_production_with_all_that_it_needs_renders_and_makes_no_stand_in() -> None:
    given = {
        "mode": "production", "url": "https://tre.example.org", "previewUrl": "https://preview.example.org", "gateDomain": "tunnels.example.org",
        "issuer": {"url": "https://login.example.org/realms/research", "development": False, "clientSecret": "oidc"},
        "images": {"postgres": "", "redis": ""}, "state": {"hostPath": "", "existingClaim": "state"},
        "database": {"url": "postgresql+psycopg://sulku@db.example.org/sulku", "existingSecret": "db"},
        "redis": {"url": "rediss://redis.example.org:6380/0", "existingSecret": "redis-password"},
        "certificates": {part: f"tls-{part}" for part in PARTS},
        "policies": {"key": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"},
    }  # fmt: skip
    found = rendered(given)
    assert set(pods(found)) == {"broker", "canary", "gateway", "hub", "prepare", "worker"}
    assert faults(found) == set()
    assert not [one for one in found if one["kind"] == "PersistentVolume"]
    assert {to for _, to, _ in opened("egress", found)} == {"broker", "canary", "gateway", "hub"}
    assert "oidc/secret" in seen(pods(found)["broker"])
    ready = pods(found)["worker"]["spec"]["containers"][0]["readinessProbe"]["exec"]["command"]
    assert ":18EC 01" in ready  # port 6380


def test_without_an_image_of_our_parts_there_are_the_accounts_and_the_guards_alone() -> None:
    found = rendered({"images": {"server": ""}})
    assert not pods(found)
    assert {one["kind"] for one in found} == {
        "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Role", "RoleBinding", "ServiceAccount", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }  # fmt: skip


# --- resources -------------------------------------------------------------------------------------------------------------------------

# MiB of each container, ten minutes after an installation on the test cluster, idle; of the worker with its sandbox (docs/how-to/operator)
MEASURED: Final = {"broker": 120, "opa": 28, "gateway": 32, "worker": 255, "hub": 109, "canary": 10, "issuer": 112, "postgres": 56, "redis": 14}


def test_each_part_asks_for_what_it_was_measured_to_use_and_a_quarter_more() -> None:
    """Or a node is promised to more pods than it can hold; a container that is named here is one that runs."""
    asked = {one["name"]: one["resources"] for pod in pods(objects()).values() for one in lasting(pod)}
    assert set(asked) == {*MEASURED, "prepare"}
    for name, used in MEASURED.items():
        assert int(asked[name]["requests"]["memory"].removesuffix("Mi")) >= 1.25 * used, name
