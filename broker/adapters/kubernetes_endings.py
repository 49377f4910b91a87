"""How tunnels on Kubernetes end, each step of it repeatable, and how they fare, seen by the API server alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from broker.adapters.kubernetes_api import Api, pauses
from sulku import ids
from sulku.codec import plain, typed
from sulku.errors import InvalidInputError, SandboxError, TunnelEndedError
from sulku.manifests import CLAIMS, DOMAIN, OWNER, POD, PROVE, TUNNEL, WORKSPACE, Manifest, Overview, namespace_of
from sulku.plan import Alive, EndRecord

END_SECONDS: Final = 40.0
GRACE: Final = 60.0  # seconds for which a namespace may be there before anybody knows of its tunnel
KEPT: Final = 25 * 3600.0  # seconds for which the record of an end stays when it is in the ledger; see `forget`
MAKING: Final = 180.0  # seconds from a tunnel's namespace to its pod: a worker may be killed, and the next comes when its lease is over
SETTLE: Final = 5.0  # seconds in which whoever has ended a pod writes that down, once it is gone
_DONE: Final = f"{DOMAIN}/ended"  # label of what is remembered of a tunnel that is gone
_ACKNOWLEDGED: Final = f"{DOMAIN}/acknowledged"
_OVER: Final = {"Failed", "Succeeded"}
_ENDED: Final = f"metadata.name={POD},status.phase!=Pending,status.phase!=Running"  # one name: the worker may list no other pods
_REASON: Final = re.compile(r"[A-Za-z]{1,60}")


class Endings:
    """The ends of one cluster's tunnels; whoever is killed in one is finished by whoever comes next.

    A namespace is there for as long as anything of its tunnel may be: volumes are on their way out before their claims go,
    and claims before the namespace. The record is written when the pod is dead and before anything else goes.
    """

    def __init__(self, api: Api, home: str, now: Callable[[], datetime], owner: str) -> None:
        """Keep where we are; ``owner`` is the installation whose tunnels are ours: another's may be on the same cluster."""
        self._api, self._home, self._now = api, home, now
        self._ours = f"{TUNNEL},{OWNER}={owner}"
        self._rounds: dict[str, str] = {}  # tunnel → the last clean round of its prove container

    # --- ending -----------------------------------------------------------------------------------------------------

    def shorten(self, tunnel: str, deadline: datetime) -> None:
        """Have the kubelet end the pod earlier; a later deadline changes nothing. TunnelEndedError if it has ended."""
        pod = self._pod(tunnel)
        seconds = max(1, int((deadline - _began(pod)).total_seconds()))
        if seconds < pod["spec"]["activeDeadlineSeconds"]:
            self._api.merge("Pod", POD, {"spec": {"activeDeadlineSeconds": seconds}}, namespace_of(tunnel))

    def stop(self, tunnel: str) -> EndRecord:
        """Destroy the tunnel and return what is left of it; one that has ended gives its record, and what an end left is removed.

        Raises:
            TunnelEndedError: It never was here.
            SandboxError: The cluster does not let go of it: an operator must look.
        """
        if done := self._memory(tunnel):
            self._clear(tunnel)
            return done
        if self._api.find("Namespace", namespace_of(tunnel)) is None:
            raise TunnelEndedError(f"{tunnel} does not run here")
        return self._end(tunnel, cause_of(self._api.find("Pod", POD, namespace_of(tunnel))) or "stopped")

    def _end(self, tunnel: str, cause: str, detail: str = "") -> EndRecord:
        """Kill the pod, wait until the kubelet says that nothing of it lives, then remove everything that was made."""
        space = namespace_of(tunnel)
        self._rounds.pop(tunnel, None)
        self._api.remove("Pod", POD, space, grace=1)
        if not self._api.gone("Pod", POD, space, seconds=END_SECONDS):
            raise SandboxError(f"the pod of {tunnel} does not end: its node may be away")
        record = self._remember(EndRecord(tunnel, cause, self._now(), 0, 0, home_kept=True, detail=detail))
        self._clear(tunnel)
        return record

    def _clear(self, tunnel: str) -> None:
        """Remove a namespace whose pod is dead, and before it, by hand (it would wait ten seconds for them), its volumes and claims."""
        space = namespace_of(tunnel)
        found = self._api.find("Namespace", space)
        if found is None:
            return
        for claim in found["metadata"].get("annotations", {}).get(CLAIMS, "").split():
            self._api.remove("PersistentVolume", f"{space}-{claim}")
            self._api.remove("PersistentVolumeClaim", claim, space)
        self._api.remove("Namespace", space)

    def _remember(self, record: EndRecord) -> EndRecord:
        """Keep ``record``; if another worker was first, return theirs."""
        name, text = namespace_of(record.tunnel), json.dumps(plain(record))
        about = {"name": name, "namespace": self._home, "labels": {_DONE: name}}
        made = self._api.make({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "immutable": True, "data": {"record": text}})
        kept = typed(EndRecord, json.loads(text))  # with the moment as it is kept
        return kept if made else self._memory(record.tunnel) or kept

    def _memory(self, tunnel: str) -> EndRecord | None:
        found = self._api.find("ConfigMap", namespace_of(tunnel), self._home)
        return typed(EndRecord, json.loads(found["data"]["record"])) if found else None

    def _told(self, tunnel: str) -> EndRecord | None:
        """Return what somebody writes down who has just ended a pod that is gone; None: nobody has, it was taken away."""
        waits = pauses(SETTLE)
        while (found := self._memory(tunnel)) is None and next(waits):
            pass
        return found

    def acknowledge(self, tunnel: str) -> None:
        """Keep the record of ``tunnel`` a while (a late start stays refused) but list it no more: it is in the ledger."""
        self._api.merge("ConfigMap", namespace_of(tunnel), {"metadata": {"labels": {_ACKNOWLEDGED: "yes"}}}, self._home)

    def forget(self, older: float = KEPT) -> int:
        """Remove records that were acknowledged, and are older than so many seconds; return how many. One that was not, stays for ever.

        What such a record is kept for is an opening that comes late: whoever began it before the end may only now get to make it, and
        is refused. It was planned with a deadline that the guards put at most a day (`tunnels.longest`) after its beginning, so a day
        after the end it is refused because of that. Whoever slept between that look and the making has made what no record knows: it is
        ended by the next reconcile, and has been given no data, which takes the record, and not this memory.
        """
        found = [one["metadata"] for one in self._api.every("ConfigMap", f"{_DONE},{_ACKNOWLEDGED}", self._home, whole=False)]
        old = [about["name"] for about in found if not self._young(about, older)]
        for name in old:
            self._api.remove("ConfigMap", name, self._home)
        return len(old)

    # --- looking ----------------------------------------------------------------------------------------------------

    def status(self, tunnel: str) -> Alive | EndRecord | None:
        """Return how ``tunnel`` fares: alive, how it ended, or None if it never was here."""
        if done := self._memory(tunnel):
            return done
        pod = self._api.find("Pod", POD, namespace_of(tunnel))
        if pod is None:
            space = self._api.find("Namespace", namespace_of(tunnel))
            if space is None:
                return None
            if self._young(space["metadata"], MAKING):
                return Alive(tunnel, "busy", 0, 0)
            return self._told(tunnel) or self._end(tunnel, "crashed", "its pod is gone")
        if cause := cause_of(pod):
            return self._end(tunnel, cause)
        running = {one["name"] for one in containers(pod) if "running" in one["state"]}
        phase = "released" if WORKSPACE in running else "proved" if tunnel in self._rounds and PROVE in running else "busy"
        spent = (self._now() - _began(pod)).total_seconds()
        return Alive(tunnel, phase, max(0, int((pod["spec"]["activeDeadlineSeconds"] - spent) * 1000)), len(running))

    def tunnels(self) -> list[str]:
        """Return every tunnel that has a namespace, whoever made it."""
        return _tunnels(one["metadata"]["name"] for one in self._api.every("Namespace", self._ours, whole=False))

    def overview(self) -> Overview:
        """Return one cheap look at all tunnels: three lists in pages of 500, names and metadata alone, however many there are."""
        pods = (one["metadata"] for one in self._api.every("Pod", self._ours, fields=_ENDED, whole=False))
        over = [about["namespace"] for about in pods if "deletionTimestamp" not in about]  # who told it to end is about to say so
        return Overview(frozenset(self.tunnels()), tuple(_tunnels(over)), tuple(self._fresh()))

    def _fresh(self) -> list[EndRecord]:
        found = self._api.every("ConfigMap", f"{_DONE},!{_ACKNOWLEDGED}", self._home)
        return sorted((typed(EndRecord, json.loads(one["data"]["record"])) for one in found), key=lambda one: (one.at, one.tunnel))

    def ended(self) -> list[EndRecord]:
        """Return every end record that is not acknowledged, those of pods that ended by themselves included, oldest first."""
        for tunnel in self.overview().stopped:
            self.status(tunnel)
        return self._fresh()

    # --- repair -----------------------------------------------------------------------------------------------------

    def reconcile(self, live: Collection[str], grace: float = GRACE, making: float = MAKING) -> list[EndRecord | str]:
        """End what nobody knows and finish what was left half ended; return what was done. Done again, it finds nothing to do.

        Ended are tunnels that have a namespace and are not ``live``, and live ones whose pod is gone. Four lists of metadata,
        and calls only for what is wrong.

        Args:
            live: Every tunnel that may have a namespace: requested, proved, open. Looked up before this is called.
            grace: Seconds for which a namespace may be there before its tunnel is known.
            making: Seconds for which a live tunnel's may be there before its pod is made.
        """
        volumes = self._api.every("PersistentVolume", self._ours, whole=False)  # first: its namespace is older than a volume
        pods = {one["metadata"]["namespace"] for one in self._api.every("Pod", self._ours, fields=f"metadata.name={POD}", whole=False)}
        found = [one["metadata"] for one in self._api.every("Namespace", self._ours, whole=False)]
        spaces = {about["name"]: about for about in found}
        remembered = {one.tunnel for one in self._fresh()}
        wrong = {}
        for tunnel in _tunnels(spaces):
            space = namespace_of(tunnel)
            about = spaces[space]
            known = tunnel in live
            sound = (known and space in pods) or self._young(about, making if known else grace)
            if "deletionTimestamp" in about or tunnel in remembered or not sound:
                wrong[tunnel] = "deletionTimestamp" in about
        for tunnel in [one for one, leaving in wrong.items() if not leaving and one not in live]:  # at once: each is dead when its turn comes
            self._api.remove("Pod", POD, namespace_of(tunnel), grace=1)
        done = [said for tunnel, leaving in wrong.items() for said in self._repair(tunnel, leaving=leaving, known=tunnel in live)]
        for about in (one["metadata"] for one in volumes):
            if about["labels"][TUNNEL] not in spaces and "deletionTimestamp" not in about:
                self._api.remove("PersistentVolume", about["name"])
                done.append(f"removed volume {about['name']}, whose tunnel is gone")
        return done

    def _repair(self, tunnel: str, *, leaving: bool, known: bool) -> Iterator[EndRecord | str]:
        """End a tunnel, or finish its end; yield what was done."""
        space = namespace_of(tunnel)
        try:
            if self._memory(tunnel) is None:
                pod = self._api.find("Pod", POD, space)
                if known and ((pod is not None and not leaving) or (pod is None and self._told(tunnel))):
                    return  # somebody has made it meanwhile, or is ending it
                said = "its namespace was removed" if leaving else "its pod is gone" if known else "nobody knew of it"
                yield self._end(tunnel, cause_of(pod) or ("crashed" if known else "stopped"), said)
            elif leaving:
                yield from self._loosen(space)
            else:
                self._clear(tunnel)
                yield f"removed what the end of {tunnel} had left"
        except SandboxError as error:
            yield f"{tunnel}: {error}"

    def _loosen(self, space: str) -> Iterator[str]:
        """Remove the claims for which a namespace on its way out waits."""
        for claim in self._api.every("PersistentVolumeClaim", TUNNEL, space):
            if "deletionTimestamp" not in claim["metadata"]:
                self._api.remove("PersistentVolumeClaim", claim["metadata"]["name"], space)
                yield f"removed claim {claim['metadata']['name']} of {space}, which is ending"

    def _young(self, about: Manifest, seconds: float) -> bool:
        return self._now() - datetime.fromisoformat(about["creationTimestamp"]) < timedelta(seconds=seconds)

    def _pod(self, tunnel: str) -> Manifest:
        pod = self._api.find("Pod", POD, namespace_of(tunnel))
        if pod is None:
            raise TunnelEndedError(f"{tunnel} has ended")
        return pod


