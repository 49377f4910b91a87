"""What a tunnel on this cluster must not reach, as the part that opens tunnels finds it around itself; looked up anew each time."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from broker.adapters.kubernetes import Canary
from sulku.errors import ClusterUnavailableError, ConfigurationError

Target = tuple[str, str, str, int]  # name, kind (tcp, udp, icmp), host, port

KUBELET: Final = 10250
METADATA: Final = "169.254.169.254"  # of every public cloud
NEIGHBOUR6: Final = "fd00:73:756c::1"  # where a cluster has no IPv6, nobody; that a pod gets nowhere by it is to be seen all the same
_RESOLVER: Final = Path("/etc/resolv.conf")


def resolved(host: str) -> str:
    """Return the address of ``host``.

    Raises:
        ClusterUnavailableError: Nobody knows it now.
    """
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ClusterUnavailableError(f"nobody knows where {host} is: {error}") from None


class Around:
    """The canary and the targets, as they are at the moment of asking: a pod that begins anew has another address."""

    def __init__(
        self,
        canary: str,
        key: str,
        given: Iterable[Target] = (),
        *,
        environment: Mapping[str, str] | None = None,
        resolver: Path = _RESOLVER,
        resolve: Callable[[str], str] = resolved,
    ) -> None:
        """Keep where to look.

        Args:
            canary: ``host:port``; the host may be a name.
            key: Of the canary's sealed line.
            given: Targets of the operator, by name beside or instead of what is found.
            environment: Where Kubernetes says what is around a pod: its own service, ours (``BROKER_SERVICE_HOST``), ``NODE_ADDRESS``.

        Raises:
            ConfigurationError: Something is not there that every tunnel must have been tried against.
        """
        self._environment = os.environ if environment is None else environment
        self._resolver, self._resolve, self._given, self._key = resolver, resolve, tuple(given), key
        self._host, _, port = canary.rpartition(":")
        if not self._host or not port.isdigit():
            raise ConfigurationError(f"canary is host:port, not {canary[:100]!r}")
        self._port = int(port)
        self._found = self._near()

    def _near(self) -> tuple[Target, ...]:
        try:
            api = self._environment["KUBERNETES_SERVICE_HOST"], int(self._environment["KUBERNETES_SERVICE_PORT"])
            broker = self._environment["BROKER_SERVICE_HOST"], int(self._environment["BROKER_SERVICE_PORT"])
            node = self._environment["NODE_ADDRESS"]
        except KeyError as error:
            raise ConfigurationError(f"{error.args[0]} is not set: this part must run in a pod that is told what is around it") from None
        names = [line.split()[1] for line in self._resolver.read_text().splitlines() if line.startswith("nameserver ")]
        if not names:
            raise ConfigurationError(f"{self._resolver} names no name server")
        return (
            ("api-service", "tcp", *api),
            ("api-address", "tcp", node, 6443),
            ("dns-udp", "udp", names[0], 53),
            ("dns-tcp", "tcp", names[0], 53),
            ("node-kubelet", "tcp", node, KUBELET),
            ("node-icmp", "icmp", node, 0),
            ("metadata", "tcp", METADATA, 80),
            ("broker", "tcp", *broker),
            ("ipv6-tcp", "tcp", NEIGHBOUR6, self._port),
            ("ipv6-udp", "udp", NEIGHBOUR6, self._port),
        )

    @property
    def canary(self) -> Canary:
        """Where the canary is now.

        Raises:
            ClusterUnavailableError: Nobody knows.
        """
        return Canary(self._resolve(self._host), self._port, self._key)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Everything that the probe tries, one row a name, addresses in place of names.

        Raises:
            ClusterUnavailableError: An address cannot be found; nothing counts as tried.
        """
        canary = self.canary
        own: tuple[Target, ...] = (
            ("canary-tcp", "tcp", canary.host, canary.port),
            ("canary-udp", "udp", canary.host, canary.port),
            ("canary-icmp", "icmp", canary.host, 0),
            ("neighbour-tcp", "tcp", canary.host, canary.port + 1),
        )
        rows = {one[0]: one for one in (*own, *self._found, *self._given)}
        return tuple((name, kind, self._resolve(host), port) for name, kind, host, port in rows.values())
