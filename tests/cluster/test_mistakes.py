"""What public Kubernetes-based research environments got wrong, tried on a running tunnel of ours, its gateway and its hub.

Each test has a control that shows that it can tell. What each mistake was: `docs/explanation/threat-model-kubernetes.md`;
those that are about what is written rather than what runs are in `test_mistakes_written.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes.client import ApiClient
from websocket import WebSocketBadStatusException

from broker.adapters.kubernetes_api import Api
from sulku import ids
from sulku.errors import ClusterUnavailableError
from tests.cluster import turns
from tests.cluster.cluster import ADDRESS
from tests.cluster.guarding import HOME, Guarded, client
from tests.cluster.mistakes import Impostor, Opened, elsewhere, listening
from tests.fakes.broker import OpenTunnel
from tests.gateway.rig import over_socket
from tests.hub.rig import USER, Hub
from tests.soon import eventually, soon

PODS = "10.244.0.0/16"
INDEX = "203.0.113.7"  # stands for a public index of packages: a block for documentation, which nobody routes
METADATA = ("169.254.170.2", "168.63.129.16")  # of two clouds; other tests listen at a third
ELSEWHERE = "https://elsewhere.example"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400, func_only=True)]  # two of them open tunnels beside others who do


@pytest.fixture(scope="module")
def tunnel(guarded: Guarded) -> Iterator[Opened]:
    with turns.turn():
        opened = Opened(guarded, guarded.plan())
    yield opened
    opened.end()


@pytest.fixture(scope="module")
def site(tunnel: Opened, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Give a real hub and a real gateway, with a broker that has tunnels on record."""
    hub = Hub(tmp_path_factory.mktemp("site"))
    hub.gateway.settings["workspace_networks"] = [PODS]
    hub.broker.start()
    with hub.gateway.run(), hub.run():
        assert hub.ask("POST", f"/users/{USER}")[0] == 201
        yield hub
    hub.broker.stop()


@pytest.fixture(scope="module")
def record(site: Hub, tunnel: Opened) -> OpenTunnel:
    """Give the tunnel's row in the broker's record; an address has one tunnel."""
    return site.broker.open(tunnel.address, tunnel.plan.token)


# --- 1: tokens in addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["token", "access_token", "id_token"])
def test_the_gateway_takes_no_token_from_an_address(site: Hub, record: OpenTunnel, name: str) -> None:
    written = f"/api/kernels?{name}={record.token}"
    assert site.gateway.browser(record).get(written).status in {401, 403}
    inside = site.gateway.enter(record)
    assert inside.get(written).status in {400, 403, 404}
    assert inside.get("/api/kernels").status == 200


# --- 3: everybody may sign in to the hub; 6: an opening goes on though who decides is away ----------------------------


def test_nobody_signs_in_to_the_hub_with_or_without_a_permit(site: Hub, tunnel: Opened) -> None:
    for way in ("/hub/login", "/hub/signup", "/hub/oauth_login", f"/hub/login?token={tunnel.plan.token}"):
        assert "<form" not in str(over_socket(site.socket, "GET", way, None, "")[1]), way
    assert over_socket(site.socket, "POST", "/hub/login", {"username": "aino", "password": "x"}, "")[0] in {403, 404, 405}
    for shown in ("", "wrong", tunnel.plan.token):
        assert site.ask("GET", "/user", token=shown)[0] == 403
        assert site.ask("POST", f"/users/{USER}/servers/t-{'0' * 16}", {}, token=shown)[0] in {403, 404}
    assert site.ask("GET", f"/users/{USER}")[0] == 200  # the broker's own token


def test_the_hub_starts_nothing_while_the_broker_is_away_or_says_no_and_starts_it_after(site: Hub, record: OpenTunnel) -> None:
    def tried() -> bool:
        site.ask("POST", site.server(record), {})
        eventually(lambda: not site.ask("GET", site.server(record))[1].get("pending"))
        return bool(site.ask("GET", site.server(record))[1]["ready"])

    site.broker.stop()
    assert not tried()
    site.broker.start()
    site.broker.refuse_start = 503, {"code": "policy-unavailable", "detail": "the policy engine does not answer"}
    assert not tried()
    site.broker.refuse_start = None
    site.spawn(record)


