"""What the gateway is told at its start, and nothing more: no database, no signing key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sulku.codec import typed
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
        broker_socket: Unix socket of the broker's internal API.
        broker_token_file: File with the bearer token for that socket.
        control_socket: Unix socket that the gateway listens on for the broker and the hub.
        control_token_file: File with the bearer token that they must show.
        state_dir: Folder for reports that wait for the broker.
        lab_prefix: Prefix of an environment outside every sandbox from which JupyterLab's files are served.
        slice_bytes: How much egress budget to lease at a time.
        ready_file: Written with the port once the gateway listens; empty for none.
    """

    domain: str
    broker_url: str
    broker_socket: str
    broker_token_file: str
    control_socket: str
    control_token_file: str
    state_dir: str
    lab_prefix: str
    host: str = "127.0.0.1"
    port: int = 8081
    scheme: str = "http"
    slice_bytes: int = 262_144
    ready_file: str = ""

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
        ConfigurationError: It cannot be read, has unknown or missing keys, or a wrong scheme.
    """
    try:
        settings = typed(Settings, json.loads(path.read_bytes()))
    except (OSError, ValueError, InvalidInputError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if settings.scheme not in {"http", "https"} or settings.slice_bytes < 1:
        raise ConfigurationError(f"{path}: scheme must be http or https and slice_bytes positive")
    return settings


def secret(path: str) -> str:
    """Return the token in the file ``path``.

    Raises:
        ConfigurationError: There is no such file, it is empty, or others may read it.
    """
    try:
        file = Path(path)
        if file.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} can be read by others; chmod 600 it")
        token = file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not token:
        raise ConfigurationError(f"{path} is empty")
    return token
