"""Ways out of a pod: through its network, which is there and must lead nowhere, and through the kernel.

Connections and datagrams are tried without the filter of system calls, so that the network's own rules are what is seen;
pings (which network policies do not know) and the kernel are tried by a child that has put the filter on, as the workspace has.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import podseal
import probe
from ways import Told, works

SECONDS = 0.7
PATIENCE = 20.0  # for the child behind the filter
CHILDREN: list[subprocess.Popen[bytes]] = []
SEALED_WAYS = (
    "proc-sys", "proc-secrets", "mount", "new-mount", "unshare", "setns", "clone-user", "ptrace", "other-memory", "chroot",
    "setuid", "capabilities", "no-new-privileges", "kernel-calls", "device-nodes", "write-outside", "terminal",
)  # fmt: skip
QUESTION = struct.pack(">HHHHHH", 0x5355, 0x0100, 1, 0, 0, 0) + b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00" + b"\x00\x01\x00\x01"


def tcp(host: str, port: int) -> str:
    """Return what a connection brought; OSError if there is none."""
    with socket.create_connection((host, port), SECONDS) as caller:
        return f"connected from {caller.getsockname()[0]}"


def udp(host: str, port: int) -> str:
    """Return what answered a datagram (a question for a name, so that name servers answer); TimeoutError if nothing did."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as caller:
        caller.settimeout(SECONDS)
        caller.connect((host, port))
        caller.send(QUESTION)
        return f"answered {len(caller.recv(2048))} bytes"


def ping(host: str, _: int) -> str:
    """Return that ``host`` answered an echo request, by whichever socket the kernel gives."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as caller:
                caller.settimeout(SECONDS)
                caller.sendto(_echo(), (host, 0))
                caller.recv(256)
                return "answered"
        except PermissionError:
            continue
    raise PermissionError(1, "no socket for it")


def _echo() -> bytes:
    packet = struct.pack(">BBHHH", 8, 0, 0, 7, 7) + b"sulku123"
    total = sum(struct.unpack(f">{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:2] + struct.pack(">H", ~total & 0xFFFF) + packet[4:]


KINDS = {"tcp": tcp, "udp": udp, "icmp": ping}


def sockets(_: Told) -> object:
    """Return the kinds of socket that can be made and could lead past the network's rules."""
    kinds = {
        "raw": (2, 3, 255), "ping": (2, 2, 1), "datagram": (2, 2, 17), "sctp": (2, 1, 132), "stream6": (10, 1, 6),
        "raw6": (10, 3, 255), "packet": (17, 3, 768), "netlink": (16, 3, 0), "vsock": (40, 1, 0), "xdp": (44, 3, 0),
    }  # fmt: skip
    return [name for name, kind in kinds.items() if works(lambda one: socket.socket(*one).close(), kind)]


def addresses(_: Told) -> object:
    """Return IPv6 addresses that are more than the pod's own loopback and link."""
    try:
        rows = Path("/proc/net/if_inet6").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [row for row in rows if not row.startswith(("fe80", "0" * 31 + "1"))]


def account(_: Told) -> object:
    """Return every file that would let the API server know us."""
    places = ("/var/run/secrets/kubernetes.io", "/run/secrets", "/var/lib/kubelet", "/etc/kubernetes")
    return [place for place in places if os.path.lexists(place)]


def services(_: Told) -> object:
    """Return variables that say where the cluster's services are, except the one that every pod is given."""
    usual = ("KUBERNETES_",)
    return [name for name in os.environ if name.endswith(("_SERVICE_HOST", "_PORT")) and not name.startswith(usual)]


def host_sockets(_: Told) -> object:
    """Return sockets of the node's services."""
    places = ("/run/containerd", "/run/docker.sock", "/var/run/docker.sock", "/run/crio", "/run/dbus", "/host")
    return [place for place in places if os.path.lexists(place)]


def early_data(_: Told) -> object:
    """Return the datasets that are in sight: the probe's container has none, before and after the release."""
    return [one.name for one in Path("/data").iterdir()] if Path("/data").is_dir() else []


LOOKED = {
    "ipv6-addresses": addresses, "account": account, "services": services,
    "host-sockets": host_sockets, "datasets-absent": early_data,
}  # fmt: skip


def run(told: Told) -> list[dict[str, object]]:
    """Try every target that we are told of, and every way through the kernel; one result each.

    Args:
        told: ``targets``: rows of ``[name, kind, host, port]``; ``datasets``: names, for the ways that write.
    """
    child = behind()
    assert child.stdin
    assert child.stdout
    child.stdin.write(json.dumps(told).encode() + b"\n")
    child.stdin.flush()
    with ThreadPoolExecutor(32) as pool:
        tried = list(pool.map(lambda row: _target(row, told), [row for row in told["targets"] if row[1] != "icmp"]))
    tried += [_attempt(name, way, told, looks=True) for name, way in LOOKED.items()]
    if not select.select([child.stdout], [], [], PATIENCE)[0]:
        child.kill()  # what it did not answer was not tried
    return tried + list(json.loads(child.stdout.readline() or b"[]"))


def behind() -> subprocess.Popen[bytes]:
    """Return the child that tries behind the filter, started if there is none; it serves every round."""
    if not CHILDREN or CHILDREN[-1].poll() is not None:
        CHILDREN[:] = [subprocess.Popen([sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)]  # noqa: S603
    return CHILDREN[-1]


def sealed(told: Told) -> list[dict[str, object]]:
    """Try what the workspace could try; the filter is on."""
    pings = [_target(row, told) for row in told["targets"] if row[1] == "icmp"]
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # the filter lets through what the work needs
    unix.close()
    return pings + [probe.attempt(name, told) for name in SEALED_WAYS] + [_attempt("sockets", sockets, told)]


def _target(row: list[Any], told: Told) -> dict[str, object]:
    name, kind, host, port = row
    return _attempt(name, lambda _: KINDS[kind](host, int(port)), told)


def _attempt(name: str, way: Any, told: Told, *, looks: bool = False) -> dict[str, object]:
    try:
        got = way(told)
    except OSError as error:
        return {"way": name, "closed": not looks, "how": type(error).__name__ if not error.errno else os.strerror(error.errno)}
    except Exception as error:  # noqa: BLE001 what we cannot try, we cannot call closed
        return {"way": name, "closed": False, "how": f"{type(error).__name__}: {error}"[:200]}
    return {"way": name, "closed": not got, "how": str(got)[:200] if got else "nothing found"}


if __name__ == "__main__":
    podseal.seal()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(sealed(json.loads(line))) + "\n")
        sys.stdout.flush()
