"""What the doctor's tests share: the chart and the doctor's own objects under a domain of the tests' own, and ways to spoil a cluster.

As in `guarding.py`, what concerns tunnels is translated letter by letter, so that neither the guards nor the sabotage of
these tests touch anybody's tunnels but the doctor's.
"""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import yaml

from broker.adapters.examination import Doctor, Subject
from broker.adapters.examination.ward import Eyes
from broker.adapters.kubernetes_api import Api
from sulku.manifests import DOMAIN, TUNNEL, Manifest, Place
from sulku.rehearsal import DOCTOR
from tests.cluster import images, programs
from tests.cluster.bench import GATEWAY, now, stocked
from tests.cluster.cluster import Cluster
from tests.cluster.guarding import CHART, client, values
from tests.soon import soon

PROGRAM: Final = (CHART.parents[1] / "hub" / "images" / "poddoctor.py").read_text()
METADATA: Final = "100.100.100.200"  # one of the large clouds'; another test listens on the more usual one
LEVEL: Final = "pod-security.kubernetes.io/enforce"
_NAME: Final = r"(?<![\w-]){}-(?=[0-9a-hjkmnp-tv-z]{{16}}(?![0-9a-z]))"


@dataclass(frozen=True)
class Tongue:
    """How tunnels are called in one test: another domain, another first letter of their namespaces."""

    domain: str = DOMAIN
    letter: str = "t"

    def there(self, text: str) -> str:
        """Return what we say, as the cluster shall hear it."""
        return re.sub(_NAME.format("t"), f"{self.letter}-", text.replace("^t-[", f"^{self.letter}-[")).replace(DOMAIN, self.domain)

    def back(self, text: str) -> str:
        """Return what the cluster says, as we call it."""
        return re.sub(_NAME.format(self.letter), "t-", text).replace(self.domain, DOMAIN)


def eyes(cluster: Cluster, tongue: Tongue) -> Eyes:
    """Return the administrator's view of the cluster, in another tongue; whoever asks does not notice."""

    class Translated(Eyes):
        def call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, content: str = "application/json", **more: str) -> Any:
            asked = json.loads(tongue.there(json.dumps([path, body, dict(query or {})])))
            return json.loads(tongue.back(json.dumps(super().call(method, *asked, content=content, **more))))

        def text(self, path: str, query: Mapping[str, str]) -> tuple[str, datetime]:
            return super().text(tongue.there(path), query)

    return Translated.of(Api(client(cluster)))


@dataclass
class Clinic:
    """A cluster with the worker's account, and a doctor for it."""

    cluster: Cluster
    folder: Path
    tongue: Tongue
    home: str
    guards: bool = True
    runtime: str = "gvisor"
    sabotage: list[Manifest] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Install what an operator would; clinics of one tongue wait for each other, whoever runs them."""
        self.lock = (programs.CACHE.parent / f"cluster.{self.tongue.domain}").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.folder = stocked(self.folder / self.home)
        chart = [one for one in self._rendered() if self.guards or "admissionregistration" not in one["apiVersion"]]
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.home}}
        self.made = [space, *chart, *json.loads(self.tongue.there(json.dumps(self.sabotage)))]
        self.cluster.kubectl("apply", "-f", "-", given=_listed([space]))
        self.cluster.kubectl("apply", "-f", "-", given=_listed(self.made[1:]))
        assert soon(lambda: self.guarded() == self.guards)
        assert not self.sabotage or soon(self.spoilt)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        with self.lock:
            self._remove()

    def _remove(self) -> None:
        self.cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", given=_listed(self.made[1:]))
        self.cluster.kubectl("delete", "--ignore-not-found", "namespace", self.home)
        assert soon(lambda: not self.guarded())

    def _rendered(self) -> list[Manifest]:
        decided = values(self.folder)
        decided["tunnels"]["runtimeClass"] = {"name": self.runtime, "handler": "runsc"}
        command = [str(programs.program("helm")), "template", self.home, str(CHART), "-n", self.home, "--kube-version", programs.KUBERNETES, "-f", "-"]
        done = subprocess.run(command, input=json.dumps(decided), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [one for one in yaml.safe_load_all(self.tongue.there(done.stdout)) if one]

    def place(self, **changes: Any) -> Place:
        """Return what the operator decided."""
        decided: dict[str, Any] = {
            "image": images.workspace()[1], "runtime_class": self.runtime, "gateway": (self.home, GATEWAY),
            "datasets": {"hostPath": {"path": f"{self.folder}/datasets/{{name}}/{{version}}", "type": "Directory"}},
            "homes": {"hostPath": {"path": f"{self.folder}/homes/{{permit}}/{{person}}", "type": "DirectoryOrCreate"}},
            "user_namespace": False, "pull": "Never",
        }  # fmt: skip
        return Place(**decided | changes)

    def doctor(self, *, clock: Callable[[], datetime] = now, sample: Mapping[str, str] | None = None, **changes: Any) -> Doctor:
        """Return a doctor that keeps what it says, and when."""

        def say(text: str) -> None:
            self.said.append((time.monotonic(), text))

        told = {"name": "flchain", "version": "1"} if sample is None else sample
        subject = Subject(self.place(**changes), self.home, PROGRAM, sample=told)
        return Doctor(eyes(self.cluster, self.tongue), subject, now=clock, say=say, tell=lambda one: say(one.check))

    def guarded(self) -> bool:
        """Return whether the guards are in force."""
        label = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {self.tongue.there(TUNNEL): "x"}}}
        said = self.cluster.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(label), check=False)
        return "ValidatingAdmissionPolicy" in said

    def spoilt(self) -> bool:
        """Return whether the sabotage is in force: the mutation called ``level``, which was made last."""
        labels = {self.tongue.there(DOCTOR): "x", LEVEL: "restricted"}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": labels}}
        return LEVEL not in self.cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(space))

    def left(self) -> str:
        """Return the names of everything of the doctor's that is there."""
        label = self.tongue.there(DOCTOR)
        return self.cluster.kubectl("get", "namespaces,persistentvolumes,pods", "-A", "-l", label, "-o", "name").strip()


def _listed(objects: list[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def mutation(name: str, group: str, kind: str, condition: str, patch: str, *, wide: bool = False) -> list[Manifest]:
    """Return a policy, and its binding, that changes objects of the doctor's when they are made: somebody's webhook gone wrong."""
    label = [{"key": DOCTOR, "operator": "Exists"}]
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [kind]}
    selector = {"objectSelector" if wide else "namespaceSelector": {"matchExpressions": label}}
    whole = f"{name}.{DOMAIN}"
    spec = {
        "failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [rule], **selector},
        "matchConditions": [{"name": "one", "expression": condition}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    }  # fmt: skip
    api = "admissionregistration.k8s.io/v1"
    return [
        {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": whole}, "spec": spec},
        {"apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": whole}, "spec": {"policyName": whole}},
    ]

