"""The ground on which thousands of tunnels are measured: a real API server, scheduler and controllers, the chart's guards, and kwok for nodes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from broker.adapters.kubernetes_api import Api
from sulku.manifests import TUNNEL
from tests.cluster import images, programs
from tests.cluster.cluster import ADDRESS
from tests.cluster.guarding import CHART, KWOK
from tests.cluster.install import Separate

HOME: Final = "scale"  # where the chart's accounts and guards are, and the records of ends
IMAGE: Final = "registry.example/sulku-workspace@sha256:" + "0" * 64  # nobody fetches it
PODS: Final = "10.64.0.0/16"  # addresses of pods that kwok pretends
CANARY: Final = 7000
KEY: Final = "k" * 64  # of the canary's line
NODES, EACH = 32, 110  # pods on a node: what a kubelet takes unless told otherwise
WATCHED: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
# The controllers write twelve times to each tunnel's volumes: at the 20 calls a second that they come with, 1.7 tunnels a second.
DIFFERENT: Final = {
    "kube-apiserver": ["--feature-gates=WatchList=false"],  # kwok's watches begin as streamed lists, which need an etcd of 3.4.31 or later
    "kube-controller-manager": ["--kube-api-qps=400", "--kube-api-burst=800"],
    "kube-scheduler": ["--kube-api-qps=400", "--kube-api-burst=800"],
}
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_TOTAL: Final = re.compile(r'^apiserver_request_total\{.*,resource="([^"]*)".*,verb="([^"]*)".*\} ([\d.e+]+)$', re.MULTILINE)


class Ground(Separate):
    """A cluster whose nodes are pretended and whose API server, scheduler and controllers are not."""

    order = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "canary")

    def __init__(self, name: str = "scale") -> None:
        """It has a folder and a network of its own."""
        super().__init__(name)

    def command(self, part: str) -> tuple[list[str], str]:
        """As ``Cluster.command``."""
        if part == "kwok":
            config, stages = self._speaks("kwok", KWOK), Path(__file__).with_name("stages.yaml")
            words = [f"--kubeconfig={config}", f"--config={stages}", f"--cidr={PODS}", f"--node-ip={ADDRESS}", "--node-lease-duration-seconds=40"]
            return [str(programs.program("kwok")), *words, "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"], ""
        if part == "canary":
            (self.state / "canary.key").write_text(KEY)
            return ["python3", "-I", str(images.ROOT / "hub/images/python/podcanary.py"), str(CANARY), f"{self.state}/canary.key"], ""
        words, path = super().command(part)
        return [*words, *DIFFERENT.get(part, ())], path

    def _speaks(self, name: str, user: str) -> Path:
        """Write the configuration of somebody who has all rights on nodes and pods, by a token of their own."""
        namespace, account = user.split(":")[2:]
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name}}
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}},
            binding | {"roleRef": role, "subjects": [subject]},
        )
        return self._config(account, namespace)

    def _config(self, account: str, namespace: str) -> Path:
        """Write the configuration of an account, with a token of its own."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": "u", "user": {"token": self.kubectl("create", "token", account, "-n", namespace, "--duration=24h").strip()}}]
        file = self.state / f"{account}.conf"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return file

    def apply(self, *objects: dict[str, Any]) -> None:
        """Have these objects on the cluster."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}), seconds=120)

    def ready(self) -> None:
        """Raise it, with nodes, accounts and guards; every address of its pods is answered by this machine."""
        self.up()
        subprocess.run([*self.entering(), "ip", "route", "replace", "local", PODS, "dev", "lo"], check=True)
        self.apply(*(node(number) for number in range(NODES)))
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}, *guards())
        self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s", seconds=90)

    def worker(self, kind: type[Api] = Api) -> Api:
        """Return the API server as the worker's own account has it; only from inside the cluster's network."""
        return kind.connect(str(self._config("worker", HOME)))

    # --- what is measured -------------------------------------------------------------------------------------------

    def memory(self) -> dict[str, float]:
        """Return part → resident memory in MiB."""
        return {part: resident(self.pid(part)) for part in WATCHED}

    def spent(self) -> dict[str, float]:
        """Return part → seconds of processor time since it began."""
        return {part: processor(self.pid(part)) for part in WATCHED}

    def asked(self) -> Counter[str]:
        """Return what the API server was asked by everybody, ``verb resource`` → how often."""
        found: Counter[str] = Counter()
        for resource, verb, number in _TOTAL.findall(self.kubectl("get", "--raw", "/metrics")):
            found[f"{verb} {resource}"] += int(float(number))
        return found

    def settled(self, seconds: float) -> float:
        """Wait until no tunnel's namespace or volume is left; return how many seconds that took."""
        began = time.monotonic()
        while names := self.kubectl("get", "ns,pv", "-l", TUNNEL, "-o", "name"):
            assert time.monotonic() - began < seconds, f"{len(names.split())} objects are still there"
            time.sleep(1)
        return time.monotonic() - began


def node(number: int) -> dict[str, Any]:
    """Return a node that kwok pretends, with room for 110 pods."""
    name, room = f"pretended-{number}", {"cpu": "64", "memory": "256Gi", "pods": str(EACH)}
    about = {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"kubernetes.io/hostname": name}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": about, "status": {"allocatable": room, "capacity": room}}


def guards() -> list[dict[str, Any]]:
    """Return the chart's accounts and guards, and nothing else of it."""
    volumes = {"hostPath": ["/srv/datasets", "/srv/homes"]}
    tunnels = {"images": [IMAGE], "userNamespaces": False, "volumes": volumes, "longest": 43200, "runtimeClass": {"create": True}}
    given = json.dumps({"tunnels": tunnels, "guards": {"kubelets": [KWOK]}})
    command = [str(programs.program("helm")), "template", HOME, str(CHART), "-n", HOME, "--kube-version", programs.KUBERNETES, "-f", "-"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def resident(pid: int, which: str = "VmRSS") -> float:
    """Return the resident memory of a process in MiB, or with ``VmHWM`` the most that it ever had."""
    found = re.search(rf"^{which}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def processor(pid: int) -> float:
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def ground(name: str = "scale") -> Iterator[Ground]:
    """Give one that is ready; nothing of it is left afterwards."""
    made = Ground(name)
    try:
        made.ready()
        yield made
    finally:
        made.down()
        subprocess.run(["rm", "-rf", str(made.state)], check=False)
