"""Ways out of a running workspace, each as the code a researcher would type, and where the same code must succeed.

A way that gets out prints ``OUT``; one that is closed raises, or prints nothing. `control` says where it is shown to work:
``pod`` is a pod without any of our rules, ``node`` is the node itself.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.cluster.cluster import ADDRESS

METADATA, LINK_LOCAL, IPV6 = "169.254.169.254", "169.254.20.10", "fd00:53::1"
ABSTRACT = "sulku-abstract-canary"
SERVICES = {"broker": 8081, "hub": 8000, "queue": 6379, "database": 5432, "policy": 8181}
PORT = 7000


class Way(NamedTuple):
    """One way out."""

    code: str
    control: str = "pod"


def tcp(host: str, port: int, control: str = "pod") -> Way:
    """Connect."""
    return Way(f"import socket; s = socket.create_connection(({host!r}, {port}), 1.5); print('OUT', s.getpeername())", control)


def udp(host: str, port: int, control: str = "pod") -> Way:
    """Ask a name server, or whoever listens, and wait for what it says."""
    question = r"b'SU\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\nkubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01'"
    family = "AF_INET6" if ":" in host else "AF_INET"
    lines = f"import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.settimeout(1.5)"
    return Way(f"{lines}; s.sendto({question}, ({host!r}, {port})); print('OUT', len(s.recv(2048)))", control)


def ping(host: str, kind: str) -> Way:
    """Send an echo request with a word in it, and wait for the echo."""
    packet = "b'\\x08\\x00' + struct.pack('>H', check) + body"
    code = f"""
