"""The chart's guards of a tunnel's pod, on a real cluster: each is broken on purpose, and the worker's own path works."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from broker.adapters.kubernetes_api import Api
from sulku.manifests import POD, Manifest
from tests.cluster.bench import _SECURE, now
from tests.cluster.guarding import HOME, KWOK, Guarded, Person, changed, client, rendered, values
from tests.soon import soon

Change = Callable[[Any], None]


def spec(**fields: Any) -> Change:
    """Set fields of the pod's specification; ``None`` removes one."""

    def change(pod: Any) -> None:
        for key, value in fields.items():
            pod["spec"][key] = value
            if value is None:
                del pod["spec"][key]

    return change


def whole(**fields: Any) -> Change:
    """Set fields of the pod's security context."""
    return lambda pod: pod["spec"]["securityContext"].update(fields)


def one(kind: str = "containers", **fields: Any) -> Change:
    """Set fields of a container's security context."""
    return lambda pod: pod["spec"][kind][0]["securityContext"].update(fields)


def of(kind: str = "containers", **fields: Any) -> Change:
    """Set fields of a container."""
    return lambda pod: pod["spec"][kind][0].update(fields)


def volume(**source: Any) -> Change:
    """Add a volume."""
    return lambda pod: pod["spec"]["volumes"].append({"name": "more", **source})


def on_the_node(pod: Any) -> None:
    pod["spec"] |= {"hostNetwork": True}
    del pod["spec"]["securityContext"]["sysctls"]


def without_drop(pod: Any) -> None:
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {}


def writable_data(pod: Any) -> None:
    next(one for one in pod["spec"]["volumes"] if one["name"] == "data-0")["persistentVolumeClaim"]["readOnly"] = False


def passed_on(pod: Any) -> None:
    pod["spec"]["containers"][0]["volumeMounts"][0]["mountPropagation"] = "HostToContainer"


def unbounded_scratch(pod: Any) -> None:
    del next(one for one in pod["spec"]["volumes"] if one["name"] == "tmp")["emptyDir"]["sizeLimit"]


def scratch_on_a_disk(pod: Any) -> None:
    del next(one for one in pod["spec"]["volumes"] if one["name"] == "tmp")["emptyDir"]["medium"]


def other_secret(pod: Any) -> None:
    next(one for one in pod["spec"]["volumes"] if one["name"] == "told")["secret"]["secretName"] = "other"


def without_bound(pod: Any) -> None:
    del pod["spec"]["containers"][0]["resources"]["limits"]


def another_name(pod: Any) -> None:
    pod["metadata"]["name"] = "another"


