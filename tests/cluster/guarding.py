"""The chart's guards on the test cluster, under a domain of the tests' own, and the people who try to get past them.

The guards hold for every namespace with the label `sulku.internal/tunnel`, whoever works on the cluster beside these
tests. So both the chart's objects and the worker's are translated, letter by letter, to another domain and another first
letter of the namespaces' names; nothing else differs from what the chart installs and the worker makes.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes import config
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

from broker.adapters.kubernetes import Cluster as Tunnels
from broker.adapters.kubernetes import Surroundings
from broker.adapters.kubernetes_api import Api
from sulku.errors import TunnelEndedError
from sulku.manifests import DOMAIN, TUNNEL, Manifest, Place, namespace_of
from sulku.plan import WorkspacePlan
from tests.cluster import images, programs
from tests.cluster.bench import _SECURE, GATEWAY, Bench, now, sources, stocked
from tests.cluster.bench import token as workspace_token
from tests.cluster.cluster import Cluster
from tests.soon import soon

CHART: Final = Path(__file__).parents[2] / "helm" / "sulku"
HOME: Final = "guards"  # where the chart is installed in these tests
LABEL: Final = f"guards-test.internal/{TUNNEL.partition('/')[2]}"
KWOK: Final = "system:serviceaccount:kwok:kwok"  # who speaks for pretended nodes
WORKER: Final = f"system:serviceaccount:{HOME}:worker"
_NAME: Final = re.compile(r"(?<![\w-])t-(?=[0-9a-hjkmnp-tv-z]{16}(?![0-9a-z]))")
_BACK: Final = re.compile(r"(?<![\w-])g-(?=[0-9a-hjkmnp-tv-z]{16}(?![0-9a-z]))")


def there(text: str, domain: str = "guards-test.internal") -> str:
    """Return what of the chart or of the worker concerns tunnels, as it is called in these tests."""
    return _NAME.sub("g-", text.replace("^t-[", "^g-[")).replace(DOMAIN, domain)


def back(text: str) -> str:
    """Return what the cluster says, as the worker calls it."""
    return _BACK.sub("t-", text).replace("guards-test.internal", DOMAIN)


def rendered(values: Mapping[str, Any], *, domain: str = "guards-test.internal") -> list[Manifest]:
    """Return the chart's objects for ``values``, translated."""
    command = [str(programs.program("helm")), "template", "guards", str(CHART), "-n", HOME, "--kube-version", programs.KUBERNETES, "-f", "-"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(there(done.stdout, domain)) if one]


def values(folder: Path) -> dict[str, Any]:
    """Return what the operator of the test cluster decided."""
    volumes = {"hostPath": [f"{folder}/datasets", f"{folder}/homes"]}
    about = {"images": [images.workspace()[1]], "userNamespaces": False, "volumes": volumes, "longest": 7200}
    return {"tunnels": about, "guards": {"kubelets": [KWOK]}}


class Translated(Api):
    """An API server on which tunnels are called as in these tests; whoever calls it does not notice."""

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, content: str = "application/json", **more: str) -> Any:
        """As ``Api.call``."""
        asked = json.loads(there(json.dumps([path, body, dict(query or {})])))
        return json.loads(back(json.dumps(super().call(method, *asked, content=content, **more))))


class Pad(Translated):
    """An API server on which nothing is, and where what is made is only written down."""

    def __init__(self, client: ApiClient) -> None:
        """Begin with nothing."""
        super().__init__(client)
        self.made: list[Manifest] = []

    def find(self, kind: str, name: str, namespace: str = "") -> None:
        """Find nothing."""

    def make(self, manifest: Manifest) -> bool:
        """Write it down."""
        self.made.append(json.loads(there(json.dumps(manifest))))
        return True

    def remove(self, kind: str, name: str, namespace: str = "", *, grace: int | None = None) -> None:
        """Remove nothing."""


