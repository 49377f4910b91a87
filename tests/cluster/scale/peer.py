"""The peer on the same ground: KubeSpawner by itself, and a real JupyterHub that spawns by it. Best cases: one pod each, no claims, no proxy, no events.

A hub waits until a server answers at its pod's address. So that a pretended pod's does, every address of the pods is this
machine's, and an ordinary HTTP server answers there; nothing in the hub is patched.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster import images, programs
from tests.cluster.cluster import ADDRESS
from tests.cluster.scale.ground import IMAGE, Ground, processor, resident

HERE: Final = Path(__file__).parent
VENV: Final = programs.CACHE.parent / "kubespawner"
NAMESPACE: Final = "peers"
API: Final = f"http://{ADDRESS}:8081/hub/api"


def python() -> Path:
    """Return the Python that has KubeSpawner, installed once from pinned and hashed packages; no dependency of ours."""
    wanted = (HERE / "requirements.txt").read_text()
    if not (VENV / "installed").exists() or (VENV / "installed").read_text() != wanted:
        uv = programs.CACHE.parent / "uv" / "bin" / "uv"
        outside = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{images.OUTSIDE}")  # this thread may have joined the cluster's network
        subprocess.run([*outside, uv, "venv", "-q", "--clear", "-p", "3.11", VENV], check=True)
        words = ("pip", "install", "-q", "--require-hashes", "--python", VENV / "bin/python", "-r", HERE / "requirements.txt")
        subprocess.run([*outside, uv, *words], check=True)
        (VENV / "installed").write_text(wanted)
    return VENV / "bin" / "python"


def surroundings(at: Ground, state: Path) -> dict[str, str]:
    """Return the environment of both."""
    own = {"SCALE_NAMESPACE": NAMESPACE, "SCALE_IMAGE": IMAGE, "SCALE_HUB": str(state), "SCALE_ADDRESS": ADDRESS}
    return os.environ | own | {"KUBECONFIG": str(at.kubeconfig), "PYTHONPATH": str(HERE.parents[2])}


def measure(at: Ground, number: int) -> dict[str, Any]:
    """Return what each took: servers started and stopped a second, milliseconds of processor time and calls a server."""
    state = at.state / "hub"
    state.mkdir(exist_ok=True)
    at.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return {"bare": bare(at, number, state), "hub": through_hub(at, number, state)}


def bare(at: Ground, number: int, state: Path) -> dict[str, Any]:
    """Have KubeSpawner's own ``start`` and ``stop`` called for so many at once, with no hub."""
    before, asked = at.spent(), sum(at.asked().values())
    command = [*at.entering(), str(python()), str(HERE / "bare.py"), str(number)]
    done = subprocess.run(command, env=surroundings(at, state), capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    started, stopped, own = json.loads(done.stdout.splitlines()[-1])
    parts = {part: (after - before[part]) * 1000 / number for part, after in at.spent().items()} | {"spawner": own * 1000 / number}
    return {
        "servers": number, "started_per_second": number / started, "stopped_per_second": number / stopped,
        "processor_start_and_stop": parts, "calls_start_and_stop": (sum(at.asked().values()) - asked) / number,
    }  # fmt: skip


def through_hub(at: Ground, number: int, state: Path) -> dict[str, Any]:
    """Have a hub asked for so many servers at once; each is followed until the hub calls it ready."""
    names = [f"person{one}" for one in range(number)]
    with hub(at, state) as (pid, token):
        ask(token, "POST", "/users", {"usernames": names})
        before, own, asked = at.spent(), processor(pid), sum(at.asked().values())
        began = time.monotonic()
        with ThreadPoolExecutor(min(number, 100)) as pool:
            list(pool.map(lambda name: start(token, name), names))
        seconds = time.monotonic() - began
        parts = {part: (after - before[part]) * 1000 / number for part, after in at.spent().items()}
        parts["hub"] = (processor(pid) - own) * 1000 / number
        calls, memory = (sum(at.asked().values()) - asked) / number, resident(pid)
        began = time.monotonic()
        with ThreadPoolExecutor(min(number, 100)) as pool:
            list(pool.map(lambda name: ask(token, "DELETE", f"/users/{name}/server"), names))
        while at.kubectl("get", "pods", "-n", NAMESPACE, "-o", "name"):
            assert time.monotonic() - began < 600, "the hub's pods do not end"
            time.sleep(1)
        return {
            "servers": number, "started_per_second": number / seconds, "stopped_per_second": number / (time.monotonic() - began),
            "processor_start": parts, "calls_start": calls, "hub_memory": memory,
        }  # fmt: skip


@contextmanager
def hub(at: Ground, state: Path) -> Iterator[tuple[int, str]]:
    """Give the process and the token of a hub that answers, with every pod's port answered."""
    token = secrets.token_hex(16)
    (state / "token").write_text(token)
    (state / "hub.sqlite").unlink(missing_ok=True)
    (state / "empty").mkdir(exist_ok=True)
    with (state / "log").open("wb") as log:
        web = [*at.entering(), "python3", "-m", "http.server", "8888", "--directory", str(state / "empty")]
        words = [*at.entering(), str(python()), "-m", "jupyterhub", "-f", str(HERE / "hub.py")]
        pods = subprocess.Popen(web, stdout=log, stderr=log)
        made = subprocess.Popen(words, stdout=log, stderr=log, env=surroundings(at, state), cwd=state)
    try:
        until = time.monotonic() + 120
        while not answers(token):
            assert time.monotonic() < until, (state / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield made.pid, token
    finally:
        for one in (made, pods):
            one.kill()
            one.wait()


def answers(token: str) -> bool:
    """Return whether the hub does."""
    try:
        return bool(ask(token, "GET", "/"))
    except OSError:
        return False


def ask(token: str, method: str, path: str, body: Any = None) -> bytes:
    """Return the hub's answer; OSError if it refuses."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{API}{path}", data, {"Authorization": f"token {token}"}, method=method)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return bytes(answer.read())


def start(token: str, name: str) -> None:
    """Have a server started; the hub tells how it goes until it is ready."""
    ask(token, "POST", f"/users/{name}/server")
    last = ask(token, "GET", f"/users/{name}/server/progress").decode().strip().rpartition("data: ")[2]
    assert json.loads(last).get("ready"), last
