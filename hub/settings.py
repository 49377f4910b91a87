"""What the hub is told: a JSON file named by the environment variable ``SULKU_HUB_CONFIG``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sulku.codec import typed
from sulku.crypto.channels import Files, require_private
from sulku.errors import ConfigurationError, InvalidInputError

VARIABLE = "SULKU_HUB_CONFIG"


@dataclass(frozen=True, slots=True)
class HubSettings:
    """The narrow settings of one hub.

    Attributes:
        state_dir: Folder for the hub's database and cookie secret.
        hub_address: Where the hub listens, ``unix:/path`` or ``https://IP:port``; only the broker calls it.
        broker_token_file: Token that the broker shows to the hub's API.
        broker_address: The broker's internal API, written alike, which the spawner asks.
        spawner_token_file: Token that the spawner shows there.
        gateway_address: The gateway's control, written alike.
        gateway_token_file: Token that the proxy class shows there.
        certificate_file: The hub's certificate; this and the next two are needed where an address is ``https``.
        certificate_key_file: Its key.
        authority_file: The authority of all parts.
        check_routes_seconds: How often the hub compares routes; they are hints, so it need not be often.
    """

    state_dir: str
    hub_address: str
    broker_token_file: str
    broker_address: str
    spawner_token_file: str
    gateway_address: str
    gateway_token_file: str
    certificate_file: str = ""
    certificate_key_file: str = ""
    authority_file: str = ""
    check_routes_seconds: int = 60

    @property
    def files(self) -> Files:
        """The hub's certificate, key and authority."""
        return Files(self.certificate_file, self.certificate_key_file, self.authority_file)


@cache
def read() -> HubSettings:
    """Return the settings in the file that the environment names, as they were at the start.

    Raises:
        ConfigurationError: It cannot be read, has unknown or missing keys, or holds a path that JupyterHub would mangle.
    """
    path = os.environ.get(VARIABLE, "")
    try:
        return typed(HubSettings, json.loads(Path(path).read_bytes()))
    except (OSError, ValueError, InvalidInputError) as error:
        raise ConfigurationError(f"{VARIABLE}={path}: {error}") from error


def token(path: str) -> str:
    """Return the token in the file ``path``, read each time so that it can be changed.

    Raises:
        ConfigurationError: It cannot be read, is empty, or others may read it.
    """
    try:
        require_private(path)
        found = Path(path).read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not found:
        raise ConfigurationError(f"{path} is empty")
    return found
