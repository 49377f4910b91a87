"""What the command line remembers: the broker's address, the role to act in, and access tokens, in files of mode 0600."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sulku.errors import ConfigurationError

FOLDER: Final = "SULKU_CONFIG"
SERVER: Final = "http://broker.localhost:8080"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept for one broker: the token, when it ends (seconds since 1970), who it is for, and the role to act in."""

    token: str = ""
    until: int = 0
    name: str = ""
    role: str = ""


def folder() -> Path:
    """Return where everything is kept: ``SULKU_CONFIG``, else ``sulku`` in the user's configuration folder."""
    chosen = os.environ.get(FOLDER)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(chosen) if chosen else Path(base) / "sulku"


def now() -> datetime:
    """Return this machine's time."""
    return datetime.now(UTC)


def chosen(given: str = "") -> str:
    """Return the address that somebody chose: as given, from ``SULKU_SERVER``, or the one signed in to last; else empty."""
    return (given or os.environ.get("SULKU_SERVER") or str(_read("config.json").get("server", ""))).rstrip("/")


def server(given: str = "") -> str:
    """Return the broker's address: the one that was chosen, or this machine's."""
    return chosen(given) or SERVER


def remember_server(address: str) -> None:
    """Make ``address`` the one that is used when none is given."""
    _write("config.json", {"server": address})


def kept(address: str) -> Kept:
    """Return what is kept for the broker at ``address``; a token that has ended is not."""
    known = _read("tokens.json").get(address)
    try:
        found = Kept(**known) if isinstance(known, dict) else Kept()
    except TypeError:
        return Kept()
    return found if found.until > now().timestamp() else replace(found, token="")


def keep(address: str, value: Kept | None) -> None:
    """Keep ``value`` for the broker at ``address``; ``None`` forgets it."""
    all_ = _read("tokens.json")
    all_.pop(address, None)
    _write("tokens.json", {**all_, **({address: asdict(value)} if value else {})})


def _read(name: str) -> dict[str, Any]:
    path = folder() / name
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} can be read by others; chmod 600 it, and sign in again")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return value if isinstance(value, dict) else {}


def _write(name: str, value: dict[str, Any]) -> None:
    path = folder() / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file)
    fresh.replace(path)
