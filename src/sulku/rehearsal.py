"""A tunnel with nobody in it, and its bystanders: what `doctor --cluster` puts on a cluster to attack it, as data."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sulku.manifests import DOMAIN, PROBE, PROBE_PORT, PROVE, WORKSPACE, WORKSPACE_PORT, Manifest, Place, manifests, namespace_of
from sulku.plan import MIB, UID, Limits, WorkspacePlan

__all__ = ["CANARY", "DOCTOR", "KEPT", "OTHER_PORT", "Rehearsal"]

DOCTOR: Final = f"{DOMAIN}/doctor"  # label of all that the doctor makes; its value is the run
CANARY: Final = 7000
OTHER_PORT: Final = 8890  # the tunnel listens there, and nobody may come
KEPT: Final = "/probe"  # written by the first container, read-only in the workspace
SECONDS: Final = 300  # after which every pod ends by itself, also if the doctor was killed
_PYTHON: Final = "/opt/workspace/bin/python"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One run of the doctor.

    Attributes:
        tunnel: An id that no tunnel has.
        program: Text of ``hub/images/poddoctor.py``.
        filters: As for ``manifests``.
        sample: What fills the braces of ``place.datasets``, to try a real dataset's volume; empty tries none.
        at: When it began.
    """

    tunnel: str
    place: Place
    program: str = field(repr=False)
    at: datetime
    filters: Mapping[str, bytes] = field(repr=False)
    sample: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """Value of the label."""
        return self.tunnel[4:12]

    @property
    def inside(self) -> str:
        """Namespace of the tunnel."""
        return namespace_of(self.tunnel)

    @property
    def outside(self) -> str:
        """Namespace of the bystanders, without any policy."""
        return f"sulku-doctor-{self.run}"

    @property
    def bounded(self) -> str:
        """Namespace with a tunnel's quotas and nothing else that could refuse a pod."""
        return f"{self.outside}-quota"

    def namespace(self, name: str) -> Manifest:
        """Return a namespace of ours that is no tunnel's."""
        level = {"pod-security.kubernetes.io/enforce": "restricted"}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {DOCTOR: self.run, **level}}}

    def bystander(
        self,
        name: str,
        told: Mapping[str, Any],
        *,
        space: str = "",
        labels: Mapping[str, str] | None = None,
        sandboxed: bool = True,
        **spec: Any,
    ) -> Manifest:
        """Return a pod as restricted as a tunnel's, in the namespace outside or another, on the tunnels' runtime or the node's own.

        It is never *ready*, so that no service sends anybody to it, whatever its labels.
        """
        container = {
            "name": WORKSPACE, "image": self.place.image, "imagePullPolicy": self.place.pull, "command": self._command(told),
            "securityContext": {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
            },
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        }  # fmt: skip
        whole: Manifest = {
            "activeDeadlineSeconds": SECONDS, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False, "enableServiceLinks": False, "readinessGates": [{"conditionType": f"{DOMAIN}/never"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": UID, "runAsGroup": UID, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }  # fmt: skip
        if sandboxed and self.place.runtime_class:
            whole["runtimeClassName"] = self.place.runtime_class
        metadata = {"name": name, "namespace": space or self.outside, "labels": {**(labels or {}), DOCTOR: self.run}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole | spec}

    def quotas(self) -> list[Manifest]:
        """Return a tunnel's quotas, for the namespace that has only them."""
        found = [copy.deepcopy(one) for one in self.tunnel_objects({}) if one["kind"] == "ResourceQuota"]
        for one in found:
            one["metadata"] = {"name": one["metadata"]["name"], "namespace": self.bounded, "labels": {DOCTOR: self.run}}
        return found

    def tunnel_objects(self, told: Mapping[str, Any], first: tuple[str, int] | None = None) -> list[Manifest]:
        """Return a tunnel's own objects in their order, changed only where somebody would work in it.

        The home is scratch that goes with the pod, the three containers run the doctor's program, and one more volume is
        written by the first container and read-only in the workspace.

        Args:
            told: For the workspace's container.
            first: Host and port that the first container, which runs earliest, dials from its first moment on.
        """
        name = self.sample.get("name", "")
        # ids and a token of the right shape; none of them opens anything
        plan = WorkspacePlan(
            tunnel=self.tunnel, person=f"usr{self.tunnel[3:]}", permit=f"per{self.tunnel[3:]}", title="doctor", deadline=self.at,
            datasets=(name,) if name else (), home="/home", token=f"{self.tunnel[4:]:x<32}", limits=Limits(memory=512 * MIB, home=16 * MIB),
        )  # fmt: skip
        sources = {name: self.sample} if name else {}
        made = manifests(plan, self.place, seconds=SECONDS, probe_key=self.tunnel, filters=self.filters, sources=sources)
        kept = [one for one in made if one["metadata"]["name"].removeprefix(f"{self.inside}-") != "home"]
        for one in kept:
            one["metadata"]["labels"] = {**one["metadata"].get("labels", {}), DOCTOR: self.run}
        self._rehearse(kept[-1]["spec"], told, first)
        return kept

    def _rehearse(self, spec: Manifest, told: Mapping[str, Any], first: tuple[str, int] | None) -> None:
        """Have a workspace's pod run the doctor's program."""
        for volume in spec["volumes"]:
            if volume["name"] == "home":
                volume.pop("persistentVolumeClaim")
                volume["emptyDir"] = {"medium": "Memory", "sizeLimit": "16Mi"}
        spec["volumes"].append({"name": "probe", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
        both = {one["name"]: one for one in (*spec["initContainers"], *spec["containers"])}
        refuse = [KEPT, "/", *([f"/data/{self.sample['name']}"] if self.sample else [])]
        rest = {"sealed": True, "listen": [WORKSPACE_PORT, OTHER_PORT], "datagrams": [OTHER_PORT], "refuse": refuse, **told}
        begin = self._command({"write": KEPT, "once": True}) + ([first[0], str(first[1])] if first else [])
        commands = {PROVE: begin, PROBE: self._command({"listen": [PROBE_PORT]}), WORKSPACE: self._command(rest)}
        for name, command in commands.items():
            both[name]["command"] = command
            both[name]["volumeMounts"].append({"name": "probe", "mountPath": KEPT, "readOnly": name != PROVE})

    def attack(self, **changes: Any) -> Manifest:
        """Return a workspace's pod that is to be refused; ``changes`` go to its spec, ``container`` to its first container."""
        pod = copy.deepcopy(self.tunnel_objects({})[-1])
        workspace = pod["spec"]["containers"][0]
        workspace["securityContext"] |= changes.pop("container", {})
        pod["spec"] = {name: value for name, value in (pod["spec"] | changes).items() if value is not None}
        return pod

    def _command(self, told: Mapping[str, Any]) -> list[str]:
        return [_PYTHON, "-I", "-S", "-c", self.program, json.dumps(told)]

