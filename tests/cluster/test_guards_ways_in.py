"""Nobody goes into a tunnel through the API server, whatever their rights; the same ways lead into a pod elsewhere."""

from __future__ import annotations

import re
import ssl
import urllib.request

import pytest

from sulku.manifests import POD, PROVE
from tests.cluster.cluster import ADDRESS, NODE
from tests.cluster.guarding import HOME, Guarded, token

TOKEN_OF = {"worker", "hub", "gateway", "broker"}


def tried(guarded: Guarded, *words: str, who: str = "administrator") -> str:
    """Return what kubectl says to ``words``, asked as somebody."""
    as_whom: tuple[str, ...] = ()
    if who in TOKEN_OF:
        as_whom = ("--as", f"system:serviceaccount:{HOME}:{who}")
    elif who == "editor":
        as_whom = ("--as", guarded.editor)
    elif who == "mighty worker":
        as_whom = ("--as", f"system:serviceaccount:{HOME}:worker", "--as-group", "system:masters")
    return guarded.cluster.kubectl(*as_whom, *words, check=False, seconds=20)


COMMANDS = {
    "exec": ("exec", "{pod}", "-n", "{space}", "-c", "{container}", "--", "id", "-u"),
    "attach": ("attach", "{pod}", "-n", "{space}", "-c", "{container}", "--pod-running-timeout=2s", "-q"),
    "a file": ("exec", "{pod}", "-n", "{space}", "-c", "{container}", "--", "ls", "/opt/sulku"),
    "pods/proxy": ("get", "--raw", "/api/v1/namespaces/{space}/pods/{pod}:8000/proxy/"),
    "pods/proxy, a path": ("get", "--raw", "/api/v1/namespaces/{space}/pods/http:{pod}:8000/proxy/api/contents"),
    "services/proxy": ("get", "--raw", "/api/v1/namespaces/{space}/services/workspace:8888/proxy/"),
}


