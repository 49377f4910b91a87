"""The doctor on a real cluster: a sound one is found fit, and each thing that is broken on purpose is named by the right line."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from broker import wiring
from broker.adapters.examination import Doctor
from broker.settings import load
from broker.store import migrate
from broker.store.unit import Database
from sulku.codec import plain
from sulku.manifests import Manifest
from sulku.rehearsal import DOCTOR
from sulku.soundness import CHECKS, Finding, Verdict, safe
from tests.cluster import turns
from tests.cluster.bench import controller_answers, now
from tests.cluster.clinic import METADATA, Clinic, Tongue, mutation
from tests.cluster.cluster import Cluster
from tests.soon import soon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, func_only=True)]
SOUND = Tongue("doctor-sound.internal", "d")
SPOILED = Tongue("doctor-spoiled.internal", "s")
OTHER = Tongue("doctor-other.internal", "c")
LEDGER = Finding("ledger", "", Verdict.OK, "", "", blocks=False)  # is not the cluster's; tests/store and the command's test have it
MEANT = {"user-namespace"}  # this cluster cannot, and its tunnels are set not to
SILENT = 30  # seconds; alone it says something every ten
drawn = pytest.mark.draw(3, "doctor")  # each of these examines a whole cluster, half a minute long


@pytest.fixture(scope="module")
def metadata(cluster: Cluster) -> Iterator[None]:
    """Have the node answer at the metadata address of a cloud, so that a way to it would lead somewhere."""
    subprocess.run(["ip", "addr", "replace", f"{METADATA}/32", "dev", "eth0"], check=True)
    with closing(socket.create_server((METADATA, 80), reuse_port=True)) as listener:  # with others who run these tests
        threading.Thread(target=_answer, args=(listener,), daemon=True).start()
        yield


def _answer(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


Findings = dict[str, Finding]


def by_name(findings: list[Finding]) -> Findings:
    """Return findings by check; none comes twice."""
    found = {one.check: one for one in findings}
    assert len(found) == len(findings)
    return found


def examined(called: Callable[[], Doctor]) -> Findings:
    """Return what a doctor finds; where a control was lost on a busy machine, so that it cannot tell, another one is called once."""
    found = by_name(called().examine())
    return by_name(called().examine()) if any(one.verdict is Verdict.UNKNOWN and one.blocks for one in found.values()) else found


@pytest.fixture(scope="module")
def sound(cluster: Cluster, prepared: Path, metadata: None) -> tuple[Clinic, Findings]:
    """Give what the doctor found where everything is as it should be."""
    with turns.turn(), Clinic(cluster, prepared, SOUND, "doctor-sound") as clinic:
        return clinic, examined(clinic.doctor)


@pytest.fixture(scope="module")
def spoiled(cluster: Cluster, prepared: Path, metadata: None) -> Findings:
    """Give what the doctor found where somebody spoiled one thing after the other, and nobody installed the guards."""
    with turns.turn(), Clinic(cluster, prepared, SPOILED, "doctor-spoiled", guards=False, runtime="doctor-gvisor", sabotage=sabotage()) as clinic:
        return examined(lambda: clinic.doctor(clock=lambda: now() + timedelta(seconds=5)))


def sabotage() -> list[Manifest]:
    """Return what spoils a cluster while the API server accepts every manifest of ours."""
    hole = f"dyn({{'to': [{{'ipBlock': {{'cidr': '{METADATA}/32'}}}}]}})"
    last = "string(size(object.spec.containers[0].volumeMounts) - 1)"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    rights = {"hub": "view", "worker": "admin"}
    return [
        *mutation("network", "networking.k8s.io", "networkpolicies", "true", f"[{_set('add', '/spec/egress', f'[{hole}]')}, {_set('replace', '/spec/ingress', '[dyn({})]')}]"),
        *mutation("quota", "", "resourcequotas", "object.metadata.name == 'endless'", f"[{_set('replace', '/spec/hard/pods', repr('9'))}]"),
        *mutation("end", "", "pods", "object.metadata.name == 'short'", f"[{_set('replace', '/spec/activeDeadlineSeconds', '90')}]"),
        *mutation("mount", "", "pods", "object.metadata.name == 'workspace'", f"[JSONPatch{{op: 'remove', path: '/spec/containers/0/volumeMounts/' + {last} + '/readOnly'}}]"),
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "doctor-gvisor"}, "handler": "runc"},
        *(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": f"doctor-spoiled-{name}"},
                "roleRef": {**role, "name": right}, "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "doctor-spoiled"}],
            }
            for name, right in rights.items()
        ),
        *mutation("level", "", "namespaces", "true", _patch("remove", "/metadata/labels/pod-security.kubernetes.io~1enforce"), wide=True),
    ]  # fmt: skip


def _set(op: str, path: str, value: str) -> str:
    return f"JSONPatch{{op: '{op}', path: '{path}', value: {value}}}"


def _patch(op: str, path: str) -> str:
    return f"[JSONPatch{{op: '{op}', path: '{path}'}}]"


# --- a sound cluster, and one that is not ---------------------------------------------------------------------------


@drawn
def test_a_sound_cluster_is_found_fit_and_every_line_says_why(sound: tuple[Clinic, Findings]) -> None:
    _, found = sound
    assert {name: one.found for name, one in found.items() if one.verdict is not Verdict.OK and name not in MEANT} == {}
    assert safe([*found.values(), LEDGER])
    assert all(one.attack and one.found for one in found.values())


@drawn
def test_what_a_site_does_not_use_is_told_and_does_not_block(sound: tuple[Clinic, Findings]) -> None:
    one = sound[1]["user-namespace"]
    assert (one.verdict, one.blocks) == (Verdict.NO, False)
    assert one.remedy


@drawn
def test_the_time_that_a_policy_needs_is_measured_on_a_fresh_pod(sound: tuple[Clinic, Findings]) -> None:
    assert re.search(r"\d+ ms", sound[1]["policy-delay"].found)


@drawn
def test_nothing_is_left_and_no_step_is_silent(sound: tuple[Clinic, Findings]) -> None:
    clinic, _ = sound
    assert clinic.left() == ""
    times = [at for at, _ in clinic.said]
    assert max(after - before for before, after in itertools.pairwise(times)) < SILENT


BROKEN = {  # check → what its line must say, as a pattern
    "metadata": f"open: metadata-{METADATA}",
    "ingress": "a stranger got in",
    "gateway": "reaches other as well",
    "runtime-class": "doctor-gvisor runs on the node's own kernel",
    "pod-security": "not refused by Pod Security, only by what stands after it: privileged",
    "quota": "a pod without an end is let in",
    "deadline": "outlives its deadline",
    "read-only": "written",
    "guard-entry": "no ValidatingAdmissionPolicy that looks for sulku.internal/tunnel is installed",
    "guard-pods": "no guard speaks against a pod",
    "worker-rights": "worker may create pods/exec",
    "other-rights": "doctor-spoiled:hub may",
    "clock-server": r"-[45]\.\d s from ours",
    "clock-pods": "out of step",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_by_its_line_and_blocks(spoiled: Findings, name: str) -> None:
    one = spoiled[name]
    assert one.verdict is Verdict.NO
    assert re.search(BROKEN[name], one.found)
    assert one.blocks
    assert one.remedy
    assert not safe([*spoiled.values(), LEDGER])


@pytest.mark.parametrize("name", ["egress-tcp", "egress-udp", "dns-udp", "dns-tcp", "egress-node", "dataset", "clean-up"])
def test_what_is_not_broken_is_not_blamed(spoiled: Findings, name: str) -> None:
    assert spoiled[name].verdict is Verdict.OK, spoiled[name].found


@drawn
@pytest.mark.alone
def test_without_a_policy_controller_every_way_is_open_and_no_tunnel_would_be_safe(cluster: Cluster, prepared: Path, metadata: None) -> None:
    with Clinic(cluster, prepared, OTHER, "doctor-other", guards=False) as clinic:
        cluster.kill("netpol")
        try:
            found = by_name(clinic.doctor().examine())
        finally:
            cluster.start("netpol")
            assert soon(controller_answers)
        for name in ("egress-tcp", "egress-udp", "dns-udp", "dns-tcp", "egress-api-server", "egress-node", "metadata", "ingress", "policy-delay", "gateway"):
            assert found[name].verdict is Verdict.NO, f"{name}: {found[name].found}"
            assert found[name].blocks
        assert found["control"].verdict is Verdict.OK
        assert found["runtime-class"].verdict is Verdict.OK
        assert clinic.left() == ""


@drawn
def test_where_the_control_gets_nowhere_nothing_is_called_closed(cluster: Cluster, prepared: Path) -> None:
    with Clinic(cluster, prepared, OTHER, "doctor-silent", guards=False) as clinic:
        doctor = clinic.doctor()
        space = doctor._plan.outside
        deny = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": space}}
        deny["spec"] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        given = json.dumps(deny)
        applied = threading.Thread(target=soon, args=(lambda: "created" in cluster.kubectl("apply", "-f", "-", given=given, check=False),))
        applied.start()
        found = by_name(doctor.examine())
        applied.join()
        assert found["control"].verdict is Verdict.NO
        for name in ("egress-tcp", "egress-udp", "dns-udp", "dns-tcp", "egress-node", "ingress", "runtime-class"):
            assert found[name].verdict is Verdict.UNKNOWN
            assert found[name].blocks
        assert clinic.left() == ""


@drawn
def test_a_tunnel_that_needs_user_namespaces_is_not_safe_where_there_are_none(cluster: Cluster, prepared: Path) -> None:
    with Clinic(cluster, prepared, OTHER, "doctor-users", guards=False) as clinic:
        found = by_name(clinic.doctor(user_namespace=True).examine())
        assert found["tunnel"].verdict is Verdict.NO
        assert found["user-namespace"].blocks
        assert "tunnels use it" in found["user-namespace"].found
        assert found["egress-tcp"].verdict is Verdict.UNKNOWN
        assert clinic.left() == ""


@drawn
def test_what_a_killed_doctor_left_is_removed_by_a_later_one_and_a_running_ones_is_not(cluster: Cluster, prepared: Path) -> None:
    with Clinic(cluster, prepared, OTHER, "doctor-killed", guards=False) as clinic:
        before = clinic.doctor()
        before._ward.make([before._plan.namespace(before._plan.outside)])
        clinic.doctor()._prepare()
        assert before._plan.outside in clinic.left()
        clinic.doctor(clock=lambda: now() + timedelta(minutes=11))._prepare()
        assert soon(lambda: clinic.left() == "")


# --- the command ----------------------------------------------------------------------------------------------------


def state(folder: Path, clinic: Clinic, **changes: Any) -> Path:
    """Return the state folder of an operator's installation, with a ledger."""
    told = {"kubeconfig": str(clinic.cluster.kubeconfig), "namespace": clinic.home, "place": plain(clinic.place()), **changes}
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(told))
    migrate.upgrade(Database(wiring.database_url(load(folder))))
    return folder