def _tunnels(spaces: Iterable[str]) -> list[str]:
    """Return the tunnels of namespaces, sorted; one with our label that is called otherwise is nobody's, and the guards refuse it."""
    found = []
    for space in spaces:
        with suppress(InvalidInputError):
            found.append(ids.from_label(space))
    return sorted(found)


def _began(pod: Manifest) -> datetime:
    return datetime.fromisoformat(pod["status"].get("startTime", pod["metadata"]["creationTimestamp"]))


def cause_of(pod: Manifest | None) -> str:
    """Return why a pod has ended: by its ``deadline``, ``stopped`` because it was told to end, or ``crashed``; empty if it has not."""
    if pod is None or pod["status"].get("phase") not in _OVER:
        return ""
    if pod["status"].get("reason") == "DeadlineExceeded":
        return "deadline"
    about = pod["metadata"]
    if "deletionTimestamp" not in about:
        return "crashed"
    told = datetime.fromisoformat(about["deletionTimestamp"]) - timedelta(seconds=about.get("deletionGracePeriodSeconds", 0))
    ended = [datetime.fromisoformat(one["state"]["terminated"]["finishedAt"]) for one in containers(pod) if one["state"].get("terminated", {}).get("finishedAt")]
    return "stopped" if ended and max(ended) >= told else "crashed"


def containers(pod: Manifest) -> list[dict[str, Any]]:
    """Return the status of each container of a pod, in the order in which they start."""
    status = pod["status"]
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def why(pod: Manifest) -> str:
    """Return what keeps a pod from running, for an operator: nothing that its containers wrote, last words included."""

    def reason(about: Manifest) -> str:
        text = str(about.get("reason", ""))
        return text if _REASON.fullmatch(text) else ""

    said = [reason(pod["status"])]
    for one in containers(pod):
        for kind, about in one["state"].items():
            if kind != "running":
                number = f" with {int(about['exitCode'])}" if "exitCode" in about else ""
                said.append(f"{one['name']} {kind}{number} {reason(about)}".strip())
    for one in pod["status"].get("conditions", []):
        if one.get("status") == "False":
            scheduler = f": {one.get('message', '')}" if one["type"] == "PodScheduled" else ""  # who writes before anything runs
            said.append(f"not {one['type']} {reason(one)}{scheduler}".strip())
    return "; ".join(one for one in said if one)[:1000]
