"""What the cluster's tests share: a broker's hands on the cluster, plans, datasets on the node, a canary, and a look from outside."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from broker.adapters.kubernetes import Canary, Cluster, Surroundings
from broker.adapters.kubernetes_api import Api
from sulku import ids
from sulku.manifests import TUNNEL, Place
from sulku.plan import MIB, Limits, Volume, WorkspacePlan
from tests.cluster import images
from tests.cluster.cluster import ADDRESS
from tests.cluster.cluster import Cluster as Real
from tests.soon import soon

CONTROLLER: Final = (ADDRESS, 20244)  # of network policies: where it says that it lives

HOME: Final = "sulku-bench"  # our own namespace
CANARY: Final = 7000
GATEWAY: Final = {"app.kubernetes.io/component": "gateway"}
_SECURE: Final = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True, "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def key(cluster: Real) -> str:
    """Return the canary's key: the same for everybody who tests on this cluster at the same time."""
    return hashlib.sha256((cluster.state / "pki" / "sa.key").read_bytes()).hexdigest()


def token(tunnel: str) -> str:
    """Return a workspace's token, derived as the broker does."""
    return hmac.new(b"t" * 32, tunnel.encode(), "sha256").hexdigest()


def canary_of(cluster: Real) -> str:
    """Return the name of the canary of this image and this cluster: who runs another image beside us has another canary."""
    return f"canary-{hashlib.sha256(f'{images.workspace()[1]} {key(cluster)}'.encode()).hexdigest()[:10]}"


def prepare(cluster: Real, folder: Path) -> Path:
    """Make our namespace, the runtime class, a canary that everybody may reach if the network lets them, and a dataset."""
    name = canary_of(cluster)
    canary = {
        "name": "canary",
        "image": images.workspace()[1],
        "imagePullPolicy": "Never",
        "command": ["/opt/workspace/bin/python", "-I", "/opt/sulku/podcanary.py", str(CANARY), "/run/key/key"],
        "securityContext": _SECURE,
        "volumeMounts": [{"name": "key", "mountPath": "/run/key"}],
    }
    pod = {"containers": [canary], "volumes": [{"name": "key", "secret": {"secretName": "canary"}}], "automountServiceAccountToken": False}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canary", "namespace": HOME}, "stringData": {"key": key(cluster)}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": HOME, "labels": {"app": "canary"}}, "spec": pod},
    ]
    cluster.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    for other in cluster.get("pods", "-l", "app=canary", "-n", HOME)["items"]:
        if other["metadata"]["name"] != name and now() - datetime.fromisoformat(other["metadata"]["creationTimestamp"]) > timedelta(hours=2):
            cluster.kubectl("delete", "pod", other["metadata"]["name"], "-n", HOME, "--ignore-not-found", "--grace-period=1")
    cluster.kubectl("wait", "-n", HOME, "--for=condition=Ready", f"pod/{name}", "--timeout=60s", seconds=90)
    return stocked(folder)


def stocked(folder: Path) -> Path:
    """Return a folder of the node with a dataset, for whoever's guards let nobody else have volumes from where theirs are."""
    (folder / "datasets" / "flchain" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "datasets" / "flchain" / "1" / "persons.csv").write_text("id,age\n1,61\n2,74\n")
    for one in (folder / "datasets" / "flchain").rglob("*"):
        one.chmod(0o777)  # so that nothing but the mount keeps anybody from writing
    for place in (folder, *folder.parents):
        if place.stat().st_uid == 0 and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o055)
    return folder


def controller_answers() -> bool:
    """Return whether the controller of network policies lives."""
    try:
        socket.create_connection(CONTROLLER, 1).close()
    except OSError:
        return False
    return True


