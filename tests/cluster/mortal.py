"""A worker that dies after so many different calls, as by kill -9, and those who come after it; an installation of its own."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from broker.adapters.kubernetes import FILTERS, Cluster, Surroundings
from broker.adapters.kubernetes_api import Api
from broker.adapters.podline import direct
from sulku.manifests import Manifest, Place, manifests, namespace_of
from sulku.plan import WorkspacePlan
from tests.cluster.bench import GATEWAY, Bench, now, sources, token
from tests.cluster.cluster import Cluster as Real
from tests.cluster.guarding import client

SPACE: Final = re.compile(r"t-[0-9a-z]{16}")


class KilledError(BaseException):
    """The process is dead; nothing catches this."""


class Cut:
    """Lets ``most`` different calls through, of the API and to pods, each as often as it comes, and then nothing any more."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.heard: list[str] = []

    def __call__(self, step: str) -> None:
        if step not in self.heard:
            if len(self.heard) >= self.most:
                self.most = -1  # dead for good
            else:
                self.heard.append(step)
        if self.most < 0:
            raise KilledError(step)

    def reach(self, host: str, port: int, line: bytes, seconds: float) -> bytes:
        """As ``podline.direct``."""
        asked = json.loads(line) if line.startswith(b"{") else {"do": "GET /api"}
        self(f"{asked.get('body', asked)['do']} {port}")
        return direct(host, port, line, seconds)


class CutApi(Api):
    """An API server that a dead process does not speak to."""

    cut: Cut

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, content: str = "application/json", **more: str) -> Any:
        """As ``Api.call``."""
        made = body["metadata"]["name"] if method == "POST" else ""
        self.cut(SPACE.sub("T", f"{method} {path.rpartition('/v1')[2]} {made}").strip())
        return super().call(method, path, body, query, content, **more)


class Mortals(Bench):
    """Workers of an installation of their own: what others have on the cluster is not theirs."""

    def __init__(self, cluster: Real, folder: Path, runtime: str) -> None:
        self.home = f"sulku-mortals-{secrets.token_hex(4)}"
        cluster.kubectl("create", "namespace", self.home, check=False)
        super().__init__(cluster, folder, runtime)

    def place(self, **changes: Any) -> Place:
        return super().place(gateway=(self.home, GATEWAY), **changes)

    def hands(self, place: Place | None = None, targets: tuple[tuple[str, str, str, int], ...] | None = None, cut: Cut | None = None) -> Cluster:
        """Return another worker of this installation, who dies as ``cut`` says."""
        around = Surroundings(targets or self.targets(), self.canary)
        api: Api = self.api
        if cut is not None:
            api = CutApi(client(self.cluster))
            api.cut = cut
        reach = cut.reach if cut is not None else direct
        return Cluster(api, place or self.place(), around, home=self.home, secret="s" * 32, token=token, now=now, reach=reach, sources=sources)

    def open(self, plan: WorkspacePlan, hands: Cluster) -> str:
        """Do all that an opening is, and return the workspace's address."""
        report = hands.start(plan)
        assert report.closed, report.problems
        hands.release(plan.tunnel, self.volumes)
        return hands.wait_ready(plan.tunnel, 60)

    def made(self, plan: WorkspacePlan | None = None) -> WorkspacePlan:
        """Return a plan whose objects are there, and nothing else was done."""
        plan = plan or self.plan()
        for one in self.objects(plan):
            self.api.make(one)
        return plan

    def objects(self, plan: WorkspacePlan) -> list[Manifest]:
        """Return what a plan's tunnel is made of."""
        return list(manifests(plan, self.place(), seconds=600, probe_key="k" * 64, filters=FILTERS, sources=sources(plan)))

    def runs(self, plan: WorkspacePlan) -> bool:
        """Return whether the tunnel has a pod that has not ended."""
        found = self.api.find("Pod", "workspace", namespace_of(plan.tunnel))
        return found is not None and found["status"].get("phase") not in {"Failed", "Succeeded"}

    def close(self) -> None:
        """Remove everything, the installation included."""
        with suppress(AssertionError):
            self.clear()
        self.cluster.kubectl("delete", "namespace", self.home, "--wait=false", "--ignore-not-found")
