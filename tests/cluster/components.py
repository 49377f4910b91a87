"""How each part of the test cluster is configured and started, with what this kind of machine cannot do said beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from tests.cluster import programs

ADDRESSES: Final = "addresses"  # folder of those that pods have, in the state: who is killed gives none back
PODS: Final = "10.244.0.0/16"
SERVICES: Final = "10.96.0.0/16"
DNS: Final = "10.96.0.10"
DNS_SERVICE: Final = f"""\
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system}}
spec: {{clusterIP: {DNS}, ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: kube-dns-1, namespace: kube-system, labels: {{kubernetes.io/service-name: kube-dns}}}}
addressType: IPv4
ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
endpoints: [{{addresses: [ADDRESS]}}]
"""
_CONTAINERD: Final = """\
version = 3
root = "{state}/containerd"
state = "{state}/containerd-run"
[grpc]
  address = "{state}/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  ignore_image_defined_volumes = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{state}/cni-bin"]
  conf_dir = "{state}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = "{state}/runsc.toml"
"""
_RUNSC: Final = """\
[runsc_config]
  platform = "systrap"
  ignore-cgroups = "true"
"""
_COREDNS: Final = """\
.:53 {{
  bind {address}
  errors
  kubernetes cluster.local {{
    kubeconfig {state}/pki/admin.conf
  }}
}}
"""


def configure(state: Path) -> None:
    """Write the configuration files, and put the container runtime's helpers where it looks for them."""
    containers, sandbox = programs.folder("containers"), programs.folder("sandbox")
    for name in ("ptp", "loopback", "host-local"):
        _put(containers / name, state / "cni-bin")
    for source in (containers / "containerd-shim-runc-v2", sandbox / "runsc", sandbox / "containerd-shim-runsc-v1"):
        _put(source, state / "bin")
    network = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {"type": "host-local", "dataDir": str(state / ADDRESSES), "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    (state / "cni" / "10-ptp.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [network]}))
    (state / "runsc.toml").write_text(_RUNSC)
    (state / "containerd.toml").write_text(_CONTAINERD.format(state=state))
    (state / "kubelet.json").write_text(json.dumps(_kubelet(state)))
    (state / "Corefile").write_text(_COREDNS.format(state=state, address="198.18.0.10"))


def _put(program: Path, folder: Path) -> None:
    """Have ``program`` in ``folder``: beside one that runs, not over it."""
    (folder / program.name).unlink(missing_ok=True)
    shutil.copy2(program, folder / program.name)


def _kubelet(state: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{state}/containerd.sock",
        "failCgroupV1": False,  # the kernel offers version 1 only: limits of memory and processor may not bite here
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "crashLoopBackOff": {"maxContainerRestartPeriod": "10s"},  # as after a first death; who is killed in test after test would wait for minutes
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "authentication": {
            "x509": {"clientCAFile": f"{state}/pki/ca.crt"}, "webhook": {"enabled": True}, "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook"},
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
    }  # fmt: skip


def command(part: str, state: Path, address: str, node: str) -> tuple[list[str], str]:
    """Return the words that start ``part``, and the folder that must lead its search path."""
    pki, helpers = state / "pki", str(state / "bin")
    kubernetes = {
        "kube-apiserver": _api_server(pki, address),
        "kube-controller-manager": [
            f"--kubeconfig={pki}/kcm.conf", f"--service-account-private-key-file={pki}/sa.key", "--bind-address=127.0.0.1",
            f"--root-ca-file={pki}/ca.crt", "--use-service-account-credentials", "--leader-elect=false",
            "--concurrent-namespace-syncs=20",
        ],
        "kube-scheduler": [f"--kubeconfig={pki}/sched.conf", "--leader-elect=false", "--bind-address=127.0.0.1"],
        "kubelet": [
            f"--config={state}/kubelet.json", f"--kubeconfig={pki}/node.conf", f"--root-dir={state}/kubelet",
            f"--hostname-override={node}", f"--node-ip={address}",
        ],
        "kube-proxy": [
            f"--kubeconfig={pki}/proxy.conf", "--proxy-mode=iptables", f"--cluster-cidr={PODS}", f"--hostname-override={node}",
            "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
        ],
    }  # fmt: skip
    if part in kubernetes:
        return [str(programs.program(part)), *kubernetes[part]], helpers
    etcd = "http://127.0.0.1:2379"
    others = {
        "etcd": [
            "etcd", "--data-dir", f"{state}/etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
            "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync",
        ],
        "containerd": ["containerd", "-c", f"{state}/containerd.toml"],
        "netpol": [
            "kube-router", "--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false",
            f"--kubeconfig={pki}/admin.conf", f"--hostname-override={node}", f"--service-cluster-ip-range={SERVICES}", "--v=1",
        ],
        "dns": ["coredns", "-conf", f"{state}/Corefile"],
    }  # fmt: skip
    words = others[part]
    return ([str(programs.program(words[0])), *words[1:]] if part != "etcd" else words), helpers


def _api_server(pki: Path, address: str) -> list[str]:
    return [
        "--etcd-servers=http://127.0.0.1:2379", f"--bind-address={address}", f"--advertise-address={address}", "--secure-port=6443",
        f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key", f"--client-ca-file={pki}/ca.crt",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key", f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
        f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",
    ]  # fmt: skip
