"""Which of our parts may call which, as a table, and how the address of a part or of a workspace is written."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sulku.errors import ConfigurationError, InvalidInputError, NotAPodError

BROKER: Final = "broker"
GATEWAY: Final = "gateway"
HUB: Final = "hub"
WORKER: Final = "worker"
PARTS: Final = (BROKER, WORKER, GATEWAY, HUB)
"""Every part that has a certificate; its name there (a DNS name among the alternative names) is the one here."""
TRIES: Final = 6
"""How often a part tries to connect by TCP while nothing was sent yet: behind one name several listen, and one may be just starting."""
PAUSE: Final = 0.05
"""Seconds between two of these."""


@dataclass(frozen=True, slots=True)
class Link:
    """Something that one part lets others ask of it.

    Attributes:
        to: The part that listens.
        paths: Beginnings of what may be asked for; whole segments.
        callers: The parts that may.
        token: The file below ``<state>/secrets`` with the bearer token that they must show besides.
        why: What for, one sentence.
    """

    to: str
    paths: tuple[str, ...]
    callers: frozenset[str]
    token: str
    why: str


LINKS: Final = (
    Link(BROKER, ("/internal/gate",), frozenset({GATEWAY}), "gateway", "The record of open tunnels, tickets, budget, reports, outputs."),
    Link(BROKER, ("/internal/hub",), frozenset({HUB}), "hub", "Start, look at and stop the workspace of a tunnel."),
    Link(GATEWAY, ("/control/cut", "/control/health", "/metrics"), frozenset({BROKER, WORKER}), "control", "Cut a tunnel now; ask how it fares."),
    Link(GATEWAY, ("/control/reach",), frozenset({WORKER}), "control", "Carry one sealed line to a pod's program, and one back; by TCP alone."),
    Link(GATEWAY, ("/control/routes",), frozenset({HUB}), "control", "Routes, which are hints and open nothing."),
    Link(HUB, ("/hub/api",), frozenset({BROKER, WORKER}), "jupyterhub", "Have the server of a tunnel spawned and stopped."),
)


def callers(to: str) -> frozenset[str]:
    """Return every part that may call ``to`` for anything."""
    return frozenset().union(*(link.callers for link in LINKS if link.to == to))


def allowed(to: str, path: str, names: Collection[str]) -> bool:
    """Return whether a part with a certificate for ``names`` may ask ``to`` for ``path``; what no link lists is nobody's."""
    return any(
        link.to == to and not link.callers.isdisjoint(names) and any(path == one or path.startswith(f"{one}/") for one in link.paths)
        for link in LINKS
    )


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NEVER_PODS: Final = tuple(
    map(ipaddress.ip_network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8"))
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: a unix socket (``path``), or ``scheme``, ``host`` and ``port``."""

    path: str = ""
    scheme: str = "unix"
    host: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        """Origin for requests; over a unix socket the host says nothing."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "http://localhost" if self.path else f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        """Write it as it was read."""
        return f"unix:{self.path}" if self.path else self.url


def address(text: str) -> Address:
    """Read the address of a part, ``unix:/path`` or ``https://host:port``; there is no TCP without TLS between parts.

    Raises:
        ConfigurationError: It is neither.
    """
    if text.startswith("unix:/"):
        return Address(text.removeprefix("unix:"))
    host, port = _host_and_port(text, "https")
    if not host or not port:
        raise ConfigurationError(f"{text[:200]!r} is neither unix:/path nor https://host:port; between parts TCP is mutual TLS or nothing")
    return Address(scheme="https", host=host, port=port)


def workspace(text: str) -> Address:
    """Read the address of a workspace: the path of a unix socket, or ``http://IP:PORT`` in the pods' network.

    No name, as whoever answers for names could send us elsewhere; no address that is never a pod's.

    Raises:
        InvalidInputError: It is neither.
    """
    if text.startswith("/"):
        return Address(text)
    host, port = _host_and_port(text, "http")
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        raise InvalidInputError(f"{text[:200]!r} is neither a path nor http://IP:PORT") from None
    elsewhere = found.is_link_local or found.is_multicast or found.is_unspecified or (found.is_reserved and not found.is_loopback)
    if not port or elsewhere or "%" in host:
        raise InvalidInputError(f"{text[:200]!r} cannot be the address of a workspace")
    return Address(scheme="http", host=str(found), port=port)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read the pods' networks, each as ``10.244.0.0/16``.

    Raises:
        ConfigurationError: One is no network, or holds addresses that are never a pod's: loopback, link-local and the like.
    """
    found = []
    for text in texts:
        try:
            one = ipaddress.ip_network(text)
        except ValueError as error:
            raise ConfigurationError(f"{text[:100]!r} is not a network of pods: {error}") from None
        if any(one.version == other.version and one.overlaps(other) for other in _NEVER_PODS):
            raise ConfigurationError(f"{text[:100]!r} is not a network of pods: it holds addresses that are never a pod's")
        found.append(one)
    return tuple(found)


def pod(text: str, within: Collection[Network], ports: Collection[int]) -> Address:
    """Read the address of a pod that one of our parts is asked to connect to for another.

    Raises:
        NotAPodError: It is none, in no network of ``within``, or its port is not of ``ports``.
    """
    try:
        found = workspace(text)
    except InvalidInputError as error:
        raise NotAPodError(str(error)) from None
    if found.path or found.port not in ports or not any(ipaddress.ip_address(found.host) in one for one in within):
        raise NotAPodError(f"{text[:200]!r} is not the address of a pod")
    return found


def _host_and_port(text: str, scheme: str) -> tuple[str, int]:
    """Return host and port of an origin that says nothing more; empty and 0 where it does not."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0
    written = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    return (host, port) if text.lower().removesuffix("/") == written else ("", 0)
