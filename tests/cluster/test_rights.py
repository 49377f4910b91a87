"""What each identity may do on a cluster with the chart: golden files of `kubectl auth can-i --list`, in its own namespace and in a tunnel.

After a change that is meant: `WRITE_GOLDEN=1 python -m pytest tests/cluster/test_rights.py` writes them anew; read the difference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.cluster.guarding import HOME, Guarded

GOLDEN = Path(__file__).with_name("golden") / "rights"
IDENTITIES = {
    **{name: f"system:serviceaccount:{HOME}:{name}" for name in ("broker", "gateway", "hub", "opa", "worker")},
    "workspace": "system:serviceaccount:{space}:default",
    "person": "somebody@example.org",
}


def rights(guarded: Guarded, name: str, space: str) -> str:
    """Return what an identity may do in a namespace, a line each, without what every version of Kubernetes lets everybody read."""
    who = IDENTITIES[name].format(space=guarded.space(guarded.running))
    listed = guarded.cluster.kubectl("auth", "can-i", "--list", "--as", who, "-n", space).splitlines()
    lines = [re.sub(r"\s{2,}", "  ", line).strip() for line in listed[1:]]
    return "\n".join(sorted(line for line in lines if not re.match(r"\[/", line))) + "\n"


@pytest.mark.parametrize("where", ["home", "tunnel"])
@pytest.mark.parametrize("name", IDENTITIES)
def test_an_identity_may_do_what_is_written_down_and_nothing_else(guarded: Guarded, name: str, where: str) -> None:
    found = rights(guarded, name, HOME if where == "home" else guarded.space(guarded.running))
    found = found.replace("guards-test.internal", "sulku.internal")
    file = GOLDEN / f"{name}-{where}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found)
    assert found == file.read_text()


def test_all_but_the_worker_may_do_what_somebody_may_who_is_signed_in_and_has_no_role(guarded: Guarded) -> None:
    space = guarded.space(guarded.running)
    nothing = rights(guarded, "person", space)
    assert "create" in nothing  # questions about oneself
    for name in set(IDENTITIES) - {"person", "worker"}:
        assert rights(guarded, name, space) == nothing == rights(guarded, name, HOME)
    assert rights(guarded, "worker", space) != nothing


def test_the_list_sees_a_right_that_is_given(guarded: Guarded) -> None:
    assert "pods/exec" in guarded.cluster.kubectl("auth", "can-i", "--list", "--as", guarded.editor, "-n", HOME)
