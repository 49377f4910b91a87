"""The chart, installed by Helm on a cluster of its own: everything runs, people come in, nothing connects that should not, an upgrade cuts nobody."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, Final

import pytest

from sulku.links import BROKER, GATEWAY
from tests.cluster import programs
from tests.cluster.install import CHART, PARTS, VALUES, Installed
from tests.helm.test_parts import EDGES
from tests.stories.clustered import Clustered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900, func_only=True)]

PORTS: Final = {
    "broker": (8080, 8443), "gateway": (8081, 8444), "hub": (8445,), "issuer": (8082,), "postgres": (5432,), "redis": (6379,), "canary": (7000, 7001),
}  # fmt: skip
PYTHON: Final = {"canary": "/opt/workspace/bin/python", "postgres": "python3", "redis": "python3"}
TRY: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def reached(where):
    for _ in range(2):
        try:
            socket.create_connection((where[0], where[1]), 3).close()
        except OSError:
            continue
        return True
    return False
places = json.loads(sys.argv[1])
with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(reached, places))))
"""
ASK: Final = """
import json, urllib.error, urllib.request as u
opa = "http://127.0.0.1:8181/v1/"
found = json.loads(u.urlopen(opa + "policies", timeout=5).read())["result"]
try:
    written = u.urlopen(u.Request(opa + "policies/mine", b"package mine", method="PUT"), timeout=5).status
except urllib.error.HTTPError as error:
    written = error.code
print(json.dumps({"policies": sorted(one["id"] for one in found), "written": written}))
"""


@pytest.fixture
def installed(at: Clustered) -> Installed:
    """Give what Helm installed."""
    return at.installed


def living(installed: Installed, part: str) -> list[dict[str, Any]]:
    """Return the pods of a part that are to stay: an upgrade that is just over leaves some that end."""
    return [pod for pod in installed.pods(part) if not pod["metadata"].get("deletionTimestamp")]


def inside(installed: Installed, part: str, program: str, *words: str) -> str:
    """Return what a Python program prints that is run in a container of ``part``."""
    pod = living(installed, part)[0]["metadata"]["name"]
    return installed.kubectl("exec", pod, "-c", part, "--", PYTHON.get(part, "python"), "-c", program, *words)


def test_every_part_runs_and_none_had_to_be_started_twice(installed: Installed) -> None:
    for part in PARTS:
        found = living(installed, part)
        assert len(found) == (2 if part in {BROKER, GATEWAY} else 1), part
        for pod in found:
            assert all(one["ready"] and one["restartCount"] == 0 for one in pod["status"]["containerStatuses"]), installed.logs(part)
    assert installed.pods("prepare")[0]["status"]["phase"] == "Succeeded"