def test_where_the_api_server_is_away_nothing_starts_and_the_reason_is_said(guarded: Guarded, tunnel: Opened) -> None:
    plan = guarded.plan()
    away = client(guarded.cluster)
    away.configuration.host = f"https://{ADDRESS}:1"
    with pytest.raises(ClusterUnavailableError, match="refused"):
        guarded.hands(api=Api(away)).start(plan)
    assert guarded.tunnels.status(plan.tunnel) is None
    assert guarded.tunnels.status(tunnel.plan.tunnel) is not None  # which the same hands opened, by the way that is there


# --- 5: two people, one volume ----------------------------------------------------------------------------------------


def test_a_colleague_under_the_same_permit_does_not_see_my_home_and_i_do_in_my_next_tunnel(guarded: Guarded, tunnel: Opened) -> None:
    assert tunnel.lab.run("open('/home/researcher/mine.txt', 'w').write('mine'); print('kept')") == "kept\n"
    permit, me, colleague = tunnel.plan.permit, tunnel.plan.person, ids.new("usr")
    seen = {}
    for who in (colleague, me):
        plan = replace(guarded.plan(), permit=permit, person=who)
        home = guarded.folder / "homes" / plan.permit / plan.person
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o777)
        other = Opened(guarded, plan)
        seen[who] = other.lab.run("import os; print('mine.txt' in os.listdir('/home/researcher'))")
        other.end()
    assert seen == {colleague: "False\n", me: "True\n"}


# --- 7: certificates that nobody checks -------------------------------------------------------------------------------


def test_the_worker_shows_its_token_to_no_server_of_another_authority(guarded: Guarded, tmp_path: Path) -> None:
    impostor = Impostor(tmp_path)
    settings = client(guarded.cluster, token="the-workers-token").configuration
    with closing(impostor.listener):
        settings.host = f"https://{ADDRESS}:{impostor.listener.getsockname()[1]}"
        for authority, heard in ((settings.ssl_ca_cert, False), (str(tmp_path / "ca.crt"), True)):
            settings.ssl_ca_cert = authority
            caller = ApiClient(settings)
            caller.default_headers["Authorization"] = "Bearer the-workers-token"
            with pytest.raises(ClusterUnavailableError):
                Api(caller).find("Namespace", "default")
            assert impostor.came > 0
            assert soon(lambda: b"the-workers-token" in impostor.heard, 2) == heard


# --- 8: tokens in logs ------------------------------------------------------------------------------------------------


def test_no_log_holds_a_token_a_cookie_or_a_header(site: Hub, tunnel: Opened, record: OpenTunnel) -> None:
    """Of the gateway, the hub and the pod: whatever they were asked, well or badly."""
    marks = {"X-Marked": "marked-by-a-header", "Authorization": "Bearer marked-by-authority", "Cookie": "other=marked-by-a-cookie"}
    inside = site.gateway.enter(record)
    for target in ("/api/kernels", "/files/x", "/api/kernels?token=marked-by-address", "/api/contents/nothing-there"):
        inside.get(target, **marks)
        site.gateway.browser(record).get(target, **marks)
    for wrong in ("marked-by-authority", tunnel.plan.token):
        tunnel.lab.ask("GET", "/api/nothing-there", token=wrong)
    site.broker.stop()
    assert soon(lambda: b"record not read" in _logs(site))  # what happens is logged
    site.broker.start()
    tickets = list(site.broker.tickets)
    said = _logs(site).decode(errors="replace") + _pod_logs(tunnel)
    secrets = ["marked-by-", inside.session, tunnel.plan.token, *tickets]
    assert [one for one in secrets if one in said] == []
    elsewhere(tunnel.guarded, "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/podcanary.py?marked-by-address').close()")
    assert "marked-by-address" in tunnel.guarded.cluster.kubectl("logs", "plain", "-n", HOME)  # another program does write it down


def _logs(site: Hub) -> bytes:
    return b"".join(one.read_bytes() for one in site.folder.rglob("*.log"))


def _pod_logs(tunnel: Opened) -> str:
    return tunnel.guarded.cluster.kubectl("logs", "workspace", "-n", tunnel.space, "--all-containers", "--prefix")


# --- 9: every origin is welcome ---------------------------------------------------------------------------------------