ASK = {"httpGet": {"host": "198.18.0.10", "port": 10250}}
TOKEN = {"sources": [{"serviceAccountToken": {"path": "token"}}]}
OPEN = {"type": "Unconfined"}
BROKEN: dict[str, tuple[str, Change]] = {
    "no deadline": ("end by itself", spec(activeDeadlineSeconds=None)),
    "a deadline far away": ("end by itself", spec(activeDeadlineSeconds=7201)),
    "a grace that outlives the deadline": ("end by itself", spec(terminationGracePeriodSeconds=3600)),
    "a second pod": ("one pod", another_name),
    "a pod that starts anew": ("one pod", spec(restartPolicy="Always")),
    "no runtime class": ("runtime class gvisor", spec(runtimeClassName=None)),
    "another runtime class": ("runtime class gvisor", spec(runtimeClassName="guards-plain")),
    "another image": ("only the images", of(image="registry.example/other:1")),
    "another image before": ("only the images", of("initContainers", image="registry.example/other:1")),
    "a token": ("no account", spec(automountServiceAccountToken=True)),
    "a token by silence": ("no account", spec(automountServiceAccountToken=None)),
    "another account": ("no account", spec(serviceAccountName="other")),
    "the node's network": ("shares no namespace", on_the_node),
    "the node's processes": ("shares no namespace", spec(hostPID=True)),
    "the node's memory": ("shares no namespace", spec(hostIPC=True)),
    "one process namespace": ("shares no namespace", spec(shareProcessNamespace=True)),
    "a node of its choice": ("through the scheduler", spec(nodeName="n1")),
    "a pod that waits": ("through the scheduler", spec(schedulingGates=[{"name": "x.example/y"}])),
    "a device": ("through the scheduler", spec(resourceClaims=[{"name": "x", "resourceClaimName": "x"}])),
    "the cluster's names": ("resolves no names", spec(dnsPolicy="ClusterFirst", dnsConfig=None)),
    "another resolver": ("resolves no names", spec(dnsConfig={"nameservers": ["10.96.0.10"]})),
    "names of its own": ("resolves no names", spec(hostAliases=[{"ip": "10.96.0.1", "hostnames": ["api"]}])),
    "services in the environment": ("resolves no names", spec(enableServiceLinks=True)),
    "a path of the node": ("mounts claims", volume(hostPath={"path": "/"})),
    "a projected token": ("mounts claims", volume(projected=TOKEN)),
    "a driver of its choice": ("mounts claims", volume(csi={"driver": "volumes.example"})),
    "a file server": ("mounts claims", volume(nfs={"server": "files.example", "path": "/"})),
    "a config map": ("mounts claims", volume(configMap={"name": "kube-root-ca.crt"})),
    "the downward API": ("mounts claims", volume(downwardAPI={"items": []})),
    "an image as a volume": ("mounts claims", volume(image={"reference": "registry.example/other:1"})),
    "scratch without end": ("mounts claims", unbounded_scratch),
    "scratch on the node's disk": ("in memory", scratch_on_a_disk),
    "another secret": ("mounts claims", other_secret),
    "data that may be written": ("data in a tunnel is read-only", writable_data),
    "mounts that come later": ("data in a tunnel is read-only", passed_on),
    "a raw device": ("data in a tunnel is read-only", of(volumeDevices=[{"name": "home", "devicePath": "/dev/x"}], volumeMounts=[])),
    "a root that may be written": ("read-only root", one(readOnlyRootFilesystem=False)),
    "a root that may be written, before": ("read-only root", one("initContainers", readOnlyRootFilesystem=False)),
    "a way to more privileges": ("read-only root", one(allowPrivilegeEscalation=True)),
    "all privileges": ("read-only root", one(privileged=True, allowPrivilegeEscalation=True)),
    "a capability": ("read-only root", one(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    "the usual capabilities": ("read-only root", without_drop),
    "root": ("is root", whole(runAsUser=0, runAsNonRoot=False)),
    "root in one container": ("is root", one(runAsUser=0, runAsNonRoot=False)),
    "root's group": ("is root", whole(runAsGroup=0)),
    "root's group beside": ("is root", whole(supplementalGroups=[0])),
    "no filter of calls": ("filter of system calls", whole(seccompProfile=OPEN)),
    "no filter in one container": ("filter of system calls", one("initContainers", seccompProfile=OPEN)),
    "no profile": ("own profiles", whole(appArmorProfile=OPEN)),
    "another label": ("own profiles", one(seLinuxOptions={"type": "spc_t"})),
    "a setting of the kernel": ("own profiles", whole(sysctls=[{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}])),
    "ping": ("own profiles", whole(sysctls=[{"name": "net.ipv4.ping_group_range", "value": "0 65535"}])),
    "a port of the node": ("no port", of(ports=[{"containerPort": 8888, "hostPort": 8888}])),
    "a probe that asks elsewhere": ("as a hook or a probe", of(livenessProbe=ASK)),
    "a hook": ("as a hook or a probe", of(lifecycle={"preStop": {"exec": {"command": ["sleep", "60"]}}})),
    "a secret in the environment": (
        "environment variable",
        of(env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "tunnel", "key": "token"}}}]),
    ),
    "an environment from elsewhere": ("environment variable", of(envFrom=[{"configMapRef": {"name": "kube-root-ca.crt"}}])),
    "last words in its status": ("pod's status", of(terminationMessagePath="/dev/termination-log")),
    "the end of its log in its status": ("pod's status", of(terminationMessagePolicy="FallbackToLogsOnError")),
    "no bound of memory": ("bound of memory", without_bound),
}  # fmt: skip


@pytest.fixture
def pod(guarded: Guarded) -> Manifest:
    """Give the pod that the worker makes, for a namespace in which nothing but the guards refuses it."""
    made = guarded.objects(guarded.plan())[-1]
    made["metadata"] |= {"namespace": guarded.bare}
    return made


def pods(space: str, *more: str) -> str:
    return "/".join([f"/api/v1/namespaces/{space}/pods", *more])


# --- a pod when it is made --------------------------------------------------------------------------------------------