def client(cluster: Cluster, *, user: str = "", group: str = "", token: str = "") -> ApiClient:
    """Return a client of the administrator, of somebody whom they impersonate, or of whoever has ``token``."""
    made = config.new_client_from_config(str(cluster.kubeconfig))
    if user:
        made.set_default_header("Impersonate-User", user)
    if group:
        made.set_default_header("Impersonate-Group", group)
    if token:
        made.configuration.cert_file = made.configuration.key_file = None
        made = ApiClient(made.configuration)
        made.set_default_header("Authorization", f"Bearer {token}")
    return made


def token(cluster: Cluster, account: str, namespace: str = HOME) -> str:
    """Return a real token of an account."""
    return cluster.kubectl("create", "token", account, "-n", namespace).strip()


class Person:
    """Somebody with an API client, and what becomes of what they try."""

    def __init__(self, name: str, api: Api) -> None:
        """Keep who they are."""
        self.name, self.api = name, api

    def does(self, method: str, path: str, body: Any = None, *, dry: bool = True, **query: str) -> Any:
        """Return the answer; ``dry`` goes through everything but storage. AssertionError with the reason if it is refused."""
        try:
            return self._ask(method, path, body, dry=dry, **query)
        except ApiException as error:
            raise AssertionError(f"{self.name}: {method} {path}: {error.status} {error.body}") from error

    def refused(self, method: str, path: str, body: Any = None, *, dry: bool = True, **query: str) -> tuple[str, str]:
        """Return which guard refused (``rights`` if the request did not come that far) and what it said."""
        try:
            answer = self._ask(method, path, body, dry=dry, **query)
        except ApiException as error:
            said = json.loads(error.body)["message"] if str(error.body).startswith("{") else str(error.body)
            guard = re.search(r"ValidatingAdmissionPolicy '(\w+)\.tunnels\.[^']*' with binding '[^']*' denied request: (.*)", said, re.DOTALL)
            if guard:
                return guard[1], guard[2]
            if error.status == 403 and re.search(r'User "[^"]*" cannot ', said):
                return "rights", said
            raise AssertionError(f"{self.name}: {method} {path}: {error.status} {said}") from error
        raise AssertionError(f"{self.name}: {method} {path} was allowed: {str(answer)[:300]}")

    def _ask(self, method: str, path: str, body: Any, *, dry: bool, **query: str) -> Any:
        """Ask; a deletion's options are its body or, without one, its query."""
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        if method == "DELETE" and body is not None:
            return self.api.call(method, path, body | ({"dryRun": ["All"]} if dry else {}), query, content)
        return self.api.call(method, path, body, ({"dryRun": "All"} if dry else {}) | query, content)