class Command:
    """`sulku-broker doctor --cluster`, as an operator runs it; what it says is kept with the time."""

    def __init__(self, folder: Path, *words: str) -> None:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-m", "broker.manage", "doctor", "--cluster", "--state", str(folder), *words]
        environment = os.environ | {"PYTHONPATH": "src:."}
        self.process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[tuple[float, str]] = [(time.monotonic(), "")]
        self.listening = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self.listening.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Have it end, and remove what it made, if the test did not wait for it."""
        self.process.terminate()
        self.process.wait(120)
        self.listening.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append((time.monotonic(), line.strip()))

    def heard(self, words: str) -> Callable[[], bool]:
        """Return whether it has said something, as a question."""
        return lambda: any(words in line for _, line in self.said)

    def done(self) -> tuple[int, str]:
        """Return the exit status and what it printed."""
        assert self.process.stdout is not None
        printed = self.process.stdout.read()
        return self.process.wait(), printed


@drawn
@pytest.mark.alone
def test_the_command_finds_a_sound_cluster_fit_and_is_never_silent(cluster: Cluster, prepared: Path, metadata: None, tmp_path: Path) -> None:
    words = ("--json", "--dataset", "name=flchain", "--dataset", "version=1")
    with Clinic(cluster, prepared, Tongue(), "doctor-command") as clinic, Command(state(tmp_path / "state", clinic), *words) as command:
        status, printed = command.done()
        told = json.loads(printed)
        assert (status, told["safe"]) == (0, True), [one for one in told["findings"] if one["blocks"]]
        assert [one["check"] for one in told["findings"] if one["verdict"] != "ok"] == sorted(MEANT)
        assert {one["check"] for one in told["findings"]} == set(CHECKS)
        times = [at for at, _ in command.said]
        assert max(after - before for before, after in itertools.pairwise(times)) < SILENT
        assert clinic.left() == ""


@drawn
def test_the_command_shows_a_table_and_fails_where_there_are_no_guards(cluster: Cluster, prepared: Path, tmp_path: Path) -> None:
    with Clinic(cluster, prepared, OTHER, "doctor-table", guards=False) as clinic:
        if Clinic(cluster, prepared, Tongue(), "", guards=False).guarded():
            pytest.skip("somebody has installed the chart's guards on this cluster")
        with Command(state(tmp_path / "state", clinic)) as command:
            status, printed = command.done()
        assert status == 6
        assert "would not be safe" in printed
        assert re.search(r"guard-entry .*not ok", printed)
        assert re.search(r"egress-tcp .*ok", printed)
        assert "unknown *" in printed  # no dataset was named, which does not block


@drawn
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_removes_what_it_made(cluster: Cluster, prepared: Path, tmp_path: Path, how: signal.Signals) -> None:
    with Clinic(cluster, prepared, OTHER, "doctor-cut", guards=False) as clinic, Command(state(tmp_path / "state", clinic)) as command:
        assert soon(command.heard("tunnel: ok"))
        run = next(re.search(r"run (\w+):", line)[1] for _, line in command.said if "run " in line)  # type: ignore[index]
        command.process.send_signal(how)
        assert soon(command.heard("look for what we made"))
        command.process.send_signal(how)  # impatience changes nothing
        status, printed = command.done()
        assert status != 0
        assert printed == ""
        assert cluster.kubectl("get", "namespaces,persistentvolumes,pods", "-A", "-l", f"{DOCTOR}={run}", "-o", "name") == ""


def test_the_command_says_at_once_that_no_server_answers(cluster: Cluster, prepared: Path, tmp_path: Path) -> None:
    clinic = Clinic(cluster, prepared, OTHER, "doctor-away", guards=False)
    away = tmp_path / "away.conf"
    away.write_text(cluster.kubeconfig.read_text().replace(":6443", ":6444"))
    with Command(state(tmp_path / "state", clinic, kubeconfig=str(away)), "--json") as command:
        status, printed = command.done()
    assert status == 6
    found = {one["check"]: one["verdict"] for one in json.loads(printed)["findings"]}
    assert found.pop("api-server") == "not ok"
    assert found.pop("ledger") == "ok"
    assert set(found.values()) == {"unknown"}