def test_people_find_the_pages_their_sign_in_and_the_gateway(installed: Installed) -> None:
    status, headers, page = installed.get(f"{installed.url}/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b"</html>" in page
    status, _, discovery = installed.get(f"{installed.values['issuer']['url']}/.well-known/openid-configuration")
    assert (status, json.loads(discovery)["issuer"]) == (200, installed.values["issuer"]["url"])
    status, _, refused = installed.get(f"http://gate.{installed.values['gateDomain']}/")
    assert (status, json.loads(refused)["code"]) == (404, "not-found")


def test_the_worker_says_that_it_has_reached_everything_that_it_needs(installed: Installed) -> None:
    said = installed.kubectl("logs", "-l", "app.kubernetes.io/component=worker", "-c", "reach", "--tail=-1").splitlines()
    events = [json.loads(line) for line in said]
    names = ["the database", "OPA", "Redis", "the API server", "the gateways", "the hub", "the canary"]
    assert [one["what"] for one in events if one["event"] == "reached"] == names


@pytest.mark.parametrize("part", PARTS)
def test_a_part_connects_to_those_that_its_edges_name_and_to_no_other(installed: Installed, part: str) -> None:
    """Every port of every other part is tried from inside, and the API server; what succeeds is the list and nothing else."""
    places = [(other, living(installed, other)[0]["status"]["podIP"], port) for other, ports in PORTS.items() for port in ports if other != part]
    places.append(("API server", "10.96.0.1", 443))
    answers = json.loads(inside(installed, part, TRY, json.dumps([place[1:] for place in places])))
    reached = {(part, name, port) for (name, _, port), answer in zip(places, answers, strict=True) if answer}
    listed = {edge for edge in EDGES if edge[0] == part}
    assert reached == listed | ({(part, "API server", 443)} if part == "worker" else set())


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_nobody_and_can_change_nothing_of_itself(installed: Installed, part: str) -> None:
    program = """
import os
writable = [place for place in ("/", "/opt", "/usr", "/etc", "/root", "/var") if os.access(place, os.W_OK)]
token = os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token")
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print(os.getuid(), writable, token, int(status["CapEff"], 16))
"""
    assert inside(installed, part, program).strip() == f"1000 [] {part == 'worker'} 0"


INSPECT: Final = """
from broker.adapters.inspection import Inspector
try:
    Inspector().probe()
except Exception as error:
    print(type(error).__name__, error)
else:
    print("inspects")
"""


def test_outputs_are_inspected_in_a_sandbox_inside_the_workers_own(installed: Installed) -> None:
    assert inside(installed, "worker", INSPECT).strip() == "inspects"


def test_a_plain_container_cannot_isolate_the_reader_and_says_so(installed: Installed) -> None:
    """Which is why the worker has the runtime class; nothing is read without isolation."""
    assert inside(installed, "broker", INSPECT).startswith("InspectionUnavailableError the isolated reader did not start")


def test_opa_runs_our_rules_takes_no_others_and_answers_nobody_else(installed: Installed) -> None:
    rules, more = (json.loads(inside(installed, part, ASK)) for part in (BROKER, "worker"))
    assert rules == more
    assert len(rules["policies"]) > 5
    assert rules["written"] == 401
    place = [[pod["status"]["podIP"], 8181] for pod in living(installed, BROKER)[:1]]
    assert json.loads(inside(installed, BROKER, TRY, json.dumps(place))) == [False]  # not even from beside it, by its address


def test_every_object_is_taken_by_the_api_server_in_production_too(installed: Installed, tmp_path: Path) -> None:
    """A dry run on the server: types, names and admission are looked at, Pod Security among them; warnings are failures."""
    production = {
        "mode": "production", "url": "https://tre.example.org", "previewUrl": "https://preview.example.org", "gateDomain": "tunnels.example.org",
        "issuer": {"url": "https://login.example.org", "development": False, "clientSecret": "oidc"}, "services": {"broker": {"clusterIP": ""}},
        "state": {"hostPath": "", "existingClaim": "state"},
        "database": {"url": "postgresql+psycopg://sulku@db.example.org/sulku", "existingSecret": "db"},
        "redis": {"url": "rediss://redis.example.org:6380/0", "existingSecret": "redis-password"},
        "certificates": {part: f"tls-{part}" for part in ("broker", "worker", "gateway", "hub")},
        "policies": {"key": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"},
    }  # fmt: skip
    file = tmp_path / "values.json"
    for values in (installed.values, production):
        file.write_text(json.dumps(values))
        objects = installed.helm("template", "sulku", str(CHART), "--kube-version", programs.KUBERNETES, "-f", str(VALUES), "-f", str(file))
        said = installed.kubectl("apply", "--dry-run=server", "-f", "-", given=objects, check=False, seconds=120)
        assert "Error" not in said, said
        assert "would violate PodSecurity" not in said, said
        assert said.count("(server dry run)") >= 40


@pytest.mark.draw(1, "replaced")
def test_an_upgrade_keeps_secrets_and_certificates_and_nobody_meets_a_closed_door(installed: Installed) -> None:
    def secrets() -> dict[str, object]:
        return {one["metadata"]["name"]: one["data"] for one in installed.cluster.get("secrets", "-n", installed.namespace)["items"] if "helm" not in one["type"]}

    def names() -> set[str]:
        return {pod["metadata"]["name"] for pod in installed.pods()}

    before, stop = secrets(), threading.Event()
    failures: list[tuple[float, str, int | str]] = []
    assert {"tokens", "session", "canary", "database", "redis", "authority", "certificate-hub"} <= set(before)

    def visit() -> None:
        doors = (f"{installed.url}/healthz", f"http://gate.{installed.values['gateDomain']}/")
        while not stop.is_set():
            for door in doors:
                status: int | str
                try:
                    status = installed.get(door)[0]
                except OSError as error:
                    status = repr(error)
                if status not in {200, 404}:
                    failures.append((time.time(), door, status))
            time.sleep(0.2)

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        pods = names()
        installed.upgrade({"tunnels": {"patrolSeconds": 31}, "network": {"api": []}})
    finally:
        stop.set()
        visitor.join()
    parts = {name.partition("-")[0] for name in names() - pods}
    assert parts == {"broker", "issuer", "prepare", "worker"}, "who reads what has changed is new, and nobody else"
    assert secrets() == before
    assert failures == []
    out = json.dumps(installed.cluster.get("networkpolicy", "worker", "-n", installed.namespace)["spec"]["egress"])
    assert '"198.18.0.10/32"' in out, "where the API servers are was looked up, and the new worker has reached them"


def test_a_gateway_that_is_to_end_is_still_told_of_cuts_and_people_are_sent_to_the_other(installed: Installed) -> None:
    leaving, staying = (pod["status"]["podIP"] for pod in living(installed, GATEWAY))
    name = next(pod["metadata"]["name"] for pod in living(installed, GATEWAY) if pod["status"]["podIP"] == leaving)
    installed.kubectl("delete", "pod", name, "--wait=false")

    def ready(service: str) -> set[str]:
        pieces = installed.cluster.get("endpointslices", "-n", installed.namespace, "-l", f"kubernetes.io/service-name={service}")["items"]
        return {endpoint["addresses"][0] for piece in pieces for endpoint in piece["endpoints"] or () if endpoint["conditions"]["ready"]}

    seen = [(ready("gateway"), ready("gateway-control"))]
    while leaving in seen[-1][0] | seen[-1][1]:
        seen.append((ready("gateway"), ready("gateway-control")))
    told = [people for people, cuts in seen if leaving not in people and leaving in cuts]
    assert told, "a cut would not reach the websockets that it still has"
    assert any(staying in people for people in told), "people are sent to nobody"
    installed.wait()
