"""What the API server must refuse: weaker pods, pods without an end, entry into a tunnel, and rights that nobody needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubernetes.client.exceptions import ApiException

from broker.adapters.examination.ward import Eyes, Ward
from sulku.errors import ClusterUnavailableError, SandboxError
from sulku.manifests import KEY, POD, TUNNEL, WORKSPACE, WORKSPACE_PORT, Manifest
from sulku.rehearsal import Rehearsal
from sulku.soundness import Finding, Verdict, finding

WEAK: Final[Mapping[str, dict[str, Any]]] = {  # what the level restricted forbids → how the pod is changed
    "privileged": {"container": {"privileged": True, "allowPrivilegeEscalation": True}, "hostUsers": None},
    "host network": {"hostNetwork": True, "hostUsers": None},
    "host processes": {"hostPID": True, "hostUsers": None},
    "host IPC": {"hostIPC": True, "hostUsers": None},
    "a folder of the node": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}], "mounts": None},
    "root": {"container": {"runAsNonRoot": False, "runAsUser": 0}},
    "escalation": {"container": {"allowPrivilegeEscalation": True}},
    "a capability": {"container": {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}},
    "no seccomp": {"container": {"seccompProfile": {"type": "Unconfined"}}},
}
Right = tuple[str, str, str, str, str]  # verb, group, resource, name, where
WORKER: Final[tuple[Right, ...]] = (  # what broker/adapters/kubernetes.py asks for
    *((verb, "", "namespaces", "", "") for verb in ("create", "get", "list", "delete")),
    *((verb, "", "persistentvolumes", "", "") for verb in ("create", "list", "delete")),
    *(("create", "", kind, "", "tunnel") for kind in ("pods", "resourcequotas", "limitranges", "secrets", "persistentvolumeclaims")),
    ("create", "networking.k8s.io", "networkpolicies", "", "tunnel"),
    *((verb, "", "pods", POD, "tunnel") for verb in ("get", "patch", "delete")),
    ("list", "", "pods", POD, ""),
    *((verb, "", "configmaps", "", "home") for verb in ("create", "get", "list", "patch")),
)
NEVER: Final[tuple[Right, ...]] = (  # not even the worker
    *(("create", "", f"pods/{way}", POD, "tunnel") for way in ("exec", "attach", "portforward", "proxy")),
    ("patch", "", "pods/ephemeralcontainers", POD, "tunnel"), ("get", "", "pods/log", POD, "tunnel"),
    ("get", "", "secrets", KEY, "tunnel"), ("list", "", "pods", "", ""),
    ("list", "", "secrets", "", ""), ("get", "", "secrets", "", ""), ("get", "", "nodes/proxy", "", ""), ("impersonate", "", "users", "", ""),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings", "", ""),
    *((verb, "admissionregistration.k8s.io", f"validatingadmissionpolic{end}", "", "") for verb in ("patch", "delete") for end in ("ies", "ybindings")),
)  # fmt: skip
GUARD: Final = "ValidatingAdmissionPolicy"  # how a guard's refusal begins
HARMLESS: Final = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews", "clustertrustbundles"}  # everybody may
DRY: Final = {"dryRun": "All"}


class Rules:
    """The rows that are about what the API server lets through."""

    def __init__(self, ward: Ward, plan: Rehearsal, *, home: str, worker: str) -> None:
        """Take the namespace of our own parts, and the name of the worker's account in it."""
        self.ward, self.plan, self.home, self.worker = ward, plan, home, worker
        self._api: Eyes = ward.api

    def _refused(self, manifest: Manifest, api: Eyes | None = None) -> str:
        """Return who says what against a pod, empty if it would be let in; it is never made."""
        try:
            (api or self._api).call("POST", self._api.path("Pod", manifest["metadata"]["namespace"]), manifest, query=DRY)
        except ApiException as error:
            return "" if error.status == 409 else _said(error)  # there is one of that name: nothing else spoke against it
        return ""

    def pod_security(self) -> Finding:
        """Ask for one pod for each thing that the level restricted forbids."""
        let_in, others = [], []
        for what, changes in WEAK.items():
            said = self._refused(self._weak(dict(changes)))
            if not said:
                let_in.append(what)
            elif "violates PodSecurity" not in said:
                others.append(f"{what} ({said[:120]})")
        if let_in:
            return finding("pod-security", Verdict.NO, f"let in: {', '.join(let_in)}")
        if others:
            return finding("pod-security", Verdict.NO, f"not refused by Pod Security, only by what stands after it: {'; '.join(others)}")
        return finding("pod-security", Verdict.OK, f"refused all {len(WEAK)}: {', '.join(WEAK)}; the workspace itself was let in")

    def _weak(self, changes: dict[str, Any]) -> Manifest:
        """Return a workspace's pod with changes; what would make it invalid rather than forbidden is left out."""
        if "mounts" in changes:
            changes.pop("mounts")
            changes["volumes"] = [*self.plan.attack()["spec"]["volumes"], *changes["volumes"]]
        pod = self.plan.attack(**changes)
        if "hostNetwork" in changes:
            pod["spec"]["securityContext"].pop("sysctls", None)
        return pod

    def quota(self) -> Finding:
        """Ask for a pod without an end where only a tunnel's quotas stand in the way, and for the same one with an end."""
        ends = self.plan.attack()
        ends["metadata"]["namespace"] = self.plan.bounded
        endless = json.loads(json.dumps(ends))
        del endless["spec"]["activeDeadlineSeconds"]
        try:
            self.ward.wait("the quotas to be counted", lambda: not self._refused(ends), lambda: self._refused(ends)[:200], seconds=20)
        except SandboxError as error:
            return finding("quota", Verdict.UNKNOWN, f"a pod with an end is refused as well: {error}")
        said = self._refused(endless)
        if not said:
            return finding("quota", Verdict.NO, "a pod without an end is let in")
        if "exceeded quota: endless" not in said:
            return finding("quota", Verdict.UNKNOWN, f"refused, but not by the quota: {said[:200]}")
        return finding("quota", Verdict.OK, "a pod without an end is refused, the same one with an end is let in")

    def entry(self) -> Finding:
        """Try to enter the tunnel, and a pod that is no tunnel, by every way of the API."""
        ways = {name: (self._enter(self.plan.inside, POD, name), self._enter(self.plan.outside, "control", name)) for name in WAYS}
        open_ = [name for name, (inside, _) in ways.items() if not inside]
        unclear = [f"{name} ({control[:100]})" for name, (inside, control) in ways.items() if inside and control]
        if open_:
            there = self._installed()
            why = f"guards there are: {', '.join(there)}" if there else f"no ValidatingAdmissionPolicy that looks for {TUNNEL} is installed and bound"
            return finding("guard-entry", Verdict.NO, f"let in: {', '.join(open_)}; {why}")
        if unclear:
            return finding("guard-entry", Verdict.UNKNOWN, f"refused for a pod that is no tunnel too: {'; '.join(unclear)}")
        return finding("guard-entry", Verdict.OK, f"refused: {', '.join(ways)}; a pod that is no tunnel lets all of them in")

    def _enter(self, space: str, pod: str, way: str) -> str:
        """Return who says what against entering, empty if admission lets it pass; no connection comes about."""
        method, tail, body = WAYS[way]
        path = f"{self._api.path('Pod', space, pod)}{tail}"
        content = "application/strategic-merge-patch+json" if body else "application/json"
        try:
            self._api.call(method, path, body and body(self.plan.place.image), content=content)
        except ClusterUnavailableError:
            return ""  # it was let through, and nobody answered
        except ApiException as error:
            said = _said(error)
            return "" if "Upgrade request required" in said else said
        return ""

    def _installed(self) -> list[str]:
        """Return the guards that look for our label, are bound, and deny."""
        group = "/apis/admissionregistration.k8s.io/v1"
        policies = self._api.call("GET", f"{group}/validatingadmissionpolicies")["items"]
        bindings = self._api.call("GET", f"{group}/validatingadmissionpolicybindings")["items"]
        denying = {one["spec"]["policyName"]: json.dumps(one["spec"]) for one in bindings if "Deny" in one["spec"].get("validationActions", [])}
        return [name for one in policies if TUNNEL in json.dumps(one["spec"]) + denying.get(name := one["metadata"]["name"], "") and name in denying]

    def pods(self) -> Finding:
        """Ask for pods in the tunnel's namespace that Pod Security would allow and a tunnel must not have, as the worker itself."""
        wrong: dict[str, Manifest] = {"with an account's token": self.plan.attack(automountServiceAccountToken=True)}
        if not self.plan.place.weak_isolation:
            wrong["on the node's own kernel"] = self.plan.attack(runtimeClassName=None)
        wrong["without an end"] = self.plan.attack(activeDeadlineSeconds=None)
        wrong["with scratch on the node's disk"] = self._scratch()
        wrong["that resolves names"] = self.plan.attack(dnsPolicy="ClusterFirst", dnsConfig=None)
        passed = [what for what, pod in wrong.items() if GUARD not in self._refused(pod, self.ward.worker)]
        if passed:
            return finding("guard-pods", Verdict.NO, f"no guard speaks against a pod {', '.join(passed)}")
        return finding("guard-pods", Verdict.OK, f"a guard refuses the worker a pod {', '.join(wrong)}; the workspace itself was let in")

    def _scratch(self) -> Manifest:
        """Return a workspace's pod whose scratch would outlive it on a disk of its node."""
        pod = self.plan.attack()
        for volume in pod["spec"]["volumes"]:
            volume.get("emptyDir", {}).pop("medium", None)
        return pod

    # --- rights -----------------------------------------------------------------------------------------------------

    def _may(self, account: str, right: Right) -> bool:
        """Ask the API server whether an account may do something.

        Raises:
            ApiException: We may not ask.
        """
        verb, group, resource, name, where = right
        kind, _, sub = resource.partition("/")
        space = {"tunnel": self.plan.inside, "home": self.home, "": ""}[where]
        attributes = {"verb": verb, "group": group, "resource": kind, "subresource": sub, "name": name, "namespace": space}
        home = account.split(":")[2]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": account, "groups": groups, "resourceAttributes": attributes}}
        return bool(self._api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"].get("allowed"))

    def worker_rights(self) -> Finding:
        """Ask for each right that the worker needs, and for some that it must not have."""
        account = f"system:serviceaccount:{self.home}:{self.worker}"
        if self.worker not in self._accounts():
            return finding("worker-rights", Verdict.UNKNOWN, f"there is no account {self.worker} in namespace {self.home}")
        lacks = [_spoken(one) for one in WORKER if not self._may(account, one)]
        more = [_spoken(one) for one in NEVER if self._may(account, one)]
        if lacks or more:
            told = [f"lacks {', '.join(lacks)}"] * bool(lacks) + [f"may {', '.join(more)}"] * bool(more)
            return finding("worker-rights", Verdict.NO, f"{self.worker} {'; and '.join(told)}")
        return finding("worker-rights", Verdict.OK, f"{self.worker} has the {len(WORKER)} rights that it needs, and none of {len(NEVER)} that it must not have")

    def other_rights(self) -> Finding:
        """Ask of every other account of ours, and of a tunnel's own, what it may: nothing."""
        spaces = (self.home, self.plan.inside)
        others = [f"system:serviceaccount:{self.home}:{name}" for name in self._accounts() if name != self.worker]
        others.append(f"system:serviceaccount:{self.plan.inside}:default")
        found = {account: sorted({right for space in spaces for right in self._list(account, space)}) for account in others}
        found = {account: rights + [_spoken(one) for one in (*WORKER, *NEVER) if self._may(account, one)] for account, rights in found.items()}
        wrong = [f"{':'.join(account.split(':')[2:])} may {', '.join(rights[:8])}" for account, rights in found.items() if rights]
        if wrong:
            return finding("other-rights", Verdict.NO, "; ".join(wrong))
        return finding("other-rights", Verdict.OK, f"nothing: {', '.join(one.split(':', 2)[2] for one in others)}")

    def _accounts(self) -> list[str]:
        found = self._api.call("GET", f"/api/v1/namespaces/{self.home}/serviceaccounts")["items"]
        return [one["metadata"]["name"] for one in found]

    def _list(self, account: str, space: str) -> Iterator[str]:
        """Yield what an account may do in a namespace or everywhere, as the server lists it to that account itself."""
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": space}}
        status = self._api.as_account(account).call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)["status"]
        for rule in status["resourceRules"]:
            kinds = set(rule.get("resources", [])) - HARMLESS
            if kinds:
                yield f"{'/'.join(rule['verbs'])} {', '.join(sorted(kinds))}"


def _container(image: str) -> Manifest:
    rules = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    return {"spec": {"ephemeralContainers": [{"name": "debug", "image": image, "securityContext": rules}]}}


WAYS: Final = {  # way → method, path after the pod's, body
    "exec": ("POST", f"/exec?command=true&stdout=true&container={WORKSPACE}", None),
    "attach": ("POST", f"/attach?stdout=true&container={WORKSPACE}", None),
    "port-forward": ("POST", f"/portforward?ports={WORKSPACE_PORT}", None),
    "proxy": ("GET", "/proxy/", None),
    "debugging container": ("PATCH", "/ephemeralcontainers?dryRun=All", _container),
}


def _spoken(right: Right) -> str:
    verb, _, resource, name, where = right
    return f"{verb} {resource}{f' {name}' if name else ''}{f' in {where}' if where else ''}"


def _said(error: ApiException) -> str:
    """Return the message of a refusal."""
    text = str(error.body or error.reason)
    return str(json.loads(text).get("message", text)) if text.startswith("{") else text