def test_the_workers_own_account_opens_a_tunnel_under_the_guards_and_leaves_nothing(guarded: Guarded) -> None:
    plan = guarded.opened()
    deadline = now() + timedelta(seconds=60)
    guarded.tunnels.shorten(plan.tunnel, deadline)
    record = guarded.tunnels.stop(plan.tunnel)
    assert (record.cause, record.processes_left) == ("stopped", 0)
    guarded.tunnels.acknowledge(plan.tunnel)
    listed = ("ns,pv", "-l", f"guards-test.internal/tunnel={guarded.space(plan)}")
    assert soon(lambda: not guarded.cluster.get(*listed)["items"])


def test_the_workers_pod_is_let_in(guarded: Guarded, pod: Manifest) -> None:
    guarded.accounts["worker"].does("POST", pods(guarded.bare), pod)


@pytest.mark.parametrize("what", BROKEN)
def test_a_pod_with_one_thing_wrong_is_refused_though_the_worker_makes_it(guarded: Guarded, pod: Manifest, what: str) -> None:
    why, change = BROKEN[what]
    guard, said = guarded.mighty.refused("POST", pods(guarded.bare), changed(pod, change))
    assert guard == "pods"
    assert why in said


@pytest.mark.parametrize("who", ["administrator", "editor", "hub", "gateway", "broker", "nobody"])
def test_a_pod_with_nothing_wrong_is_refused_to_everybody_but_the_worker(guarded: Guarded, pod: Manifest, who: str) -> None:
    person = guarded.admin if who == "administrator" else guarded.accounts[who]
    guard, _ = person.refused("POST", pods(guarded.bare), pod)
    assert guard == ("writers" if who in {"administrator", "editor"} else "rights")


def test_other_decisions_of_the_operator_give_other_guards(guarded: Guarded) -> None:
    about = values(guarded.folder)["tunnels"]
    weak = about | {"weakIsolation": True, "userNamespaces": True, "runtimeClass": {"name": "", "handler": "", "create": False}}
    expressions = [
        rule["expression"]
        for each in rendered({"tunnels": weak}, domain="guards-other.internal")
        if each["kind"] == "ValidatingAdmissionPolicy"
        for rule in each["spec"]["validations"]
    ]
    assert any(text.startswith("!has(variables.spec.runtimeClassName)") for text in expressions)
    assert any("!variables.spec.?hostUsers.orValue(true)" in text for text in expressions)


# --- a pod that is there ----------------------------------------------------------------------------------------------


def test_the_deadline_of_a_running_pod_comes_nearer(guarded: Guarded) -> None:
    path = pods(guarded.space(guarded.running), POD)
    guarded.accounts["worker"].does("PATCH", path, {"spec": {"activeDeadlineSeconds": 5}})


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"app": "other"}}},
        {"metadata": {"annotations": {"x.example/y": "z"}}},
        {"metadata": {"finalizers": ["x.example/y"]}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}]}},
    ],
    ids=json.dumps,
)
def test_nothing_else_of_it_changes_though_the_worker_asks(guarded: Guarded, change: dict[str, Any]) -> None:
    guard, _ = guarded.accounts["worker"].refused("PATCH", pods(guarded.space(guarded.running), POD), change)
    assert guard == "changes"


def test_its_images_and_where_it_may_run_do_not_change(guarded: Guarded) -> None:
    path = pods(guarded.space(guarded.running), POD)
    there = guarded.admin.does("GET", path)
    changes = [of(kind, image="registry.example/other:1") for kind in ("containers", "initContainers")]
    for change in [*changes, lambda pod: pod["spec"]["tolerations"].append({"operator": "Exists"})]:
        assert guarded.mighty.refused("PUT", path, changed(there, change))[0] == "changes"


def test_an_administrator_changes_nothing_of_it_its_deadline_and_its_status_included(guarded: Guarded) -> None:
    """A pod that somebody says has failed would be removed at once, while it still runs."""
    path = pods(guarded.space(guarded.running), POD)
    for person in (guarded.admin, guarded.accounts["editor"]):
        assert person.refused("PATCH", path, {"spec": {"activeDeadlineSeconds": 5}})[0] == "writers"
    for change in ({"status": {"phase": "Failed"}}, {"metadata": {"labels": {"app": "other"}}}):
        assert guarded.admin.refused("PATCH", f"{path}/status", change)[0] == "writers"
        assert guarded.mighty.refused("PATCH", f"{path}/status", change)[0] == "writers"


