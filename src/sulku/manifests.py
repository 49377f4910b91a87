"""A tunnel on Kubernetes, as data: a namespace of its own, closed both ways, with one pod that ends by itself."""

# ruff: noqa: S108 -- these paths are inside the workspace, each on a file system of its own
from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sulku import ids
from sulku.errors import ConfigurationError
from sulku.plan import HOME, MIB, PROGRAMS, UID, EndRecord, WorkspacePlan, environment, notice

__all__ = [
    "CLAIMS", "DOMAIN", "KEY", "OWNER", "POD", "PROBE", "PROBE_PORT", "PROVE", "TUNNEL", "WORDS", "WORKSPACE", "WORKSPACE_PORT", "Manifest",
    "Overview", "Place", "manifests", "namespace_of", "volume_names",
]  # fmt: skip

Manifest = dict[str, Any]  # one Kubernetes object, as its API takes it

DOMAIN: Final = "sulku.internal"  # of labels; .internal is reserved for private use (ICANN board resolution 2024.07.29.06)
TUNNEL: Final = f"{DOMAIN}/tunnel"  # the label that the guards of the cluster look for
OWNER: Final = f"{DOMAIN}/installation"  # label: the namespace of the installation that made it; there may be others on a cluster
CLAIMS: Final = f"{DOMAIN}/claims"  # note at the namespace: the claims in it, so that whoever ends it needs no list of volumes
POD: Final = "workspace"
PROVE, PROBE, WORKSPACE = "prove", "probe", "workspace"  # containers: before, beside, and the workspace itself
WORKSPACE_PORT: Final = 8888
PROBE_PORT: Final = 8889
KEY: Final = "tunnel"  # the secret: workspace token, probe key, what the person inside may know
WORDS: Final = "/root/last-words"  # what a container leaves there goes into the pod's status; nobody inside may enter /root
_PYTHON: Final = "/opt/workspace/bin/python"
_SMALL: Final = {"cpu": "50m", "memory": "64Mi"}


