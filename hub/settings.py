"""What the hub is told: a JSON file named by the environment variable ``SULKU_HUB_CONFIG``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from sulku.codec import typed
from sulku.errors import ConfigurationError, InvalidInputError

VARIABLE = "SULKU_HUB_CONFIG"


@dataclass(frozen=True, slots=True)
class HubSettings:
    """The narrow settings of one hub.

    Attributes:
        state_dir: Folder for the hub's database and cookie secret.
        hub_socket: Unix socket that the hub listens on; only the broker calls it.
        broker_token_file: Token that the broker shows to the hub's API.
        broker_socket: Unix socket of the broker's internal API, which the spawner asks.
        spawner_token_file: Token that the spawner shows there.
        gateway_socket: The gateway's control socket.
        gateway_token_file: Token that the proxy class shows there.
        check_routes_seconds: How often the hub compares routes; they are hints, so it need not be often.
    """

    state_dir: str
    hub_socket: str
    broker_token_file: str
    broker_socket: str
    spawner_token_file: str
    gateway_socket: str
    gateway_token_file: str
    check_routes_seconds: int = 60


def read() -> HubSettings:
    """Return the settings in the file that the environment names.

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
        ConfigurationError: It cannot be read.
    """
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error
