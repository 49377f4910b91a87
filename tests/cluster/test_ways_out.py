"""From inside running tunnels, under gVisor and runc: every way out fails, and each is shown to succeed where it may."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sulku.manifests import POD, PROBE, PROVE, WORKSPACE
from tests.adapters.labs import Lab, Work
from tests.cluster import images, ways
from tests.cluster.bench import HOME, Bench
from tests.cluster.cluster import ADDRESS, Cluster
from tests.cluster.ways import ABSTRACT, IPV6, LINK_LOCAL, METADATA, PORT, SERVICES, Way

LISTEN = """
import socket, time
held = []
for port in %r:
    s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(('0.0.0.0', port)); s.listen(64); held.append(s)
print("listening", flush=True)
time.sleep(1e6)
"""
PODS = {
    "control": {"command": ["sleep", "infinity"], "securityContext": {"privileged": True, "runAsUser": 0}},
    "services": {"command": ["/opt/workspace/bin/python", "-c", LISTEN % sorted(SERVICES.values())], "securityContext": {"runAsUser": 0}},
}


class PodLab(Lab):
    """The same hands, over the pod's network as the gateway has it."""

    tunnel = ""

    def _with(self, work: Work[Any], token: str | None = None) -> Any:
        async def run() -> Any:
            headers = {"Authorization": f"token {self._token if token is None else token}"}
            async with aiohttp.ClientSession(self._path, headers=headers) as session:
                return await work(session)

        return asyncio.run(run())


class World:
    """What a way could reach: a canary, a service before it, a neighbour, the node's own listeners."""

    def __init__(self, cluster: Cluster, bench: Bench) -> None:
        self.cluster = cluster
        items = [self._pod(name, about) for name, about in PODS.items()]
        spec = {"type": "NodePort", "selector": {"app": "canary"}, "ports": [{"port": PORT}]}
        items.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "canary", "namespace": HOME}, "spec": spec})
        cluster.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        cluster.kubectl("wait", "-n", HOME, "--for=condition=Ready", "pod/control", "pod/services", "--timeout=60s", seconds=90)
        service = cluster.get("service", "canary", "-n", HOME)["spec"]
        self.neighbour = bench.opened()
        address = bench.pod("workspace", "t-" + self.neighbour.tunnel[4:])["status"]["podIP"]
        pod = bench.pod("services", HOME)["status"]["podIP"]
        self.ways = ways.ways(bench.canary.host, service["clusterIP"], address, service["ports"][0]["nodePort"], pod)
        self._listen()

    def _pod(self, name: str, about: dict[str, Any]) -> dict[str, Any]:
        container = {"name": name, "image": images.workspace()[1], "imagePullPolicy": "Never", **about}
        labels = {"app": name}
        meta = {"name": name, "namespace": HOME, "labels": labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}

    def _listen(self) -> None:
        """Have the node itself listen: on its own address, the metadata address, IPv6, and an abstract socket."""
        for address in (f"{METADATA}/32", f"{LINK_LOCAL}/32", f"{IPV6}/128"):
            at_once = ["nodad"] if ":" in address else []  # else it could not be bound for a second
            subprocess.run(["ip", "addr", "replace", address, "dev", "eth0", *at_once], check=True)
        self.held: list[socket.socket] = []
        for family, host, port in ((2, ADDRESS, PORT), (2, METADATA, 80), (2, LINK_LOCAL, PORT), (10, IPV6, PORT)):
            stream, datagrams = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stream.bind((host, port))
            stream.listen(64)
            datagrams.bind((host, port))
            threading.Thread(target=self._echo, args=(datagrams,), daemon=True).start()
            self.held += [stream, datagrams]
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0" + ABSTRACT)
        abstract.listen(64)
        self.held.append(abstract)

    def _echo(self, datagrams: socket.socket) -> None:
        while True:
            try:
                _, caller = datagrams.recvfrom(2048)
                datagrams.sendto(b"canary", caller)
            except OSError:
                return

    def control(self, way: Way) -> str:
        """Return what the same code prints where nothing hinders it."""
        if way.control == "pod":
            command = ["exec", "-n", HOME, "control", "--", "/opt/workspace/bin/python", "-c", way.code]
            return self.cluster.kubectl(*command, check=False)
        apart = ["unshare", "-m"] if way.control == "mounts" else []
        return subprocess.run([*apart, sys.executable, "-c", way.code], capture_output=True, text=True, check=False, cwd="/tmp").stdout

    def close(self) -> None:
        for one in self.held:
            one.close()
        self.cluster.kubectl("delete", "-n", HOME, "pod/control", "pod/services", "service/canary", "--grace-period=1")


@pytest.fixture(scope="module")
def world(cluster: Cluster, prepared: Path) -> Iterator[World]:
    neighbours = Bench(cluster, prepared, "gvisor")
    try:
        made = World(cluster, neighbours)
        yield made
        made.close()
    finally:
        neighbours.clear()


@pytest.fixture(scope="module", params=["gvisor", "runc"])
def lab(world: World, cluster: Cluster, prepared: Path, request: pytest.FixtureRequest) -> Iterator[PodLab]:
    made = Bench(cluster, prepared, request.param)
    plan = made.opened()
    hands = PodLab(made.tunnels.wait_ready(plan.tunnel, 30), plan.token)
    hands.tunnel = plan.tunnel
    yield hands
    made.clear()


def test_no_way_leads_out_of_a_running_tunnel(lab: PodLab, world: World) -> None:
    """All in one kernel, one after the other; the names of those that got out are the message."""
    assert len(world.ways) >= 40
    out = {name: said for name, way in world.ways.items() if "OUT" in (said := lab.run(way.code))}
    assert out == {}


def test_the_work_itself_is_not_hindered(lab: PodLab) -> None:
    assert lab.run("import pandas as pd; d = pd.read_csv('/data/flchain/persons.csv'); print(len(d), d.age.mean())") == "2 67.5\n"
    assert lab.run("open('/home/researcher/mine.txt', 'w').write('kept'); print(open('/home/researcher/mine.txt').read())") == "kept\n"
    assert lab.run("import subprocess; print(subprocess.run(['echo', 'hello'], capture_output=True, text=True).stdout)") == "hello\n\n"


def test_nothing_that_is_written_inside_comes_into_the_log(lab: PodLab, world: World) -> None:
    """Which administrators read and clusters ship elsewhere; another pod's words are there."""
    lab.run("""
import os, subprocess
for number in (1, 2):
    os.write(number, b'HOSTILE')
    for process in ('self', '1', str(os.getppid())):
        try:
            open(f'/proc/{process}/fd/{number}', 'w').write('HOSTILE')
        except OSError:
            pass
subprocess.run('echo HOSTILE; echo HOSTILE >&2', shell=True)""")
    space = f"t-{lab.tunnel[4:]}"
    for container in (WORKSPACE, PROBE, PROVE):
        assert world.cluster.kubectl("logs", POD, "-n", space, "-c", container) == ""
    assert "listening" in world.cluster.kubectl("logs", "services", "-n", HOME)


def tried(world: World, way: Way) -> str:
    """Return what a control prints, of three tries at most: on a busy machine a datagram may be lost."""
    for _ in range(2):
        if "OUT" in (said := world.control(way)):
            return said
    return world.control(way)


def test_each_way_succeeds_where_it_may(world: World) -> None:
    """Without this, a way that was misspelt would count as closed."""
    failed = {name: said for name, way in world.ways.items() if way.control and "OUT" not in (said := tried(world, way))}
    assert failed == {}
    assert sum(bool(way.control) for way in world.ways.values()) >= 40
