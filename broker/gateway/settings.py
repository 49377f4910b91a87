"""What the gateway is told at its start, and nothing more: no database, no signing key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sulku import links
from sulku.codec import typed
from sulku.crypto.channels import Files, require_private
from sulku.errors import ConfigurationError, InvalidInputError


@dataclass(frozen=True, slots=True)
class Settings:
    """The narrow settings of one gateway.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, which then also replaces a ``:0`` at the end of ``domain``.
        domain: Public name and port below which each tunnel has its own origin, such as ``sulku.localhost:8081``.
        scheme: ``http`` (one machine) or ``https`` (TLS ends in front of the gateway; cookies become Secure).
        broker_url: Public address of the broker's pages, without a slash at the end.
        broker_address: The broker's internal API, ``unix:/path`` or ``https://host:port``.
        broker_token_file: File with the bearer token for it.
        control_address: Where the gateway listens for the broker and the hub, written alike.
        control_token_file: File with the bearer token that they must show.
        certificate_file: The gateway's certificate; this and the next two are needed where an address is ``https``.
        certificate_key_file: Its key.
        authority_file: The authority of all parts.
        session_key_file: Key that all gateways share, so that each knows who entered by another; empty for a gateway alone,
            which then remembers them itself.
        state_dir: Folder for reports that wait for the broker.
        workspace_networks: The pods' networks, such as ``10.244.0.0/16``: the only ones in which the gateway connects to a
            workspace by TCP, and the worker may have a pod reached. Empty where workspaces listen on unix sockets.
        lab_prefix: Prefix of an environment outside every sandbox from which JupyterLab's files are served.
        slice_bytes: How much egress budget to lease at a time.
        drain_seconds: How long, when asked to end, it lets open websockets live while it takes no new connections; they are
            closed sooner if everybody else has gone. Another SIGTERM ends it at once.
        report_seconds: How long after that it waits at most for a broker that is away to take what ran here. What is not taken is
            told after the next start, if there is one with this ``state_dir``: where there is not, as in a pod, it is lost.
        ready_file: Written with the port once the gateway listens; empty for none.
    """

    domain: str
    broker_url: str
    broker_address: str
    broker_token_file: str
    control_address: str
    control_token_file: str
    state_dir: str
    lab_prefix: str
    host: str = "127.0.0.1"
    port: int = 8081
    scheme: str = "http"
    slice_bytes: int = 262_144
    ready_file: str = ""
    certificate_file: str = ""
    certificate_key_file: str = ""
    authority_file: str = ""
    session_key_file: str = ""
    workspace_networks: tuple[str, ...] = ()
    drain_seconds: int = 0
    report_seconds: int = 2

    @property
    def files(self) -> Files:
        """The gateway's certificate, key and authority."""
        return Files(self.certificate_file, self.certificate_key_file, self.authority_file)

    @property
    def gate_origin(self) -> str:
        """Origin of the shell pages."""
        return f"{self.scheme}://gate.{self.domain}"

    def origin(self, label: str) -> str:
        """Return the origin of the tunnel with host label ``label``."""
        return f"{self.scheme}://{label}.{self.domain}"


def read(path: Path) -> Settings:
    """Return the settings in the JSON file ``path``.

    Raises:
        ConfigurationError: It cannot be read, has unknown or missing keys, a wrong scheme, or an address or network that is none.
    """
    try:
        settings = typed(Settings, json.loads(path.read_bytes()))
        for text in (settings.broker_address, settings.control_address):
            links.address(text)
        links.networks(settings.workspace_networks)
    except (OSError, ValueError, InvalidInputError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if settings.scheme not in {"http", "https"} or settings.slice_bytes < 1 or min(settings.drain_seconds, settings.report_seconds) < 0:
        raise ConfigurationError(f"{path}: scheme must be http or https, slice_bytes positive, drain_seconds and report_seconds not negative")
    return settings


def secret(path: str) -> str:
    """Return the token in the file ``path``.

    Raises:
        ConfigurationError: There is no such file, it is empty, or others may read it.
    """
    try:
        require_private(path)
        token = Path(path).read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not token:
        raise ConfigurationError(f"{path} is empty")
    return token