class Bench:
    """A worker's hands on the cluster, for one kind of isolation."""

    def __init__(self, cluster: Real, folder: Path, runtime: str) -> None:
        """Find the canary."""
        self.cluster, self.folder, self.runtime = cluster, folder, runtime
        self.api = Api.connect(str(cluster.kubeconfig))
        self.canary = Canary(self.pod(canary_of(cluster), HOME)["status"]["podIP"], CANARY, key(cluster))
        self.plans: list[WorkspacePlan] = []
        self.tunnels = self.hands()

    def place(self, **changes: Any) -> Place:
        """Return what an operator decided, with changes."""
        weak = self.runtime == "runc"
        decided: dict[str, Any] = {
            "image": images.workspace()[1],
            "runtime_class": "" if weak else self.runtime,
            "gateway": (HOME, GATEWAY),
            "datasets": {"hostPath": {"path": f"{self.folder}/datasets/{{view}}", "type": "Directory"}},
            "homes": {"hostPath": {"path": f"{self.folder}/homes/{{permit}}/{{person}}", "type": "DirectoryOrCreate"}},
            "user_namespace": False,
            "weak_isolation": weak,
            "pull": "Never",
        }
        return Place(**decided | changes)

    def hands(self, place: Place | None = None, targets: tuple[tuple[str, str, str, int], ...] | None = None) -> Cluster:
        """Return another worker's view of the same cluster."""
        around = Surroundings(targets or self.targets(), self.canary)
        return Cluster(self.api, place or self.place(), around, home=HOME, secret="s" * 32, token=token, now=now, sources=sources)

    def targets(self) -> tuple[tuple[str, str, str, int], ...]:
        """Return what a pod here must not reach."""
        canary = self.canary.host
        return (
            ("canary-tcp", "tcp", canary, CANARY),
            ("canary-udp", "udp", canary, CANARY),
            ("canary-icmp", "icmp", canary, 0),
            ("api-service", "tcp", "10.96.0.1", 443),
            ("api-address", "tcp", ADDRESS, 6443),
            ("dns-udp", "udp", "10.96.0.10", 53),
            ("dns-tcp", "tcp", "10.96.0.10", 53),
            ("node-kubelet", "tcp", ADDRESS, 10250),
            ("node-icmp", "icmp", ADDRESS, 0),
            ("neighbour-tcp", "tcp", canary, CANARY + 1),
            ("metadata", "tcp", "169.254.169.254", 80),
            ("broker", "tcp", canary, CANARY + 1),
            ("ipv6-tcp", "tcp", "fd00:53::1", 7000),
            ("ipv6-udp", "udp", "fd00:53::1", 7000),
        )

    def plan(self, *, seconds: float = 6000) -> WorkspacePlan:
        """Return a plan with one dataset and a home of its own."""
        tunnel = ids.new("tun")
        plan = WorkspacePlan(
            tunnel=tunnel, person=ids.new("usr"), permit=ids.new("per"), title="Survival",
            deadline=now() + timedelta(seconds=seconds), datasets=("flchain",), home="/homes/x",
            token=token(tunnel), limits=Limits(home=32 * MIB, memory=1024 * MIB),
        )  # fmt: skip
        home = self.folder / "homes" / plan.permit / plan.person
        home.mkdir(parents=True)
        home.chmod(0o777)
        self.plans.append(plan)
        return plan

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """What every plan of ours mounts."""
        return (Volume("flchain", "flchain"),)

    def opened(self, plan: WorkspacePlan | None = None) -> WorkspacePlan:
        """Return a plan whose workspace is proved, has its data, and answers."""
        plan = plan or self.plan()
        report = self.tunnels.start(plan)
        assert report.closed, report.problems
        self.tunnels.release(plan.tunnel, self.volumes)
        self.tunnels.wait_ready(plan.tunnel, 60)
        return plan

    def pod(self, name: str, namespace: str) -> dict[str, Any]:
        """Return a pod as the API server has it."""
        return dict(self.cluster.get("pod", name, "-n", namespace))

    def left_behind(self, tunnel: str) -> list[str]:
        """Return every object of the cluster, and every process of the node, that is of a tunnel."""
        space = ids.label(tunnel)
        wide = self.cluster.get("ns,pv", "-l", f"{TUNNEL}={space}")["items"]
        found = [f"{one['kind']} {one['metadata']['name']}" for one in wide]
        ours = f"/{space}_".encode()
        for entry in Path("/proc").iterdir():
            try:
                found += [f"process {entry.name}"] if entry.name.isdigit() and ours in (entry / "mountinfo").read_bytes() else []
            except OSError:
                continue
        return found

    def clear(self) -> None:
        """Destroy what the test left."""
        for plan in self.plans:
            if self.tunnels.status(plan.tunnel) is not None:
                self.tunnels.stop(plan.tunnel)
                self.tunnels.acknowledge(plan.tunnel)
        assert soon(lambda: not [one for plan in self.plans for one in self.left_behind(plan.tunnel)])


def sources(plan: WorkspacePlan) -> Mapping[str, Mapping[str, str]]:
    """Return what fills the braces for a plan's datasets: the view is a folder below ``datasets``."""
    return {name: {"name": name, "version": "1", "view": f"{name}/1"} for name in plan.datasets}