@dataclass(frozen=True, slots=True)
class Place:
    """What the cluster's operator decides once for all tunnels.

    Attributes:
        image: Of the workspace, by digest in production.
        runtime_class: Of the pod, such as ``gvisor``. Empty must be meant: ``weak_isolation`` says so.
        gateway: Namespace and labels of the only pods that may connect.
        datasets: A volume source of Kubernetes, with ``{view}``, ``{dataset}``, ``{version}`` and ``{name}`` in its strings. The view is
            the folder in which the vault laid out exactly what the grant opens.
        homes: The same for homes, with ``{permit}`` and ``{person}``.
        user_namespace: Whether root inside is nobody outside (``hostUsers: false``); the cluster must be able to.
        weak_isolation: Run tunnels on the node's own kernel, without a sandbox runtime.
        labels: More labels for each namespace.

    Raises:
        ConfigurationError: No runtime class, and weak isolation is not meant; or a pattern by which two would share a home.
    """

    image: str
    runtime_class: str
    gateway: tuple[str, Mapping[str, str]]
    datasets: Mapping[str, Any]
    homes: Mapping[str, Any]
    user_namespace: bool = True
    weak_isolation: bool = False
    pull: str = "IfNotPresent"
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an isolation that is weaker than anybody decided."""
        if not self.runtime_class and not self.weak_isolation:
            raise ConfigurationError("no runtime class isolates the tunnels' kernel from the node's")
        if missing := [name for name in ("{permit}", "{person}") if name not in json.dumps(dict(self.homes))]:
            raise ConfigurationError(f"the homes' pattern is without {' and '.join(missing)}: two would share one")


@dataclass(frozen=True, slots=True)
class Overview:
    """All tunnels of one installation at a glance.

    Attributes:
        tunnels: Every one that has a namespace, whatever its state.
        stopped: Those of them whose pod has ended by itself: its deadline, or a crash. Their ends are still to be finished.
        records: Of ends that are not acknowledged, oldest first.
    """

    tunnels: frozenset[str]
    stopped: tuple[str, ...]
    records: tuple[EndRecord, ...]


def namespace_of(tunnel: str) -> str:
    """Return the namespace of ``tunnel``: ``t-…``, the name that it has as a host as well."""
    return ids.label(tunnel)


def volume_names(plan: WorkspacePlan) -> dict[str, str]:
    """Return name (a dataset's, or ``""`` for the home) → claim; a claim says nothing of what is in it."""
    return {name: f"data-{place}" for place, name in enumerate(plan.datasets)} | {"": "home"}


def manifests(
    plan: WorkspacePlan,
    place: Place,
    *,
    seconds: int,
    probe_key: str,
    filters: Mapping[str, bytes],
    sources: Mapping[str, Mapping[str, str]],
) -> tuple[Manifest, ...]:
    """Return every object of a tunnel in the order in which they are to be made; the pod is the last.

    Args:
        seconds: Left until the deadline; the kubelet ends the pod by it.
        probe_key: Shared by the broker and the probe; the workspace's own container does not see it.
        filters: Machine (as ``uname -m``) → system call filter, which the pod's programs put on before anything else.
        sources: For each of the plan's datasets what fills the braces of ``place.datasets``.
    """
    home = {"permit": plan.permit, "person": plan.person}
    claims = volume_names(plan)
    volumes = [_volume(plan, claims[name], _filled(place.datasets, sources[name]), "ReadOnlyMany") for name in plan.datasets]
    volumes.append(_volume(plan, claims[""], _filled(place.homes, home), "ReadWriteOnce", plan.limits.home))
    space = namespace_of(plan.tunnel)
    inside = [*_closed(place), *_bounded(plan), _secret(plan, probe_key, filters)]
    inside += [_claim(volume) for volume in volumes]
    inside.append(_pod(plan, place, seconds, sorted(filters)))
    for one in inside:
        one["metadata"] |= {"namespace": space}
    whole = (_namespace(plan, place), *volumes, *inside)
    for one in whole:
        one["metadata"]["labels"] = {**one["metadata"].get("labels", {}), TUNNEL: space, OWNER: place.gateway[0]}
    return whole


def _namespace(plan: WorkspacePlan, place: Place) -> Manifest:
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    space = namespace_of(plan.tunnel)
    labels = {**place.labels, **level, "pod-security.kubernetes.io/enforce-version": "latest"}
    notes = {f"{DOMAIN}/permit": plan.permit, f"{DOMAIN}/deadline": f"{plan.deadline:%Y-%m-%dT%H:%M:%SZ}"}
    notes[CLAIMS] = " ".join(volume_names(plan).values())
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": labels, "annotations": notes}}


def _closed(place: Place) -> list[Manifest]:
    """Nothing goes out; nothing comes in, but from the gateway to the two ports."""
    space, labels = place.gateway
    gateway = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
        "podSelector": {"matchLabels": dict(labels)},
    }
    ports = [{"protocol": "TCP", "port": port} for port in (WORKSPACE_PORT, PROBE_PORT)]
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{"from": [gateway], "ports": ports}], "egress": []}
    return [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"}, "spec": spec}]


def _bounded(plan: WorkspacePlan) -> list[Manifest]:
    """No pod without an end, none but the one, nothing else that could run or listen, and bounds where none are said."""
    nothing = ("services", "replicationcontrollers", "deployments.apps", "statefulsets.apps", "jobs.batch", "cronjobs.batch")
    counts = {f"count/{name}": "0" for name in nothing} | {"count/secrets": "1", "count/pods": "1"}
    bounds = {"pods": "1", "limits.memory": str(plan.limits.memory + 512 * MIB)}
    memory = str(plan.limits.memory + 256 * MIB)
    most = {"max": {"memory": memory}, "default": {"memory": memory}, "defaultRequest": _SMALL, "type": "Container"}
    return [
        _quota("endless", {"pods": "0"}, ["NotTerminating"]),
        _quota("one", bounds | counts, []),
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}, "spec": {"limits": [most]}},
    ]


def _quota(name: str, hard: dict[str, str], scopes: list[str]) -> Manifest:
    spec: Manifest = {"hard": hard, **({"scopes": scopes} if scopes else {})}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}


def _secret(plan: WorkspacePlan, probe_key: str, filters: Mapping[str, bytes]) -> Manifest:
    data = {"token": plan.token.encode(), "probe-key": probe_key.encode(), "tunnel.json": notice(plan)}
    data |= {f"filter-{machine}": program for machine, program in sorted(filters.items())}
    encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEY}, "immutable": True, "type": "Opaque", "data": encoded}


def _filled(source: Mapping[str, Any], values: Mapping[str, str]) -> Manifest:
    """Return ``source`` with the braces of its strings filled in."""
    text = json.dumps(source)
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", json.dumps(value)[1:-1])
    return dict(json.loads(text))


