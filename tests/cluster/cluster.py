"""A real one-node Kubernetes in a network namespace of its own: containerd, gVisor, network policy, DNS. No way out of it.

`python -m tests.cluster.cluster up` (`make cluster-up`) raises it, `down` (`make cluster-down`) leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from broker.adapters import linux
from broker.adapters.kubernetes_endings import containers
from tests.cluster import components, pki, programs

ADDRESS: Final = "198.18.0.10"  # of the node; from the block for benchmarks, which nobody routes
NODE: Final = "n1"
CLONE_NEWNET: Final = 0x4000_0000
ORDER: Final = ("etcd", "containerd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "netpol", "dns")


class ClusterError(AssertionError):
    """A part of the cluster did not come up; the message ends with what it said."""


class Cluster:
    """The cluster of one state folder.

    Attributes:
        state: Its folder: certificates, logs, pid files, the kubelet's and containerd's data.
        name: Of the network namespace, ``/run/netns/<name>``.
        order: Its parts, in the order in which they start.
    """

    order: tuple[str, ...] = ORDER

    def __init__(self, state: Path, name: str = "sulku") -> None:
        """Keep where it is; nothing happens yet."""
        self.state, self.name = state, name

    # --- from outside -----------------------------------------------------------------------------------------------

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Raise it; parts that run are left as they are.

        Raises:
            ClusterError: A part ended or does not answer.
        """
        for folder in ("log", "run", "etcd", "kubelet", "containerd", "cni-bin", "cni", "bin"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        self._network()
        pki.issue(self.state / "pki", ADDRESS)
        components.configure(self.state)
        kubelet = str(self.state / "kubelet")
        if not any(line.split()[4] == kubelet for line in Path("/proc/self/mountinfo").read_text().splitlines()):
            linux.mount(kubelet, kubelet, "", linux.MS_BIND)
            linux.mount("", kubelet, "", 1 << 20)  # MS_SHARED: or no volume driver can hand a mount to a pod
        for part in self.order:
            say(part)
            self.start(part)
            if ready := {"kube-apiserver": self._api_ready, "kubelet": self._node_ready, "kube-proxy": self._services_ready}.get(part):
                self._until(part, ready)
        self.kubectl("apply", "-f", "-", given=components.DNS_SERVICE.replace("ADDRESS", ADDRESS))

    def _network(self) -> None:
        """Make the namespace: a veth pair with both ends inside, the default route into it."""
        if Path(f"/run/netns/{self.name}").exists():
            made = subprocess.run(["ip", "-n", self.name, "-o", "addr", "show", "dev", "eth0"], capture_output=True, text=True, check=False).stdout
            if f"inet {ADDRESS}/" in made:
                return
            subprocess.run(["ip", "netns", "del", self.name], check=True)  # of somebody who was killed while making it
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        for line in (
            "ip link set lo up", "ip link add eth0 type veth peer name eth0p", "ip link set eth0p up",
            f"ip addr add {ADDRESS}/24 dev eth0", "ip link set eth0 up", "ip route replace default dev eth0",
            "sysctl -qw net.ipv4.ip_forward=1",
        ):  # fmt: skip
            subprocess.run([*self.entering(), *line.split()], check=True)

    def entering(self) -> tuple[str, ...]:
        """Return the words before a command that shall run inside (`ip netns exec` would hide the control groups)."""
        return ("nsenter", f"--net=/run/netns/{self.name}")

    def join(self) -> None:
        """Move this thread, and those it starts, into the cluster's network for good."""
        with Path(f"/run/netns/{self.name}").open() as space:
            linux.setns(space.fileno(), CLONE_NEWNET)

    def start(self, part: str) -> None:
        """Start one component if it does not run."""
        if self.pid(part):
            return
        command, path = self.command(part)
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
        log = str(self.state / "log" / f"{part}.log")
        files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)]
        words = ["env", f"--chdir={self.state}", *self.entering(), *command]
        pid = os.posix_spawnp("env", words, environment, file_actions=[*files, (os.POSIX_SPAWN_DUP2, 1, 2)], setsid=True)
        (self.state / "run" / f"{part}.pid").write_text(str(pid))

    def command(self, part: str) -> tuple[list[str], str]:
        """Return the words that start ``part``, and the folder that must lead its search path."""
        return components.command(part, self.state, ADDRESS, NODE)

    def pid(self, part: str) -> int:
        """Return the process id of ``part``, 0 if it does not run."""
        try:
            pid = int((self.state / "run" / f"{part}.pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            place = bytes(Path(f"/proc/{pid}/cwd").readlink())
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        except (OSError, ValueError):  # it may end while we look
            return 0
        return pid if words and str(self.state).encode() in words + place else 0

    def kill(self, part: str, how: int = signal.SIGKILL, seconds: float = 10) -> None:
        """Kill one component and wait until it is dead."""
        pid, until = self.pid(part), time.monotonic() + seconds
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
        while self.pid(part) and time.monotonic() < until:
            time.sleep(0.02)

    def down(self) -> None:
        """Stop every pod and component and remove the namespace and the mounts; what is not there is no error."""
        with suppress(subprocess.SubprocessError, ClusterError):  # its API server may be dead
            self.kubectl("delete", "pods", "--all", "-A", "--force", "--grace-period=0", "--wait=false", seconds=20)
            time.sleep(2)
        for part in [one for one in reversed(self.order) if one not in ORDER[:2]]:
            self.kill(part, signal.SIGTERM)
            self.kill(part)
        for task in self._ctr("tasks", "ls", "-q").split():
            self._ctr("tasks", "kill", "-s", "9", task)
            self._ctr("tasks", "rm", "-f", task)
        for part in ("containerd", "etcd"):
            self.kill(part, signal.SIGTERM)
            self.kill(part)
        pods = subprocess.run(["ip", "-n", self.name, "-j", "link", "show", "type", "veth"], check=False, capture_output=True, text=True).stdout
        for space in {one["link_netns"] for one in json.loads(pods or "[]") if "link_netns" in one}:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        rows = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for target in reversed([row for row in rows if row.startswith(f"{self.state}/")]):
            with suppress(OSError):
                linux.umount(target, linux.MNT_DETACH)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        shutil.rmtree(self.state / components.ADDRESSES, ignore_errors=True)

    def _ctr(self, *words: str) -> str:
        command = [str(programs.program("ctr")), "-a", str(self.state / "containerd.sock"), "-n", "k8s.io", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300).stdout

    def slay(self, pod: Mapping[str, Any], container: str = "") -> None:
        """Kill -9 what runs in a pod, or in one container of it, on the node: nothing is asked of the API server, and nobody is warned."""
        for one in containers(pod):
            if one.get("containerID") and container in {"", one["name"]}:
                self._ctr("tasks", "kill", "-s", "SIGKILL", one["containerID"].removeprefix("containerd://"))

    def lives(self, pod: Mapping[str, Any]) -> bool:
        """Return whether anything of a pod runs on the node; the API server, which may be away, is not asked."""
        rows = (line.split() for line in self._ctr("tasks", "ls").splitlines())
        running = {row[0] for row in rows if row[-1] == "RUNNING"}
        return any(one.get("containerID", "").removeprefix("containerd://") in running for one in containers(pod))

    def load(self, archive: Path) -> None:
        """Import the images of an OCI archive into the node; ClusterError if it cannot be read."""
        command = [str(programs.program("ctr")), "-a", str(self.state / "containerd.sock"), "-n", "k8s.io"]
        done = subprocess.run([*command, "images", "import", str(archive)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"{archive.name}: {done.stderr}")

    # --- what is asked of it ----------------------------------------------------------------------------------------

    @property
    def kubeconfig(self) -> Path:
        """The administrator's configuration; good only inside the namespace."""
        return self.state / "pki" / "admin.conf"

    def asking(self) -> list[str]:
        """Return how kubectl is run as the administrator; what it remembers stays with the cluster, and not in somebody's home."""
        kept = str(self.state / "kubectl")
        return [*self.entering(), str(programs.program("kubectl")), "--kubeconfig", str(self.kubeconfig), "--cache-dir", kept]

    def kubectl(self, *words: str, given: str | None = None, seconds: float = 60, check: bool = True) -> str:
        """Run kubectl as the administrator and return what it printed.

        Args:
            given: Standard input.
            check: Whether a failure raises ClusterError; else what it said on both streams is returned.
        """
        command = [*self.asking(), *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=seconds)
        if done.returncode and check:
            raise ClusterError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def get(self, *words: str) -> Any:
        """Return ``kubectl get … -o json``, read."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def _api_ready(self) -> bool:
        return self.kubectl("get", "--raw", "/readyz", check=False).startswith("ok")  # a "no" has "ok" in it, of each of its parts that is

    def _node_ready(self) -> bool:
        return "condition met" in self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=1s", check=False)

    def _services_ready(self) -> bool:
        """Return whether services have their rules: while the controller of network policies writes its own beside them, both may fail for good."""
        rules = subprocess.run([*self.entering(), "iptables", "-w", "-t", "nat", "-S", "KUBE-SERVICES"], capture_output=True, text=True, check=False)
        return "default/kubernetes" in rules.stdout

    def _until(self, part: str, ready: Callable[[], bool], seconds: float = 90) -> None:
        until, gone = time.monotonic() + seconds, 0
        while not ready():
            gone = 0 if self.pid(part) else gone + 1  # one that just begins has no name for a moment
            if gone > 5 or time.monotonic() > until:
                said = (self.state / "log" / f"{part}.log").read_text(errors="replace")[-2000:]
                raise ClusterError(f"{part} is not ready: {said}")
            time.sleep(0.1)


@contextmanager
def running(state: Path, name: str = "sulku") -> Iterator[Cluster]:
    """Give a cluster that is up and take it down afterwards."""
    cluster = Cluster(state, name)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(state, ignore_errors=True)


def main() -> int:
    """Do `up` or `down` for the cluster below the cache folder, and say how to use it."""
    cluster = Cluster(programs.CACHE.parent / "cluster")
    if sys.argv[1:] == ["down"]:
        cluster.down()
        shutil.rmtree(cluster.state, ignore_errors=True)
        return 0
    programs.build()
    cluster.up(lambda part: print(f"  {part}", flush=True))
    enter = " ".join(cluster.entering())
    print(f"{enter} {programs.program('kubectl')} --kubeconfig {cluster.kubeconfig} get nodes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