def test_a_page_of_another_origin_reads_nothing_changes_nothing_and_opens_no_websocket(site: Hub, record: OpenTunnel) -> None:
    inside = site.gateway.enter(record)
    kernel, own = inside.kernel(), f"http://{inside.host}"
    for origin in (ELSEWHERE, "null", f"http://gate.{site.gateway.domain}.elsewhere.example"):
        for method in ("GET", "OPTIONS", "POST"):
            answer = inside.ask(method, "/api/kernels", {"name": "python3"} if method == "POST" else None, Origin=origin)
            allowed = answer.headers["Access-Control-Allow-Origin"]
            assert allowed is None or allowed not in {"*", origin}
            assert method == "GET" or answer.status in {400, 403, 404, 405}, (method, origin)
        with pytest.raises(WebSocketBadStatusException):
            inside.channels(kernel, origin=origin)
    assert kernel in {one["id"] for one in inside.get("/api/kernels").json}
    assert inside.channels(kernel, origin=own).text("print(6 * 7)") == "42\n"


# --- 10: no network policies, and the metadata address; 11: the public index of packages -----------------------------


def test_the_policy_of_a_running_tunnel_denies_both_ways_and_opens_two_ports_to_the_gateway(guarded: Guarded, tunnel: Opened) -> None:
    [policy] = guarded.cluster.get("networkpolicy", "-n", tunnel.space)["items"]
    assert sorted(policy["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"].get("egress", []) == []
    [opening] = policy["spec"]["ingress"]
    assert [one["port"] for one in opening["ports"]] == [8888, 8889]
    host, _, port = tunnel.address.removeprefix("http://").partition(":")
    dials = "import socket; socket.create_connection(({!r}, {}), 2); print('OUT')"
    assert "OUT" not in elsewhere(guarded, dials.format(host, port))
    assert "OUT" in elsewhere(guarded, dials.format(guarded.canary.host, guarded.canary.port))


def test_a_cloud_s_metadata_and_the_public_index_are_reached_from_a_pod_without_rules_and_from_no_tunnel(guarded: Guarded, tunnel: Opened) -> None:
    """The address is also a way out for data: what is asked for may say anything."""
    asks = "import urllib.request as u; print('OUT', u.urlopen('http://{}/simple/{}/', timeout=3).status)"
    with ExitStack() as stack:
        came = {address: stack.enter_context(listening(address)) for address in (*METADATA, INDEX)}
        for address in came:
            assert "OUT 200" in elsewhere(guarded, asks.format(address, "from-a-pod"))
            assert "OUT" not in tunnel.lab.run(asks.format(address, "from-a-tunnel"))
    assert {path for paths in came.values() for path in paths} == {"/simple/from-a-pod/"}


def test_nothing_inside_points_to_an_index_or_a_proxy_and_nothing_installs(tunnel: Opened) -> None:
    said = tunnel.lab.run("import os, shutil; print(sorted(n for n in os.environ if 'PROXY' in n.upper() or 'INDEX' in n.upper()), shutil.which('pip'))")
    assert said == "[] None\n"
    assert tunnel.lab.run("import pandas; print('here')") == "here\n"


# --- 12: credentials where everybody looks ----------------------------------------------------------------------------


def test_no_credential_is_in_a_config_map_a_pod_an_environment_or_an_event(guarded: Guarded, tunnel: Opened) -> None:
    [secret] = guarded.cluster.get("secret", "-n", tunnel.space)["items"]
    kept = {name: base64.b64decode(secret["data"][name]).decode() for name in ("token", "probe-key")}
    assert kept["token"] == tunnel.plan.token
    kinds = "configmaps,pods,persistentvolumeclaims,networkpolicies,resourcequotas,limitranges,serviceaccounts,events"
    told = json.dumps(guarded.cluster.get(kinds, "-n", tunnel.space)) + json.dumps(guarded.cluster.get("namespaces,persistentvolumes"))
    told += tunnel.lab.run("import os; print(dict(os.environ)); print(open('/proc/1/cmdline').read())")
    assert tunnel.space in told
    for value in kept.values():
        for written in (value, base64.b64encode(value.encode()).decode(), value.encode().hex()):
            assert written not in told
            assert written not in _pod_logs(tunnel)