class Guarded(Bench):
    """A worker's hands, with its own account's token, on a cluster with guards.

    Attributes:
        bare: A namespace that has been labelled as a tunnel since before the guards, without Pod Security: what is refused in it is
            refused by the guards alone.
    """

    bare: Final = "g-bare000000000000"
    editor: Final = "guards-editor"  # somebody who may edit everything in every namespace

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        """Install the guards, and wait until the API server knows them."""
        folder = stocked(folder / HOME)
        decided = values(folder)
        decided["tunnels"]["volumes"] |= {"csi": ["guards.example"], "nfs": ["guards.example"]}
        self.installed = rendered(decided)
        label = {"metadata": {"name": self.bare, "labels": {LABEL: self.bare}}}
        sleeping = {
            "name": "plain", "image": images.workspace()[1], "imagePullPolicy": "Never", "securityContext": _SECURE,
            "command": ["/opt/workspace/bin/python", "-m", "http.server", "8000", "--directory", "/opt/sulku"],
        }  # fmt: skip
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
        objects = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}},
            {"apiVersion": "v1", "kind": "Namespace", **label},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": HOME}, "spec": {"containers": [sleeping], "terminationGracePeriodSeconds": 1}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other", "namespace": self.bare}},
            {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "guards-plain"}, "handler": "runc"},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": self.editor},
                "roleRef": role, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.editor}],
            },
        ]  # fmt: skip
        for batch in (objects, self.installed):
            cluster.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": batch}))
        cluster.kubectl("wait", "-n", HOME, "--for=condition=Ready", "pod/plain", "--timeout=60s", seconds=90)
        self.admin = Person("administrator", Api(client(cluster)))
        assert soon(self.holds)
        tokens = {name: token(cluster, name) for name in ("worker", "hub", "gateway", "broker")}
        self.worker = Translated(client(cluster, token=tokens["worker"]))
        self.accounts = {name: Person(name, Api(client(cluster, token=tokens[name]))) for name in tokens}
        self.accounts["editor"] = Person("editor", Api(client(cluster, user=self.editor)))
        self.accounts["nobody"] = Person("nobody", Api(client(cluster, user="guards-nobody")))
        # The worker, had somebody given it every right there is: what stops it now is the guards alone.
        self.mighty = Person("mighty worker", Api(client(cluster, user=WORKER, group="system:masters")))
        super().__init__(cluster, folder, "gvisor")

    @cached_property
    def running(self) -> WorkspacePlan:
        """A tunnel of the worker's, proved closed and waiting for its release."""
        plan = self.plan()
        report = self.tunnels.start(plan)
        assert report.closed, report.problems
        return plan

    def holds(self) -> bool:
        """Return whether guards that concern the first and the last of a tunnel are in force."""
        record = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
        label = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {LABEL: "x"}}}
        try:
            self.admin.refused("POST", path_of(record, self.bare), record)
            self.admin.refused("POST", path_of(label), label)
        except AssertionError:
            return False
        return True

    def remove(self) -> None:
        """Remove the guards, and then everything that they guarded."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": self.installed})
        self.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", given=listed)
        assert soon(lambda: not self.holds())
        self.cluster.kubectl("delete", "namespace", "-l", LABEL, "--wait=false")
        self.cluster.kubectl("delete", "pv", "-l", LABEL, "--wait=false")
        self.cluster.kubectl("delete", "--ignore-not-found", "runtimeclass/guards-plain", f"clusterrolebinding/{self.editor}", f"namespace/{HOME}")

    def place(self, **changes: Any) -> Place:
        """Return what the operator decided, the gateway being where the chart says."""
        return replace(super().place(**changes), gateway=(HOME, GATEWAY))

    def hands(self, place: Place | None = None, targets: tuple[tuple[str, str, str, int], ...] | None = None, api: Api | None = None) -> Tunnels:
        """Return the tunnels of the worker's account."""
        around = Surroundings(targets or self.targets(), self.canary)
        return Tunnels(api or self.worker, place or self.place(), around, home=HOME, secret="s" * 32, token=workspace_token, now=now, sources=sources)

    def objects(self, plan: WorkspacePlan) -> list[Manifest]:
        """Return what the worker would make for ``plan``, as it is called here."""
        pad = Pad(self.worker._client)
        with suppress(TunnelEndedError):
            self.hands(api=pad).start(plan)
        return [one for one in pad.made if one["kind"] != "ConfigMap"]  # the record of an end that follows, as there is no pod

    def space(self, plan: WorkspacePlan) -> str:
        """Return the namespace of ``plan`` as it is called here."""
        return there(namespace_of(plan.tunnel))


def changed(manifest: Manifest, *changes: Callable[[Any], None]) -> Manifest:
    """Return a copy of ``manifest`` with ``changes`` made to it."""
    copy = json.loads(json.dumps(manifest))
    for change in changes:
        change(copy)
    return dict(copy)


def path_of(manifest: Manifest, namespace: str = "") -> str:
    """Return the path at which ``manifest`` is created."""
    kind, version = manifest["kind"].lower(), manifest["apiVersion"]
    plural = {"endpoints": kind}.get(kind) or f"{re.sub('y$', 'ie', kind)}{'es' if kind.endswith(('s', 'x')) else 's'}"
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"{f'/apis/{version}' if '/' in version else '/api/v1'}{where}/{plural}"
