"""The story's installation on a real cluster: installed by Helm from built images, with PostgreSQL, Redis, Celery and OPA as pods."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from broker.settings import Settings
from sulku import ids
from sulku.codec import typed
from sulku.plan import EndRecord
from tests.cluster.cluster import Cluster, ClusterError
from tests.cluster.install import OWNER, Installed
from tests.soon import soon
from tests.stories import clinical
from tests.stories.installation import CACHE, PEOPLE, command
from tests.stories.person import Patient, Person, patiently

MARK: Final = "app.kubernetes.io/component"
PAGES: Final = {"broker": "/healthz", "issuer": "/.well-known/openid-configuration", "gateway": "/"}  # which answer when the part does


class Clustered:
    """One installation on ``cluster``, which has nothing else to do; implements ``tests.stories.installation.At``.

    The tests' process must be inside the cluster's network already (``Cluster.join``).
    """

    keeper = "the pod"
    clocks = "gateway, worker and kubelet"
    causes = ("deadline", "stopped")  # the kubelet's clock, or the worker's
    shortest = 3
    late = 20.0  # the API server's record of it comes after the kubelet's, and two end at once; what the node says is asked of `test_faults.py`

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        """Prepare; ``folder`` is on the node and holds state and database."""
        people = [f"{role}:{name}:{email}:{organisation}" for role, name, email, organisation in PEOPLE]
        small = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}  # four tunnels at once on two cores
        values = {"people": people, "tunnels": {"patrolSeconds": 10}, "resources": {"opa": small}}
        self.installed = Installed(cluster, folder, values)
        self.cluster, self.folder = cluster, folder
        self.people: list[Person] = []
        self._catalogued: dict[str, str] = {}
        about = self.installed.values
        self.settings = Settings(
            url=about["url"], preview_url=about["previewUrl"], gate_domain=about["gateDomain"], issuer=about["issuer"]["url"], state=folder / "unused"
        )

    def __enter__(self) -> Self:
        """Install it and wait until every part is ready, and found by its service."""
        self.installed.__enter__()
        for part in PAGES:
            self._found(part)
        return self

    def _found(self, part: str) -> None:
        """Wait until a part answers by its service: ready pods are known to the node's proxy a moment later."""
        place = {"broker": self.settings.url, "issuer": self.settings.issuer, "gateway": f"{self.settings.gate_scheme}://gate.{self.settings.gate_domain}"}[part]
        address = f"{place}{PAGES[part]}"

        def answers() -> bool:
            with suppress(OSError):
                return self.installed.get(address)[0] < 500
            return False

        assert soon(answers), f"{part} does not answer: {self.tail(part)}"

    def __exit__(self, *_: object) -> None:
        """Uninstall it; tunnels that are left are ended by hand."""
        for person in self.people:
            person.close()
        self.installed.__exit__(None, None, None)
        for kind in ("ns", "pv"):  # once the guards are gone: they let nobody but the worker end a tunnel
            self.cluster.kubectl("delete", kind, "-l", "sulku.internal/tunnel", "--wait=false", check=False)

    def person(self, email: str, role: str | None = None) -> Person:
        """Return somebody, signed in."""
        self.people.append(patiently(lambda: Patient(self.settings, email, role, resolve=self.installed.resolve)))
        return self.people[-1]

    def catalogue(self) -> dict[str, str]:
        """An operator takes the files in, in a broker's pod; a steward catalogues them, by the API. Once for an installation."""
        if self._catalogued:
            return self._catalogued
        maria = self.person("maria@register.example")
        found = {}
        with tempfile.TemporaryDirectory(dir=self.folder / "state") as scratch:
            for one in clinical.DATASETS:
                folder = clinical.write(one, CACHE / "demo-data", Path(scratch) / one.name)
                for path in (Path(scratch), folder, *folder.iterdir()):
                    os.chown(path, OWNER, OWNER)
                there = f"/var/lib/sulku/{Path(scratch).name}/{one.name}"
                said = self.operator("take-in", there, "--version", "1", "--person-key", "person")
                taken = json.loads(said[said.index("{") :])
                for variable in taken["edition"]["variables"]:
                    variable["label"] = one.labels.get(variable["name"], "")
                entry = {
                    "name": one.name, "title": one.title, "description": one.description, "controller": one.controller,
                    "sensitivity": str(one.sensitivity), "terms": one.terms, "source": clinical.SOURCE, **taken,
                }  # fmt: skip
                found[one.name] = str(maria.post("/datasets", entry)["id"])
        self._catalogued = found
        return found

    def operator(self, *words: str) -> str:
        """Run the operator's command in a broker's pod."""
        return self.installed.kubectl("exec", "deploy/broker", "-c", "broker", "--", "sulku-broker", *words, seconds=120)

    def cli(self, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
        """Run the researcher's, steward's and auditor's command on what they have, offline."""
        return command(self.settings.url, *arguments, home=home)

    # --- faults -------------------------------------------------------------------------------------------------------

    def kill(self, part: str) -> None:
        """Kill -9 every pod of a part, and let none come back."""
        self.installed.kill(part)
        self.installed.kubectl("scale", f"deploy/{part}", "--replicas=0")
        self.installed.kill(part)  # what was started again in between
        self.installed.kubectl("delete", "pod", "-l", f"{MARK}={part}", "--grace-period=0", "--force", "--wait=false", check=False)

    def start(self, part: str) -> None:
        """Have two pods of a part run again."""
        self.installed.kubectl("scale", f"deploy/{part}", "--replicas=2")
        self.installed.kubectl("rollout", "status", f"deploy/{part}", "--timeout=180s", seconds=200)
        self._found(part)

    def tail(self, part: str) -> str:
        """Return the end of what a part and the worker wrote."""
        return "\n".join(self.installed.logs(one, 40) for one in dict.fromkeys((part, "worker")))

    def kill_keeper(self, tunnel: str) -> None:
        """Kill the programs of a workspace's pod on its node: through the API server the guards let nobody do it."""
        self.cluster.slay(self.cluster.get("pod", "workspace", "-n", ids.label(tunnel)))

    def ended(self, tunnel: str) -> EndRecord | None:
        """Return what the worker remembers of a tunnel that is over and of which nothing is left running."""
        found = self.installed.kubectl("get", "configmap", ids.label(tunnel), "--ignore-not-found", "-o", "jsonpath={.data.record}")
        return typed(EndRecord, json.loads(found)) if found else None

    def left_behind(self, seconds: float = 60) -> list[str]:
        """Return what is left of any tunnel after ``seconds`` at most: namespaces and volumes. An API server that is away is asked again."""
        found = ["what nobody could tell"]

        def none() -> bool:
            with suppress(ClusterError):
                found[:] = [f"{one['kind']} {one['metadata']['name']}" for one in self.cluster.get("ns,pv", "-l", "sulku.internal/tunnel")["items"]]
            return not found

        soon(none, seconds)
        return found

