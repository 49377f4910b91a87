"""How Kubernetes tells that a part has started, is ready and is alive, apart: by an answer, and for a worker by its own clocks."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from broker import serving
from broker.adapters.pulse import Pulse
from broker.gateway import shell
from sulku.crypto import channels
from sulku.links import GATEWAY, HUB
from sulku.manifests import Manifest
from tests.helm.test_chart import CHART
from tests.helm.test_parts import certificates, lasting, objects, pods


def probes(part: str) -> dict[str, Manifest]:
    one = pods(objects())[part]["spec"]["containers"][0]
    return {name: one[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}


def test_a_worker_is_alive_by_its_own_clocks_and_ready_by_its_connection(tmp_path: Path) -> None:
    """The very commands: whoever changes a clock's name, or loses its stamp, has workers that are restarted for nothing."""
    found = probes("worker")
    [folder] = [one["value"] for one in pods(objects())["worker"]["spec"]["containers"][0]["env"] if one["name"] == "SULKU_PULSE"]
    clocks = set(re.findall(r'pulse\.of\("([a-z]+)"\)', Path(serving.__file__).read_text()))
    for name in ("startup", "liveness"):
        command = found[name]["exec"]["command"]
        assert (command[:4], set(command[5:])) == (["python", "-m", "broker.adapters.pulse", folder], clocks)
        here = [sys.executable, *command[1:3], str(tmp_path), *command[4:]]
        pulse = Pulse(tmp_path)
        assert subprocess.run(here, check=False, timeout=60, capture_output=True).returncode == 1
        for clock in clocks:
            pulse.of(clock)()
        assert subprocess.run(here, check=False, timeout=60).returncode == 0
    assert found["readiness"]["exec"]["command"][0] == "grep"
    assert found["startup"]["periodSeconds"] * found["startup"]["failureThreshold"] >= 120


def test_who_answers_http_is_asked_for_an_answer_and_not_for_a_connection() -> None:
    """The kernel takes connections for a process that hangs, too."""
    for part, pod in pods(objects()).items():
        if part not in {"prepare", "canary", "postgres", "redis", "worker", "hub"}:
            assert all("httpGet" in one for name, one in probes(part).items() if name != "startup"), part
        if part != "prepare":
            for one in lasting(pod):
                if "tcpSocket" in one["livenessProbe"]:
                    assert part == "canary", part
    page = probes(GATEWAY)["liveness"]["httpGet"]
    assert page["httpHeaders"] == [{"name": "Host", "value": "gate.sulku.example:8081"}]
    assert shell.static(page["path"]).status == 200


def test_a_hub_answers_its_probe_by_a_handshake_with_whoever_asks(tmp_path: Path) -> None:
    command = probes(HUB)["liveness"]["exec"]["command"]
    program = CHART.parents[1] / "hub" / "images" / "server" / Path(command[2]).name
    files = certificates(tmp_path)[HUB]
    silent = socket.create_server(("127.0.0.1", 0))  # the kernel accepts, nobody answers
    hub = socket.create_server(("127.0.0.1", 0))
    context = channels.listening(files, HUB)

    def serve() -> None:
        with suppress(OSError):
            context.wrap_socket(hub.accept()[0], server_side=True)

    thread = threading.Thread(target=serve)
    thread.start()
    with silent, hub:
        asked = [subprocess.run([sys.executable, "-I", str(program), str(one.getsockname()[1])], check=False, timeout=60, capture_output=True) for one in (hub, silent)]
    thread.join(20)
    assert [done.returncode for done in asked] == [0, 1]