import socket, struct
body = struct.pack('>HH', 7, 7) + b'secret!!'
total = 0x0800 + sum(struct.unpack('>6H', body))
while total >> 16: total = (total & 0xffff) + (total >> 16)
check = ~total & 0xffff
s = socket.socket(socket.AF_INET, socket.{kind}, socket.IPPROTO_ICMP); s.settimeout(1.5)
s.sendto({packet}, ({host!r}, 0)); print('OUT', len(s.recv(256)))"""
    return Way(code)


def kernel(number: int, *arguments: str, control: str = "node") -> Way:
    """Make a system call by its number (x86_64)."""
    words = ", ".join(arguments)
    code = f"""
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
r = c.syscall({number}, {words})
if r < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
print('OUT', r)"""
    return Way(code, control)


def ways(canary: str, cluster_ip: str, neighbour: str, node_port: int, services: str) -> dict[str, Way]:
    """Return every way by name.

    Args:
        canary: Address of the canary's pod.
        cluster_ip: Of a service before it.
        neighbour: Address of another person's tunnel.
        node_port: Of the same service, on the node.
        services: Address of a pod that listens where broker, hub, queue and database do.
    """
    network = {
        "the API server's service": tcp("10.96.0.1", 443),
        "the API server's address": tcp(ADDRESS, 6443),
        "the kubelet": tcp(ADDRESS, 10250),
        "a port of the node": tcp(ADDRESS, PORT),
        "a datagram to the node": udp(ADDRESS, PORT),
        "a node port": tcp(ADDRESS, node_port),
        "a pod": tcp(canary, PORT),
        "a datagram to a pod": udp(canary, PORT),
        "a service": tcp(cluster_ip, PORT),
        "names, by datagram": udp("10.96.0.10", 53),
        "names, by stream": tcp("10.96.0.10", 53),
        "names, by the C library": Way("import socket; print('OUT', socket.gethostbyname('kubernetes.default.svc.cluster.local'))", ""),
        "names, at the node": udp(ADDRESS, 53),
        "another tunnel's workspace": tcp(neighbour, 8888, "node"),
        "another tunnel's probe": tcp(neighbour, 8889, "node"),
        "the metadata address": tcp(METADATA, 80),
        "a link-local address": udp(LINK_LOCAL, PORT),
        "IPv6, a stream": tcp(IPV6, PORT, "node"),
        "IPv6, a datagram": udp(IPV6, PORT, "node"),
        "IPv4 within IPv6": tcp(f"::ffff:{canary}", PORT),
        "a ping to a pod": ping(canary, "SOCK_RAW"),
        "a ping to the node": ping(ADDRESS, "SOCK_RAW"),
        "a ping without rights": ping(canary, "SOCK_DGRAM"),
        "a raw socket": Way("import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 255); print('OUT')"),
        "a packet socket": Way("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768); print('OUT')"),
        "an abstract socket of the node": Way(
            f"import socket; s = socket.socket(socket.AF_UNIX); s.connect(chr(0) + {ABSTRACT!r}); print('OUT')", "node"
        ),
        **{f"the {name}": tcp(services, port) for name, port in SERVICES.items()},
    }
    return network | _kernel_ways() | _path_ways()


def _kernel_ways() -> dict[str, Way]:
    return {
        "a user namespace": kernel(272, "0x10000000"),
        "a mount namespace": kernel(272, "0x00020000"),
        "a network namespace": kernel(272, "0x40000000"),
        "clone into a user namespace": Way(
            "import ctypes, os; c = ctypes.CDLL(None, use_errno=True); r = c.syscall(56, 0x10000011, 0, 0, 0, 0)\n"
            "if not r: os._exit(0)\nif r < 0: raise OSError(ctypes.get_errno(), 'clone')\nos.waitpid(r, 0); print('OUT')",
            "node",
        ),
        "a mount": kernel(165, "b'none'", "b'/tmp'", "b'tmpfs'", "0", "None", control="mounts"),
        "tracing": kernel(101, "0", "0", "0", "0"),
        "another process's memory": kernel(310, "os.getpid()", "None", "0", "None", "0", "0"),
        "becoming root": Way("import os; os.setuid(0); print('OUT', os.getuid())", "node"),
        "a program that becomes root": Way(
            "import os, subprocess; print('OUT' if subprocess.run(['/usr/bin/su', '-c', 'true'], stdin=-3).returncode == 0 else '')", "node"
        ),
        "another root": Way("import os; os.chroot('/tmp'); print('OUT')", "node"),
        "a device": Way("import os; os.mknod('/tmp/n', 0o20600, os.makedev(1, 1)); os.remove('/tmp/n'); print('OUT')", "node"),
        "a kernel module": kernel(175, "ctypes.create_string_buffer(64)", "64", "b''", control=""),
        "a key ring": kernel(250, "0", "-3", "0", control="node"),
        "a kernel program": kernel(321, "5", "None", "0", control=""),
        "the kernel's log": kernel(103, "10", "None", "0"),
        "entering the first process's network": Way(
            "import ctypes, os; c = ctypes.CDLL(None, use_errno=True); f = os.open('/proc/1/ns/net', 0)\n"
            "if c.setns(f, 0): raise OSError(ctypes.get_errno(), 'setns')\nprint('OUT')",
            "pod",
        ),
    }


def _path_ways() -> dict[str, Way]:
    def write(path: str, control: str = "") -> Way:
        return Way(f"open({path!r}, 'a').write(''); print('OUT')", control)

    sees = "import os; print('OUT' if any('containerd' in open(f'/proc/{p}/comm').read() for p in os.listdir('/proc') if p.isdigit()) else '')"
    return {
        "an account of the API server": Way("print('OUT', len(open('/var/run/secrets/kubernetes.io/serviceaccount/token').read()))"),
        "the node's processes": Way(sees, "node"),
        "the first process's root": Way("print('OUT', len(open('/proc/1/root/etc/shadow').read()))", "pod"),
        "the kernel's memory": Way("print('OUT', len(open('/proc/kcore', 'rb').read(1)))", ""),
        "the kernel's settings": write("/proc/sys/kernel/core_pattern", "node"),
        "the request key": write("/proc/sysrq-trigger", ""),
        "a control group's release": write("/sys/fs/cgroup/release_agent", ""),
        "the container runtime": Way("import os; print('OUT' if os.path.exists('/run/containerd') else '')", ""),
        "writing to the dataset": write("/data/flchain/persons.csv", ""),
        "a new file beside the dataset": write("/data/new", ""),
        "writing to the programs": write("/opt/sulku/podboot.py", ""),
        "writing to the system": write("/etc/passwd", "node"),
        "last words in the pod's status": write("/dev/termination-log", "pod"),
        "last words where they would be": write("/root/last-words", "pod"),
        "the probe's key": Way("print('OUT', open('/run/sulku/probe-key').read())", ""),
        "the other container's files": Way(
            "import os; print('OUT' if any('podprobe' in open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') if p.isdigit()) else '')",
            "node",
        ),
    }