def words(name: str, space: str, pod: str, container: str) -> tuple[str, ...]:
    return tuple(word.format(space=space, pod=pod, container=container) for word in COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("who", ["administrator", "editor", "mighty worker"])
def test_who_may_do_everything_does_not_get_in(guarded: Guarded, name: str, who: str) -> None:
    said = tried(guarded, *words(name, guarded.space(guarded.running), POD, PROVE), who=who)
    assert "ValidatingAdmissionPolicy 'connections" in said or (who == "editor" and "cannot" in said), said


@pytest.mark.parametrize("who", sorted(TOKEN_OF))
def test_the_parts_of_sulku_have_no_right_to(guarded: Guarded, who: str) -> None:
    said = tried(guarded, *words("exec", guarded.space(guarded.running), POD, PROVE), who=who)
    assert re.search('User "[^"]*" cannot (get|create) resource "pods', said), said


def test_the_same_ways_lead_into_a_pod_elsewhere(guarded: Guarded) -> None:
    assert tried(guarded, *words("exec", HOME, "plain", "plain")).strip() == "1000"
    assert "podcanary.py" in tried(guarded, *words("a file", HOME, "plain", "plain"))
    assert "podcanary.py" in tried(guarded, *words("pods/proxy", HOME, "plain", "plain"))
    assert tried(guarded, *words("exec", HOME, "plain", "plain"), who="editor").strip() == "1000"
    assert "not found" in tried(guarded, *words("services/proxy", HOME, "plain", "plain"))


PATHS = [
    f"{way}/{{space}}/{POD}/{PROVE}?command=id&input=1&output=1&tty=0"
    for way in ("exec", "run", "attach", "./exec", "metrics/../exec", "metrics/%2e%2e/exec", "/exec", "%65xec", "metrics/cadvisor/../../exec")
] + [f"portForward/{{space}}/{POD}", f"containerLogs/{{space}}/{POD}/{PROVE}", f"checkpoint/{{space}}/{POD}/{PROVE}", "pods", "runningpods/", "logs/", "configz", ""]


@pytest.mark.parametrize("path", PATHS)
def test_the_kubelet_is_no_way_round(guarded: Guarded, path: str) -> None:
    raw = f"/api/v1/nodes/{NODE}/proxy/{path.format(space=guarded.space(guarded.running))}"
    for verb in ("get", "create"):
        given = ("--raw", raw) if verb == "get" else ("--raw", raw, "-f", "/dev/null")
        said = tried(guarded, verb, *given)
        assert re.search(r"ValidatingAdmissionPolicy 'connections|metrics and health", said), said


def test_the_kubelets_metrics_and_health_may_be_asked(guarded: Guarded) -> None:
    node = f"/api/v1/nodes/{NODE}/proxy"
    assert tried(guarded, "get", "--raw", f"{node}/healthz").strip() == "ok"
    assert "kubelet_running_pods" in tried(guarded, "get", "--raw", f"{node}/metrics")
    assert '"node"' in tried(guarded, "get", "--raw", f"{node}/stats/summary")


def test_a_websocket_and_a_forwarded_port_are_no_way_round(guarded: Guarded) -> None:
    """An upgrade by GET is another verb to the rights, and the same connection to the guards."""
    path = f"/api/v1/namespaces/{guarded.space(guarded.running)}/pods/{POD}"
    asked = {"command": "id", "stdout": "1", "container": PROVE}
    for person in (guarded.admin, guarded.mighty):
        for method in ("GET", "POST"):
            assert person.refused(method, f"{path}/exec", dry=False, **asked)[0] == "connections"
            assert person.refused(method, f"{path}/attach", dry=False, stdout="1", container=PROVE)[0] == "connections"
            assert person.refused(method, f"{path}/portforward", dry=False, ports="8889")[0] == "connections"


def test_no_pod_elsewhere_gets_a_tunnels_address(guarded: Guarded) -> None:
    """Tried without this guard: the API server's proxy to such a pod led into the tunnel."""
    address = guarded.pod(POD, guarded.space(guarded.running))["status"]["podIP"]
    path = f"/api/v1/namespaces/{HOME}/pods/plain/status"
    own = guarded.pod("plain", HOME)["status"]["podIP"]  # said by its kubelet
    for change in ({"podIP": address, "podIPs": [{"ip": address}]}, {"podIP": address}, {"podIPs": [{"ip": own}, {"ip": "fd00::1"}]}):
        for person in (guarded.admin, guarded.mighty):
            assert person.refused("PATCH", path, {"status": change})[0] in {"addresses", "worker"}
    assert guarded.admin.does("PATCH", path, {"status": {"message": "well", "podIPs": [{"ip": address}]}})["status"]["podIPs"] == [{"ip": own}]


def test_nobody_gets_a_token_of_a_tunnels_account(guarded: Guarded) -> None:
    space = guarded.space(guarded.running)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    for person in (guarded.admin, guarded.mighty):
        assert person.refused("POST", f"/api/v1/namespaces/{space}/serviceaccounts/default/token", body)[0] == "writers"
    assert token(guarded.cluster, "default", HOME)


def test_what_an_administrator_of_the_cluster_can_still_do_is_as_the_documentation_says(guarded: Guarded) -> None:
    """`docs/explanation/guards.md`: read the secret, and go to the kubelet without the API server."""
    plan = guarded.opened()
    space = guarded.space(plan)
    assert guarded.cluster.get("secret", "tunnel", "-n", space)["data"]["token"]
    pki = guarded.cluster.state / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a kubelet's certificate is its own
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    asked = urllib.request.Request(f"https://{ADDRESS}:10250/run/{space}/{POD}/workspace?cmd=id", method="POST")
    with urllib.request.urlopen(asked, context=context, timeout=20) as answer:
        assert b"researcher" in answer.read()
    guarded.tunnels.stop(plan.tunnel)
    guarded.tunnels.acknowledge(plan.tunnel)
