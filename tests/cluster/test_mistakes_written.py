"""What public Kubernetes-based research environments got wrong in code and configuration, looked for in ours.

Each test has a control that shows that it can tell. What each mistake was: `docs/explanation/threat-model-kubernetes.md`;
those that are about a running tunnel are in `test_mistakes.py`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from broker.gateway.settings import Settings as GatewaySettings
from broker.settings import Settings
from hub.settings import HubSettings
from sulku import ids
from sulku.errors import InvalidInputError
from sulku.manifests import Manifest
from sulku.plan import WorkspacePlan
from tests.cluster.mistakes import FORGED, forged
from tests.cluster.programs import KUBERNETES, program
from tests.core.test_manifests import PLAN, made
from tests.fakes.broker import FakeBroker
from tests.gateway.rig import ROOT, GatewayProcess
from tests.web import rig as rigs
from tests.web.rig import Rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Give a broker and an issuer that people sign in at."""
    with rigs.running(tmp_path_factory.mktemp("broker") / "state", rigs.template(tmp_path_factory.mktemp("template"))) as running:
        yield running


# --- 1: tokens that nobody checked, and tokens in addresses -----------------------------------------------------------


@pytest.mark.parametrize("how", FORGED)
def test_a_token_that_the_issuer_did_not_sign_as_it_stands_is_refused(rig: Rig, how: str) -> None:
    token = rig.token("aino")
    shown = (forged(rig, token, how), token)
    asked = [rig.client(base_url=rig.url, headers={"Authorization": f"Bearer {one}"}).get("/api/v1/me") for one in shown]
    assert [one.status_code for one in asked] == [401, 200]


def test_a_token_that_has_ended_is_refused(rig: Rig) -> None:
    person = rig.api("aino")
    assert person.get("/me").status_code == 200
    rig.clock.ahead = timedelta(days=2)
    try:
        assert person.get("/me").status_code == 401
    finally:
        rig.clock.ahead = timedelta(0)


@pytest.mark.parametrize("name", ["token", "access_token", "id_token", "bearer"])
def test_the_broker_takes_no_token_from_an_address(rig: Rig, name: str) -> None:
    token, nobody = rig.token("aino"), rig.client(base_url=rig.url)
    assert nobody.get("/api/v1/me", params={name: token}).status_code == 401
    assert nobody.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200


# --- 2: a signing secret with a default -------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[FakeBroker]:
    made = FakeBroker(tmp_path, "gateway-token")
    made.start()
    yield made
    made.stop()


def refused(folder: Path, broker: FakeBroker, session_key: Path) -> str:
    """Return why a gateway does not start."""
    asked = GatewayProcess(folder, broker, session_key_file=str(session_key))
    (folder / "gateway.json").write_text(json.dumps(asked.settings))
    command = [sys.executable, "-m", "broker.gateway", "--config", str(folder / "gateway.json")]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "src:."}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize(("text", "why"), [(None, "No such file"), ("", "is empty"), ("change-me", "at least 32"), ("x" * 31, "at least 32")])
