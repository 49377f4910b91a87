"""The whole of sulku on a test cluster: built, loaded, installed by Helm, found by its names, and removed again."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import yaml

from tests.cluster import images, programs
from tests.cluster.cluster import Cluster

CHART: Final = images.ROOT / "helm" / "sulku"
VALUES: Final = CHART / "ci" / "values.yaml"
OWNER: Final = 1000  # whom our pods run as
PARTS: Final = ("broker", "canary", "gateway", "hub", "issuer", "postgres", "redis", "worker")


class Separate(Cluster):
    """A cluster beside the shared one: the chart's guards hold for all of a cluster, so that nobody else could open tunnels there."""

    def __init__(self, name: str = "install") -> None:
        """It stays for the next run, like the shared one; those of different names know nothing of each other."""
        super().__init__(programs.CACHE.parent / f"cluster-{name}", f"sulku-{name}")

    def start(self, part: str) -> None:
        """Start a component; kubelets clear up the logs of pods that are not theirs, so each has a folder of its own."""
        if part == "kubelet":
            file = self.state / "kubelet.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"podLogsDir": f"{self.state}/pods"}))
        super().start(part)


class Installed:
    """sulku on ``cluster`` while the block lasts. The cluster must be up; nothing else may need tunnels on it.

    Attributes:
        cluster: Where.
        folder: Of state and database on the node.
        namespace: Of our own parts.
        values: What the operator decided, as the chart has it.
    """

    def __init__(self, cluster: Cluster, folder: Path, values: Mapping[str, Any] | None = None, namespace: str = "sulku") -> None:
        """Keep what to install; ``values`` go over those of the chart's ``ci/values.yaml`` and ours."""
        self.cluster, self.folder, self.namespace = cluster, folder, namespace
        self.values = merged(yaml.safe_load(VALUES.read_text()), merged(self._ours(), values or {}))

    def _ours(self) -> dict[str, Any]:
        """Return what differs here from the sample: images that are on the node, folders that are there."""
        state = f"{self.folder}/state"
        return {
            "images": {
                "server": images.server()[1], "opa": images.opa()[1], "postgres": images.debian("postgres")[1],
                "redis": images.debian("redis")[1], "pull": "Never",
            },
            "state": {"hostPath": state},
            "database": {"own": {"hostPath": f"{self.folder}/postgres"}},
            "gateway": {"reportSeconds": 100},  # less than who removes all of it waits
            "tunnels": {
                "images": [images.workspace()[1]],
                "runtimeClass": {"create": True},
                "datasets": {"hostPath": {"path": f"{state}/vault/views/{{view}}", "type": "Directory"}},
                "homes": {"hostPath": {"path": f"{state}/homes/{{permit}}/{{person}}/files", "type": "Directory"}},
                "volumes": {"csi": [], "nfs": [], "hostPath": [f"{state}/vault/views", f"{state}/homes"]},
            },
        }  # fmt: skip

    def __enter__(self) -> Self:
        """Load the images, make the folders, install, and wait until every part is ready; one installation at a time on a cluster."""
        self._turn = (self.cluster.state / "installation").open("w")
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            self.load()
            if self.helm("list", "--all", "--short").split():  # of a run that was killed
                self.clear()
            self._install()
        except BaseException:
            self._turn.close()
            raise
        return self

    def _install(self) -> None:
        for name in ("state", "postgres"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            os.chown(self.folder / name, OWNER, OWNER)
            (self.folder / name).chmod(0o700)
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": restricted}}
        self.cluster.kubectl("apply", "-f", "-", given=json.dumps(space))
        self.helm("upgrade", "--install", "sulku", str(CHART), given=self.values)
        self.wait()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Uninstall, and forget the secrets that a release keeps, the namespace and the files."""
        self.clear()
        for name in ("state", "postgres"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self._turn.close()

    def clear(self) -> None:
        """Remove the release, the namespace with the secrets, and the volumes; also what failed half-way. May be repeated."""
        self.helm("uninstall", "sulku", "--ignore-not-found")
        self.cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", seconds=180)
        self.cluster.kubectl("wait", "--for=delete", "pv", "-l", "app.kubernetes.io/name=sulku", "--timeout=60s", seconds=90)

    def load(self) -> None:
        """Bring the images that are not there onto the node, and remove their forerunners."""
        there = self.cluster._ctr("images", "ls", "-q").split()
        debian = [images.debian(name) for name in ("postgres", "redis")]
        for archive, name in ((images.pause(), "localhost/pause:1"), images.workspace(), images.server(), images.opa(), *debian):
            if name not in there:
                self.cluster.load(archive)
            if old := [one for one in there if one != name and one.startswith(f"{name.rpartition(':')[0]}:")]:
                self.cluster._ctr("images", "rm", *old)

    def helm(self, *words: str, given: Mapping[str, Any] | None = None, seconds: float = 120) -> str:
        """Run helm in our namespace and return what it printed; AssertionError with what it said if it failed."""
        command = [*self.cluster.entering(), str(programs.program("helm")), "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.namespace]
        more = ["-f", "-"] if given is not None else []
        done = subprocess.run([*command, *words, *more], input=json.dumps(given), capture_output=True, text=True, check=False, timeout=seconds)
        assert done.returncode == 0, f"helm {words[0]}: {done.stderr}"
        return done.stdout

    def upgrade(self, values: Mapping[str, Any]) -> str:
        """Change values, wait until every part is ready, and return what helm printed."""
        self.values = merged(self.values, values)
        said = self.helm("upgrade", "sulku", str(CHART), given=self.values)
        self.wait()
        return said

    def uninstall(self) -> None:
        """Remove the release and its pods; secrets that a release keeps, and files, stay. May be repeated."""
        self.helm("uninstall", "sulku", "--ignore-not-found", "--wait", seconds=180)

    def wait(self, seconds: float = 240) -> None:
        """Return when every part has rolled out; AssertionError with what the pods say if that takes longer."""
        until = time.monotonic() + seconds
        for kind in ("deployment", "statefulset"):
            for name in self.kubectl("get", kind, "-o", "name").split():
                left = max(1, int(until - time.monotonic()))
                said = self.kubectl("rollout", "status", name, f"--timeout={left}s", seconds=left + 30, check=False)
                assert "roll out complete" in said or "successfully rolled out" in said, f"{name}: {said}\n{self.told()}"

    def told(self) -> str:
        """Return the state of every pod, and the last lines of each that is not ready."""
        lines = [self.kubectl("get", "pods", "-o", "wide")]
        for pod in self.pods():
            if not all(one["ready"] for one in pod["status"].get("containerStatuses", [{"ready": False}])):
                name = pod["metadata"]["name"]
                lines += [name, self.kubectl("logs", name, "--all-containers", "--tail=20", check=False)]
                lines += [self.kubectl("get", "events", "--field-selector", f"involvedObject.name={name}", check=False)]
        return "\n".join(lines)

    def kubectl(self, *words: str, **options: Any) -> str:
        """Run kubectl in our namespace."""
        return self.cluster.kubectl("-n", self.namespace, *words, **options)

    def pods(self, part: str = "") -> list[dict[str, Any]]:
        """Return the pods of a part, or all."""
        chosen = ["-l", f"app.kubernetes.io/component={part}"] if part else []
        return list(self.cluster.get("pods", "-n", self.namespace, *chosen)["items"])

    def kill(self, part: str) -> None:
        """Kill -9 every container of a part; Kubernetes starts it again. Policy (``opa``) runs beside those who ask."""
        asked = {"broker", "worker"} if part == "opa" else {part}
        for pod in self.pods():
            if pod["metadata"]["labels"].get("app.kubernetes.io/component") in asked:
                self.cluster.slay(pod, part)

    def logs(self, part: str, lines: int = 200) -> str:
        """Return what the containers of a part wrote."""
        return self.kubectl("logs", "-l", f"app.kubernetes.io/component={part}", "--all-containers", "--prefix", f"--tail={lines}", check=False)

    @property
    def url(self) -> str:
        """Address of the pages."""
        return str(self.values["url"])

    def resolve(self, host: str) -> str:
        """Return the address at which a client in the cluster's network finds a public name of ours: that of a service.

        Raises:
            KeyError: It is none of ours.
        """
        domain = self.values["gateDomain"].partition(":")[0]
        named = {name: urlsplit(address).hostname for name, address in (("broker", self.url), ("issuer", self.values["issuer"]["url"]))}
        for service, name in (*named.items(), ("broker", urlsplit(self.values["previewUrl"]).hostname)):
            if host == name:
                return str(self.values["services"][service]["clusterIP"])
        if host.endswith(f".{domain}"):
            return str(self.values["services"]["gateway"]["clusterIP"])
        raise KeyError(host)

    @contextmanager
    def found(self) -> Iterator[None]:
        """Have this process find our names, as its own resolver would; it must have joined the cluster's network to get there."""
        usual = socket.getaddrinfo

        def ours(host: Any, *rest: Any, **more: Any) -> Any:
            with suppress(KeyError):
                host = self.resolve(str(host))
            return usual(host, *rest, **more)

        socket.getaddrinfo = ours
        try:
            yield
        finally:
            socket.getaddrinfo = usual

    @property
    def rules(self) -> str:
        """The same for a browser: Chromium's ``--host-resolver-rules``, the first that fits."""
        domain = self.values["gateDomain"].partition(":")[0]
        named = [urlsplit(address).hostname or "" for address in (self.url, self.values["previewUrl"], self.values["issuer"]["url"])]
        return ", ".join(f"MAP {host} {self.resolve(host)}" for host in named) + f", MAP *.{domain} {self.resolve(f'gate.{domain}')}"

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of a page, asked for from inside the cluster's network; redirects are not followed."""
        where = urlsplit(url)

        def ask() -> tuple[int, Mapping[str, str], bytes]:
            self.cluster.join()  # this thread alone
            line = http.client.HTTPConnection(self.resolve(where.hostname or ""), where.port or 80, timeout=20)
            with closing(line):
                line.request("GET", f"{where.path or '/'}{f'?{where.query}' if where.query else ''}", headers={"Host": where.netloc, **(headers or {})})
                answer = line.getresponse()
                return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ask).result()


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``under`` with ``over`` on top, objects merged and everything else replaced, as Helm does."""
    found = dict(under)
    for key, value in over.items():
        found[key] = merged(found[key], value) if isinstance(value, Mapping) and isinstance(found.get(key), Mapping) else value
    return found


def main() -> int:
    """`python -m tests.cluster.install up|down`: install it on the separate cluster and leave it, or take both away."""
    cluster = Separate()
    folder = Path("/var/tmp/sulku-install")
    if sys.argv[1:] == ["down"]:
        cluster.down()
        shutil.rmtree(cluster.state, ignore_errors=True)
        return 0
    installed = Installed(cluster, folder)
    cluster.up(lambda part: print(f"  {part}", flush=True))
    installed.__enter__()
    print(installed.kubectl("get", "pods", "-o", "wide"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