def test_only_a_virtual_kubelet_that_the_operator_named_says_how_a_pod_is(guarded: Guarded) -> None:
    path = f"{pods(guarded.space(guarded.running), POD)}/status"
    accounts = {name: Person(name, Api(client(guarded.cluster, user=name, group="system:masters"))) for name in (KWOK, f"{KWOK}-other")}
    accounts[KWOK].does("PATCH", path, {"status": {"message": "well"}})
    assert accounts[f"{KWOK}-other"].refused("PATCH", path, {"status": {"message": "well"}})[0] == "writers"
    assert accounts[KWOK].refused("PATCH", pods(guarded.space(guarded.running), POD), {"spec": {"activeDeadlineSeconds": 5}})[0] == "writers"


def test_nobody_adds_a_container_to_it_resizes_binds_or_evicts_it(guarded: Guarded) -> None:
    path = pods(guarded.space(guarded.running), POD)
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": guarded.place().image, "securityContext": _SECURE}]}}
    about = {"metadata": {"name": POD}}
    asked: list[tuple[str, str, Any]] = [
        ("PATCH", "ephemeralcontainers", debug),
        ("PATCH", "resize", {"metadata": {"labels": {"app": "other"}}}),
        ("POST", "binding", {"apiVersion": "v1", "kind": "Binding", **about, "target": {"kind": "Node", "name": "n1"}}),
        ("POST", "eviction", {"apiVersion": "policy/v1", "kind": "Eviction", **about}),
    ]
    for person in (guarded.admin, guarded.mighty):
        for method, way, body in asked:
            assert person.refused(method, f"{path}/{way}", body)[0] == "writers", way


def test_kubectl_debug_reaches_a_pod_elsewhere_and_not_one_in_a_tunnel(guarded: Guarded) -> None:
    debug = ("--image", guarded.place().image, "--image-pull-policy=Never", "--profile=restricted", "--", "true")
    assert "ValidatingAdmissionPolicy 'writers" in guarded.cluster.kubectl("debug", POD, "-n", guarded.space(guarded.running), *debug, check=False)
    assert "Forbidden" not in guarded.cluster.kubectl("debug", "plain", "-n", HOME, *debug)


# --- its end ----------------------------------------------------------------------------------------------------------


def test_whoever_may_delete_pods_ends_a_tunnel(guarded: Guarded) -> None:
    path = pods(guarded.space(guarded.running), POD)
    for person in (guarded.admin, guarded.accounts["editor"], guarded.accounts["worker"]):
        person.does("DELETE", path)
        person.does("DELETE", path, {"gracePeriodSeconds": 1})


@pytest.mark.parametrize("seconds", [0, 6, 36000])
def test_no_pod_disappears_before_it_is_dead_or_takes_hours_to_die(guarded: Guarded, seconds: int) -> None:
    space = guarded.space(guarded.running)
    for person in (guarded.admin, guarded.mighty, guarded.accounts["editor"]):
        assert person.refused("DELETE", pods(space, POD), {"gracePeriodSeconds": seconds})[0] == "writers"
        assert person.refused("DELETE", pods(space, POD), gracePeriodSeconds=str(seconds))[0] == "writers"
        assert person.refused("DELETE", pods(space), {"gracePeriodSeconds": seconds})[0] == "writers"


def test_a_pod_that_is_deleted_in_the_foreground_goes_too(guarded: Guarded) -> None:
    """Kubernetes' garbage collector takes a mark off it then, which is a change that must be let through."""
    plan = guarded.plan()
    guarded.tunnels.start(plan)
    path = pods(guarded.space(plan), POD)
    guarded.admin.does("DELETE", path, {"propagationPolicy": "Foreground"}, dry=False)
    assert soon(lambda: "not found" in guarded.cluster.kubectl("get", "pod", POD, "-n", guarded.space(plan), check=False))
    assert guarded.tunnels.stop(plan.tunnel).processes_left == 0
    guarded.tunnels.acknowledge(plan.tunnel)


def test_a_pod_that_has_ended_by_itself_is_removed(guarded: Guarded) -> None:
    plan = guarded.plan()
    guarded.tunnels.start(plan)
    guarded.tunnels.shorten(plan.tunnel, now() + timedelta(seconds=1))
    space = guarded.space(plan)
    assert soon(lambda: guarded.pod(POD, space)["status"]["phase"] == "Failed")
    guarded.admin.does("DELETE", pods(space, POD), {"gracePeriodSeconds": 0})
    record = guarded.tunnels.stop(plan.tunnel)
    assert record.cause == "deadline"
    guarded.tunnels.acknowledge(plan.tunnel)
