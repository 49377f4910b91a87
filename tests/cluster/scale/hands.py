"""The worker's hands as they are, towards a real API server; only what programs inside pods would say is said here, as kwok's pods run none."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from broker.adapters.kubernetes import Canary, Cluster, Surroundings
from broker.adapters.kubernetes_api import Api
from broker.adapters.podline import seal
from sulku import ids
from sulku.closure import POD_TARGETS, POD_WAYS
from sulku.manifests import PROBE, PROBE_PORT, PROVE, WORKSPACE, Manifest, Place
from sulku.plan import Alive, Volume, WorkspacePlan
from tests.cluster.bench import GATEWAY, now, sources, token
from tests.cluster.cluster import ADDRESS
from tests.cluster.scale.ground import CANARY, HOME, IMAGE, KEY

VOLUMES: Final = (Volume("flchain", "flchain"),)
_CLOSED: Final = [{"way": way, "closed": True, "how": "EPERM"} for way in sorted(POD_WAYS)]
_MOUNTED: Final = {"flchain": {"options": "ro,nosuid,nodev", "files": 1, "refused": "EROFS"}}


class Counted(Api):
    """An API server that counts what it is asked, by kind of call, and the bytes both ways."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self._turn = threading.Lock()

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, content: str = "application/json", **more: str) -> Any:
        """As ``Api.call``."""
        words = path.removeprefix("/apis/networking.k8s.io/v1").removeprefix("/api/v1").split("/")[1:]
        kind = words[2] if words[0] == "namespaces" and len(words) > 2 else words[0]
        one = len(words) % 2 == 0 or (kind != "pods" and "metadata.name=" in (query or {}).get("fieldSelector", ""))
        with self._turn:
            self.asked[f"{method if method != 'GET' or one else 'LIST'} {kind}"] += 1
            self.sent += len(json.dumps(body)) if body is not None else 0
        return super().call(method, path, body, query, content, **more)


class Inside:
    """What the programs of one pod remember."""

    def __init__(self) -> None:
        """It has just started, with the probe that proves."""
        self.role, self.serves, self.kept = PROVE, False, None
        self.boot = secrets.token_hex(8)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer as ``hub/images/python/podprobe.py`` and ``podboot.py`` do in a pod that is closed."""
        match body["do"]:
            case "probe":
                return {"attempts": _CLOSED, "round": self.boot}
            case "release":
                self.role = PROBE
                return {"released": body["round"] == self.boot}
            case "keep" | "kept":
                self.kept = body.get("kept", self.kept)
                return {"kept": self.kept}
            case "mounted":
                return {"mounted": _MOUNTED}
            case _:
                self.serves = True
                return {}


class Hands(Cluster):
    """A worker's tunnels on ground where pods are pretended."""

    def __init__(self, api: Api) -> None:
        """Find the canary, which is a real one: it is asked before and after each round."""
        targets = tuple((name, "tcp", ADDRESS, 1) for name in sorted(POD_TARGETS))
        place = Place(
            image=IMAGE, runtime_class="gvisor", gateway=(HOME, GATEWAY), user_namespace=False,
            datasets={"hostPath": {"path": "/srv/datasets/{view}"}}, homes={"hostPath": {"path": "/srv/homes/{permit}/{person}"}},
        )  # fmt: skip
        around = Surroundings(targets, Canary(ADDRESS, CANARY, KEY))
        super().__init__(api, place, around, home=HOME, secret="s" * 32, token=token, now=now, reach=self.inside, sources=sources)
        self._at: dict[str, str] = {}
        self._inside: dict[str, Inside] = {}

    def _pod(self, tunnel: str) -> Manifest:
        """As always; whose address it is, is remembered for ``inside``."""
        pod = super()._pod(tunnel)
        self._at[pod["status"].get("podIP", "")] = tunnel
        return pod

    def inside(self, host: str, port: int, line: bytes, _: float) -> bytes:
        """Answer for a pod as ``podline.direct`` would bring it, seals included."""
        tunnel = self._at[host]
        pod = self._inside.setdefault(tunnel, Inside())
        if line.startswith(b"GET "):
            return b"HTTP/1.0 200 OK\r\n" if pod.serves else b""
        asked = json.loads(line)
        if asked.get("do") == "hello":
            role = pod.role if port == PROBE_PORT else WORKSPACE
            return json.dumps({"boot": pod.boot, "role": role, "challenge": secrets.token_hex(8)}).encode()
        key = (self._key(tunnel) if port == PROBE_PORT else token(tunnel)).encode()
        assert hmac.compare_digest(asked["mac"], seal(key, "request", pod.boot, asked["challenge"], asked["body"]))
        told = pod.answer(asked["body"])
        mac = seal(key, "answer", pod.boot, asked["challenge"], told)
        return json.dumps({"body": told, "mac": mac, "challenge": secrets.token_hex(8)}).encode()

    def open(self, plan: WorkspacePlan) -> None:
        """Do all that `broker/flows/mounts.py` asks of a worker's hands for one opening."""
        assert not isinstance(self.status(plan.tunnel), Alive)
        report = self.start(plan)
        assert report.closed, report.problems
        self.release(plan.tunnel, VOLUMES)
        assert self.wait_ready(plan.tunnel, 45).startswith("http://")

    def close(self, tunnel: str) -> None:
        """Do all that `broker/worker/handlers.py` and the keeper ask of them for one ending."""
        assert isinstance(self.status(tunnel), Alive)
        assert self.stop(tunnel).cause == "stopped"
        self.acknowledge(tunnel)
        self._inside.pop(tunnel, None)


def plan() -> WorkspacePlan:
    """Return a plan with one dataset and a home."""
    tunnel = ids.new("tun")
    return WorkspacePlan(
        tunnel=tunnel, person=ids.new("usr"), permit=ids.new("per"), title="Survival", deadline=now() + timedelta(hours=4),
        datasets=("flchain",), home="/homes/x", token=token(tunnel),
    )  # fmt: skip
