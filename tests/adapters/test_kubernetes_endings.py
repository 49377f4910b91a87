"""What is read of a pod that does not run: why it ended, and for an operator, what keeps it; who wrote it is never the pod itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.adapters import kubernetes_endings
from broker.adapters.kubernetes_endings import Endings, cause_of, why
from sulku import ids
from sulku.codec import plain
from sulku.manifests import namespace_of
from sulku.plan import EndRecord

HOSTILE = "<script>alert(1)</script> persons.csv: 61,74"


def pod(status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "workspace"}, "status": status}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"name": "workspace", "state": {"terminated": {"exitCode": code, "reason": reason, "message": HOSTILE}}, "lastState": {"terminated": {"message": HOSTILE}}}


def test_last_words_and_messages_of_a_container_are_not_copied() -> None:
    waiting = {"name": "probe", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": HOSTILE}}}
    said = why(pod({"phase": "Failed", "message": HOSTILE, "reason": "Evicted", "containerStatuses": [ended(137)], "initContainerStatuses": [waiting]}))
    assert said == "Evicted; probe waiting CrashLoopBackOff; workspace terminated with 137 Error"


def test_a_reason_that_is_no_word_of_kubernetes_is_left_out() -> None:
    assert why(pod({"reason": HOSTILE, "containerStatuses": [ended(1, HOSTILE)]})) == "workspace terminated with 1"


def test_what_the_scheduler_says_of_a_pod_that_has_no_node_is_told() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory."}]
    conditions += [{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": HOSTILE}, {"type": "Initialized", "status": "True"}]
    said = why(pod({"phase": "Pending", "conditions": conditions}))
    assert said == "not PodScheduled Unschedulable: 0/3 nodes are available: 3 Insufficient memory.; not Ready ContainersNotReady"


def test_however_much_is_said_it_stays_short() -> None:
    many = [{"name": f"container-{number}", "state": {"waiting": {"reason": "ErrImageNeverPull"}}} for number in range(200)]
    said = why(pod({"containerStatuses": many}))
    assert len(said) <= 1000
    assert HOSTILE not in json.dumps(said)


def over(ended: str, *, told: str = "", reason: str = "") -> dict[str, Any]:
    """Return a pod that has failed: when its last container ended, and when it was told to, with a second of grace."""
    leaving = {"deletionTimestamp": told, "deletionGracePeriodSeconds": 1} if told else {}
    statuses = [{"state": {"terminated": {"finishedAt": at}}} for at in ("2026-11-23T04:00:00Z", ended)]
    return {"metadata": leaving, "status": {"phase": "Failed", "reason": reason, "containerStatuses": statuses}}


@pytest.mark.parametrize(
    ("pod", "cause"),
    [
        (None, ""),
        ({"metadata": {}, "status": {"phase": "Running"}}, ""),
        (over("2026-11-23T05:00:00Z"), "crashed"),
        (over("2026-11-23T05:00:00Z", reason="DeadlineExceeded"), "deadline"),
        (over("2026-11-23T05:00:00Z", told="2026-11-23T05:00:01Z"), "stopped"),
        (over("2026-11-23T04:59:59Z", told="2026-11-23T05:00:01Z"), "crashed"),
        (over("2026-11-23T05:00:00Z", told="2026-11-23T05:00:01Z", reason="DeadlineExceeded"), "deadline"),
        ({"metadata": {"deletionTimestamp": "2026-11-23T05:00:01Z"}, "status": {"phase": "Failed"}}, "crashed"),
    ],
)
def test_a_pod_that_was_told_to_end_did_not_crash_unless_it_had_before(pod: dict[str, Any] | None, cause: str) -> None:
    assert cause_of(pod) == cause


# --- two who meet at one end ----------------------------------------------------------------------------------------------------


class Gone:
    """A cluster on which a tunnel's pod is gone, and whoever ended it writes that down after so many looks; never, if below zero."""

    def __init__(self, tunnel: str, looks: int) -> None:
        self.space, self.looks = namespace_of(tunnel), looks
        self.theirs = EndRecord(tunnel, "stopped", datetime(2026, 11, 23, 7, tzinfo=UTC), 0, 0, home_kept=True)
        self.removed: list[str] = []
        self.made: dict[str, Any] | None = None

    def find(self, kind: str, name: str, _: str = "") -> dict[str, Any] | None:
        if kind == "ConfigMap":
            self.looks -= 1
            if self.looks == 0:
                self.made = {"data": {"record": json.dumps(plain(self.theirs))}}
            return self.made
        there = {"metadata": {"name": name, "creationTimestamp": "2026-11-23T05:00:00Z"}}
        return there if kind == "Namespace" and "Namespace" not in self.removed else None

    def every(self, kind: str, *_: object, **__: object) -> list[dict[str, Any]]:
        found = {"metadata": {"name": self.space, "creationTimestamp": "2026-11-23T05:00:00Z"}}
        return [found] if kind == "Namespace" else []

    def make(self, manifest: dict[str, Any]) -> bool:
        self.made = self.made or manifest
        return self.made is manifest

    def remove(self, kind: str, *_: object, **__: object) -> None:
        self.removed.append(kind)

    def gone(self, *_: object, **__: object) -> bool:
        return True


def endings(cluster: Gone) -> Endings:
    return Endings(cluster, "sulku", lambda: datetime(2026, 11, 23, 7, tzinfo=UTC), "sulku")  # type: ignore[arg-type]


@pytest.mark.parametrize("looks", [2, 4])
def test_who_finds_a_pod_gone_believes_whoever_has_just_ended_it(looks: int) -> None:
    cluster = Gone(tunnel := ids.new("tun"), looks)
    assert endings(cluster).status(tunnel) == cluster.theirs
    cluster = Gone(tunnel, looks)
    assert endings(cluster).reconcile([tunnel]) == []
    assert cluster.removed == []


def test_a_pod_that_somebody_took_away_has_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_endings, "SETTLE", 0.2)
    found = endings(Gone(tunnel := ids.new("tun"), -1)).status(tunnel)
    assert isinstance(found, EndRecord)
    assert (found.cause, found.detail) == ("crashed", "its pod is gone")
    [found] = endings(Gone(tunnel, -1)).reconcile([tunnel])
    assert isinstance(found, EndRecord)
    assert found.cause == "crashed"