def _volume(plan: WorkspacePlan, claim: str, source: Manifest, mode: str, size: int = MIB) -> Manifest:
    """Return a volume that only this tunnel's claim can have, and whose content is not destroyed with it."""
    space = namespace_of(plan.tunnel)
    spec = {
        **source,
        "capacity": {"storage": str(size)},
        "accessModes": [mode],
        "storageClassName": "",
        "volumeMode": "Filesystem",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": space, "name": claim},
    }
    about = {"name": f"{space}-{claim}", "finalizers": ["kubernetes.io/pv-protection"]}  # as a controller would write a moment later
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": about, "spec": spec}


def _claim(volume: Manifest) -> Manifest:
    spec = volume["spec"]
    wanted = {
        "accessModes": spec["accessModes"],
        "storageClassName": "",
        "volumeName": volume["metadata"]["name"],
        "resources": {"requests": spec["capacity"]},
    }
    about = {"name": spec["claimRef"]["name"], "finalizers": ["kubernetes.io/pvc-protection"]}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": wanted}


def _pod(plan: WorkspacePlan, place: Place, seconds: int, filters: Iterable[str]) -> Manifest:
    spec: Manifest = {
        "activeDeadlineSeconds": max(1, seconds),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},  # nobody listens there; a pod must name one
        "hostname": POD,
        "setHostnameAsFQDN": False,
        "shareProcessNamespace": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "net.ipv4.ping_group_range", "value": "1 0"}],  # nobody: network policies let pings through
        },
        "initContainers": [_probing(PROVE, place), {**_probing(PROBE, place), "restartPolicy": "Always"}],
        "containers": [_workspace(plan, place)],
        "volumes": _volumes(plan, filters),
    }  # fmt: skip
    if place.runtime_class:
        spec["runtimeClassName"] = place.runtime_class
    if place.user_namespace:
        spec["hostUsers"] = False
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}


def _volumes(plan: WorkspacePlan, filters: Iterable[str]) -> list[Manifest]:
    def secret(name: str, *keys: str) -> Manifest:
        items = [{"key": key, "path": key, "mode": 0o440} for key in keys]
        return {"name": name, "secret": {"secretName": KEY, "items": items}}

    claimed = [
        {"name": claim, "persistentVolumeClaim": {"claimName": claim, "readOnly": bool(name)}} for name, claim in volume_names(plan).items()
    ]
    room = {"tmp": plan.limits.scratch, "shm": plan.limits.shared}
    memory = [{"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}} for name, size in room.items()]
    own = ("tunnel.json", *(f"filter-{machine}" for machine in filters))
    return [*claimed, *memory, secret("told", "token", *own), secret("key", "probe-key", *own)]


def _contained(name: str, place: Place, command: list[str]) -> Manifest:
    return {
        "name": name,
        "image": place.image,
        "imagePullPolicy": place.pull,
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "privileged": False,
            "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": WORDS, "terminationMessagePolicy": "File",
    }  # fmt: skip


def _probing(name: str, place: Place) -> Manifest:
    mounts = [{"name": "key", "mountPath": "/run/sulku", "readOnly": True}]
    ports = [{"containerPort": PROBE_PORT, "name": name}]
    bounds = {"requests": _SMALL, "limits": {"memory": "128Mi"}}
    command = [_PYTHON, "-I", f"{PROGRAMS}/podprobe.py", name, str(PROBE_PORT)]
    return {**_contained(name, place, command), "ports": ports, "volumeMounts": mounts, "resources": bounds}


def _workspace(plan: WorkspacePlan, place: Place) -> Manifest:
    claims = volume_names(plan)
    mounts: list[Manifest] = [{"name": claims[name], "mountPath": f"/data/{name}", "readOnly": True} for name in plan.datasets]
    mounts += [
        {"name": claims[""], "mountPath": HOME},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "told", "mountPath": "/run/sulku", "readOnly": True},
    ]
    bounds = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": str(plan.limits.memory)}}
    command = [_PYTHON, "-I", f"{PROGRAMS}/podboot.py", str(WORKSPACE_PORT)]
    ports = [{"containerPort": WORKSPACE_PORT, "name": "workspace"}]
    surroundings = [{"name": name, "value": value} for name, value in environment(plan).items()]
    about = {"env": surroundings, "ports": ports, "volumeMounts": mounts, "resources": bounds}
    return {**_contained(WORKSPACE, place, command), **about}
