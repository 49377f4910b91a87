"""What is read of a pod that does not run: why it ended, and for an operator, what keeps it; who wrote it is never the pod itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.adapters.kubernetes_endings import cause_of, why

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