def test_a_gateway_does_not_start_with_a_missing_default_or_short_key(broker: FakeBroker, tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "session.key"
    if text is not None:
        file.touch(mode=0o600)
        file.write_text(text)
    assert why in refused(tmp_path, broker, file)


def test_a_gateway_does_not_start_with_a_key_that_others_can_read_and_starts_with_a_good_one(broker: FakeBroker, tmp_path: Path) -> None:
    file = tmp_path / "session.key"
    file.write_text("x" * 32)
    file.chmod(0o644)
    assert "can be read by others" in refused(tmp_path, broker, file)
    file.chmod(0o600)
    with GatewayProcess(tmp_path, broker, session_key_file=str(file)).run() as running:
        assert running.control("GET", "/control/health")[0] == 200


def settings() -> dict[str, object]:
    """Return every setting of every part with its default."""
    said: dict[str, object] = {name: field.default for name, field in Settings.model_fields.items()}
    for kind in (GatewaySettings, HubSettings):
        said |= {one.name: one.default for one in dataclasses.fields(kind)}
    return said


def test_every_secret_is_a_file_and_none_has_a_default() -> None:
    secret = {name: default for name, default in settings().items() if re.search("secret|password|token|key", name)}
    assert len(secret) >= 8
    assert [name for name in secret if not name.endswith("_file")] == []
    assert [name for name, default in secret.items() if default not in {None, "", dataclasses.MISSING}] == []


# --- 4: grants found by taking names apart; 5: names that two things share --------------------------------------------

_IDS = st.text(ids.ALPHABET, min_size=ids.LENGTH, max_size=ids.LENGTH)


@given(st.lists(st.tuples(_IDS, _IDS, _IDS), min_size=2, max_size=4, unique=True), st.text(min_size=1, max_size=40))
def test_tunnels_people_and_permits_never_share_a_namespace_a_volume_or_a_home(rows: list[tuple[str, str, str]], title: str) -> None:
    """Ids are of one length, so that no two rows can be written alike; what people and permits are called is nowhere in it."""
    plans = [replace(PLAN, tunnel=f"tun_{one}", person=f"usr_{two}", permit=f"per_{three}", title=title) for one, two, three in rows]
    for first, second in combinations(plans, 2):
        assert (_home(first) == _home(second)) == ((first.person, first.permit) == (second.person, second.permit))
        assert _named(first).isdisjoint(_named(second)) == (first.tunnel != second.tunnel)
    assert _named(plans[0]) == _named(replace(plans[0], title=f"ann-b in c, {title}"))


def _named(plan: WorkspacePlan) -> set[str]:
    return {one["metadata"]["name"] for one in made(plan=plan) if one["kind"] in {"Namespace", "PersistentVolume"}}


def _home(plan: WorkspacePlan) -> str:
    return next(str(one["spec"]["nfs"]["path"]) for one in made(plan=plan) if "nfs" in one.get("spec", {}))


@pytest.mark.parametrize("name", ["ann-b-c", "per_a/../per_b", "usr_0123456789ABCDEF", "usr_a.b", "", "usr_0123456789abcde", "usr_0123456789abcdeé"])
def test_what_is_no_id_of_ours_names_no_person_and_no_tunnel(name: str) -> None:
    with pytest.raises(InvalidInputError):
        replace(PLAN, person=name)
    with pytest.raises(InvalidInputError):
        ids.from_label(name.replace("usr_", "t-"))
    assert ids.from_label(ids.label(PLAN.tunnel)) == PLAN.tunnel


# --- 3, 7, 9: checks that a setting turns off -------------------------------------------------------------------------

UNCHECKED = re.compile(r"verify(_ssl)?\s*=\s*False|\bssl\s*=\s*False|check_hostname\s*=\s*False|CERT_NONE|_unverified_|(?i:insecure.?skip)|allow_(all|origin\w*)\s*=")
LOOSE = re.compile(r"(?i)verify|insecure|unsafe|allow_?(all|any|origin)|cors|debug")
WEAK = (
    "requests.get(url, verify=False)", "insecureSkipVerify: true", "context.verify_mode = ssl.CERT_NONE", "c.Authenticator.allow_all = True",
    "c.ServerApp.allow_origin = '*'",
)  # fmt: skip


MEANT = {  # lines that look like it, and are not
    'raise ConfigurationError(f"{kubeconfig} says insecure-skip-tls-verify: whoever answers would be believed")',
    "context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is ourselves",  # a probe, which says nothing and believes nothing
}


def test_no_line_of_ours_leaves_a_certificate_or_an_origin_unchecked_or_lets_everybody_in() -> None:
    files = [one for folder in ("src", "broker", "hub", "helm") for one in (ROOT / folder).rglob("*") if one.suffix in {".py", ".yaml", ".tpl", ".sh", ".json"}]
    assert len(files) > 100
    found = [line.strip() for one in files for line in one.read_text(encoding="utf-8").splitlines() if UNCHECKED.search(line)]
    assert sorted(found) == sorted(MEANT)
    assert [line for line in WEAK if not UNCHECKED.search(line)] == []


def test_no_setting_of_ours_loosens_a_check() -> None:
    names = {*settings(), *re.findall(r"^[ #]*(\w+):", (ROOT / "helm" / "sulku" / "values.yaml").read_text(), re.MULTILINE)}
    assert len(names) > 60
    assert [one for one in names if LOOSE.search(one)] == []
    assert all(LOOSE.search(one) for one in ("allow_all", "verify_tls", "insecureSkipVerify", "allowOrigin", "enableDebug"))


def test_a_page_of_another_origin_is_told_nothing_by_the_broker(rig: Rig) -> None:
    browser = rig.signed_in("aino")
    for headers in ({"Origin": "https://elsewhere.example"}, {"Origin": "null"}):
        for method in ("GET", "OPTIONS"):
            answer = browser.request(method, "/api/v1/me", headers={**headers, "Sec-Fetch-Site": "cross-site"})
            assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert browser.put("/api/v1/me/absence", json={}, headers={"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert browser.get("/api/v1/me").status_code == 200


# --- 2, 10, 12: what the chart makes ----------------------------------------------------------------------------------


def chart() -> list[Manifest]:
    """Return what the chart makes of its sample, drawn anew."""
    folder = ROOT / "helm" / "sulku"
    command = [str(program("helm")), "template", "sulku", str(folder), "-n", "sulku", "--kube-version", KUBERNETES, "-f", str(folder / "ci" / "values.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def drawn(objects: list[Manifest]) -> dict[str, str]:
    """Return every value of every secret."""
    return {f"{one['metadata']['name']}/{key}": value for one in objects if one["kind"] == "Secret" for key, value in one["data"].items()}


def test_every_secret_of_the_chart_is_drawn_and_stands_nowhere_but_in_secrets() -> None:
    first, second = chart(), chart()
    values, others = drawn(first), drawn(second)
    assert len(values) > 15
    assert [name for name in values if values[name] == others[name] or len(base64.b64decode(values[name])) < 32] == []
    told = json.dumps([one for one in first if one["kind"] != "Secret"])
    assert "http://broker.sulku.example:8080" in told  # what is said there is found there
    assert [name for name, value in values.items() if value in told or base64.b64decode(value).decode() in told] == []


def test_our_own_namespace_is_closed_both_ways_and_no_edge_leads_everywhere_or_to_the_metadata_address() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in chart() if one["kind"] == "NetworkPolicy"}
    assert policies.pop("closed") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert len(policies) > 5
    for name, spec in policies.items():
        assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"], name
        for edge in spec.get("egress") or []:
            assert edge["to"], name
            assert edge["ports"], name
            blocks = [ip_network(peer["ipBlock"]["cidr"]) for peer in edge["to"] if "ipBlock" in peer]
            assert not any(ip_address("169.254.169.254") in block for block in blocks), name
