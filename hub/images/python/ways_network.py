"""Ways out through sockets. Nothing is sent to any address that is not the host's own or reserved for documentation."""

# ruff: noqa: ARG001, S104 -- every way has one signature; addresses here are called, not bound
from __future__ import annotations

import errno
import socket
from pathlib import Path

from ways import Told, way, works

SECONDS = 2.0  # for an answer; where there is no way, the kernel says so at once


def reach(family: int, kind: int, address: object, payload: bytes = b"probe") -> str:
    """Return what answered at ``address``; a stream that connects is open even if it says nothing."""
    with socket.socket(family, kind) as caller:
        caller.settimeout(SECONDS)
        caller.connect(address)  # type: ignore[arg-type]
        caller.sendall(payload)
        try:
            return f"answered {caller.recv(64)!r}"
        except TimeoutError:
            if kind == socket.SOCK_DGRAM:
                raise
            return "connected"


def route(family: int, address: object, *, broadcast: bool = False) -> str:
    """Return that a datagram to ``address`` has a way to go; nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as caller:
        if broadcast:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        caller.connect(address)  # type: ignore[arg-type]
        return f"a route from {caller.getsockname()[0]}"


def told_address(told: Told, name: str) -> tuple[str, int]:
    """Return where canary ``name`` is; port 9 where the host has none of that kind, so that something is tried."""
    host, port = told.get(name) or ("::1", 9)
    return host, port


def opens(family: int, kind: int, protocol: int = 0) -> str:
    """Return that such a socket can be made at all."""
    socket.socket(family, kind, protocol).close()
    return "a socket"


def interfaces() -> list[tuple[int, str]]:
    """Return the network interfaces as /proc lists them: (index in the list, name)."""
    rows = Path("/proc/net/dev").read_text().splitlines()[2:]
    return [(place, row.partition(":")[0].strip()) for place, row in enumerate(rows)]


@way("tcp4-loopback")
def _(told: Told) -> object:
    return reach(socket.AF_INET, socket.SOCK_STREAM, told_address(told, "tcp4"))


@way("tcp4-any")
def _(told: Told) -> object:
    return reach(socket.AF_INET, socket.SOCK_STREAM, told_address(told, "tcp-any"))


@way("tcp4-mapped")
def _(told: Told) -> object:
    host, port = told_address(told, "tcp4")
    return reach(socket.AF_INET6, socket.SOCK_STREAM, (f"::ffff:{host}", port))


@way("tcp4-host")
def _(told: Told) -> object:
    answers = []
    for host in [*told["addresses"], "0.0.0.0"]:
        try:
            answers.append(reach(socket.AF_INET, socket.SOCK_STREAM, (host, told_address(told, "tcp4")[1])))
        except ConnectionRefusedError:
            if host != "0.0.0.0":
                answers.append("a route to the host")  # refused by the host is still an answer of the host
        except OSError:
            continue
    return answers


@way("tcp6-loopback")
def _(told: Told) -> object:
    return reach(socket.AF_INET6, socket.SOCK_STREAM, told_address(told, "tcp6"))


@way("udp4-loopback")
def _(told: Told) -> object:
    return reach(socket.AF_INET, socket.SOCK_DGRAM, told_address(told, "udp4"))


@way("udp6-loopback")
def _(told: Told) -> object:
    return reach(socket.AF_INET6, socket.SOCK_DGRAM, told_address(told, "udp6"))


@way("route4-public")
def _(told: Told) -> object:
    return route(socket.AF_INET, ("192.0.2.1", 443))  # TEST-NET-1 of RFC 5737: a default route would lead there


@way("route4-private")
def _(told: Told) -> object:
    places = ("10.0.2.2", "172.17.0.1", "192.168.0.1", "100.64.0.1")
    return [place for place in places if works(route, socket.AF_INET, (place, 80))]


@way("route4-broadcast")
def _(told: Told) -> object:
    return route(socket.AF_INET, ("255.255.255.255", 67), broadcast=True)


@way("route4-multicast")
def _(told: Told) -> object:
    return route(socket.AF_INET, ("224.0.0.251", 5353))


@way("route6-global")
def _(told: Told) -> object:
    return route(socket.AF_INET6, ("2001:db8::1", 443))  # RFC 3849


@way("route6-link-local")
def _(told: Told) -> object:
    found = [name for _, name in interfaces() if name != "lo"]
    return found or route(socket.AF_INET6, ("fe80::1", 443, 0, 1)).replace("a route from ::1", "")


@way("metadata-tcp")
def _(told: Told) -> object:
    return reach(socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80), b"GET / HTTP/1.0\r\n\r\n")


@way("dns-udp")
def _(told: Told) -> object:
    places = ["127.0.0.1", "127.0.0.53", "127.0.0.11", "10.96.0.10", "192.0.2.53"]
    question = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x05sulku\x07invalid\x00\x00\x01\x00\x01"
    return [place for place in places if works(reach, socket.AF_INET, socket.SOCK_DGRAM, (place, 53), question)]


@way("dns-tcp")
def _(told: Told) -> object:
    places = ["127.0.0.1", "127.0.0.53", "10.96.0.10", "192.0.2.53"]
    return [place for place in places if works(reach, socket.AF_INET, socket.SOCK_STREAM, (place, 53))]


@way("dns-resolver")
def _(told: Told) -> object:
    try:
        return socket.getaddrinfo("sulku.example.com", 443)
    except socket.gaierror as error:
        raise OSError(errno.ENETUNREACH, str(error)) from None


@way("icmp-ping")
def _(told: Told) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as caller:
        caller.connect(("192.0.2.1", 0))
        return "a route for echo requests"


@way("raw-socket")
def _(told: Told) -> object:
    return opens(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


@way("packet-socket")
def _(told: Told) -> object:
    return opens(socket.AF_PACKET, socket.SOCK_DGRAM)


@way("netlink-socket")
def _(told: Told) -> object:
    return opens(socket.AF_NETLINK, socket.SOCK_RAW)


@way("vsock-socket")
def _(told: Told) -> object:
    return opens(socket.AF_VSOCK, socket.SOCK_STREAM)


@way("other-families")
def _(told: Told) -> object:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
    families = [number for number in range(64) if number not in {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6}]
    return [number for number in families if any(works(opens, number, kind) for kind in kinds)]


@way("interfaces", looks=True)
def _(told: Told) -> object:
    return [name for _, name in interfaces() if name != "lo"]


@way("abstract-socket")
def _(told: Told) -> object:
    return reach(socket.AF_UNIX, socket.SOCK_STREAM, told["abstract"])


@way("abstract-listing", looks=True)
def _(told: Told) -> object:
    return [row for row in Path("/proc/net/unix").read_text().splitlines()[1:] if "@" in row]
