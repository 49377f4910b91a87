"""What an operator may set: one frozen record, each field documented, each value's origin known; secrets only as files."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sulku import links
from sulku.crypto.channels import Files, require_private
from sulku.errors import ConfigurationError
from sulku.links import BROKER, WORKER, Address
from sulku.manifests import Place

PREFIX: Final = "SULKU_"
FILE: Final = "settings.json"
STATE: Final = "SULKU_STATE"


class Mode(StrEnum):
    """What this installation is for. ``demo`` may use the development issuer; ``production`` refuses every stand-in."""

    DEMO = "demo"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Every setting. A variable of the environment (``SULKU_`` and the name in capitals) beats ``settings.json``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    mode: Mode = Field(Mode.DEMO, description="`demo`, or `production`, which refuses every stand-in and plain HTTP.")
    state: Path = Field(Path("var"), description="Folder of everything that is kept: rows, blobs, keys, sockets.")

    url: str = Field("http://broker.localhost:8080", description="Public address of the pages and the API.")
    host: str = Field("127.0.0.1", description="Address that the broker listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port that the broker listens on.")
    preview_url: str = Field("http://preview.localhost:8080", description="Second origin, for inert previews of outputs.")
    gate_domain: str = Field("sulku.localhost:8081", description="Name and port below which each tunnel has its origin.")
    gate_port: int = Field(8081, ge=0, le=65535, description="Port that the gateway listens on.")

    issuer: str = Field("http://issuer.localhost:8082", description="OpenID Connect issuer that signs people in.")
    issuer_port: int = Field(8082, ge=0, le=65535, description="Port of the development issuer (mode `demo` only).")
    client_id: str = Field("sulku-web", description="The pages' client at the issuer; redirect: `<url>/signed-in`.")
    client_secret_file: Path | None = Field(None, description="File with that client's secret; none for a public client.")
    cli_client_id: str = Field("sulku-cli", description="The command line's public client (loopback redirect, device flow).")
    audience: str = Field("sulku", description="Audience that an access token must name to be taken by the API.")
    session_key_file: Path | None = Field(None, description="Key that seals cookies; `<state>/keys/session.key` if unset.")
    session_hours: int = Field(12, ge=1, le=24, description="Hours until a sign-in at the pages ends.")

    remind_days: int = Field(7, ge=1, le=365, description="Days after which stewards are reminded of what waits, and again after as many.")

    broker_address: str = Field("", description="Internal API, for gateway and hub: `unix:/path` or `https://host:port`; a socket below `state` if empty.")
    gateway_address: str = Field("", description="The gateways' control, written alike; a name is asked for every address that it has.")
    hub_address: str = Field("", description="JupyterHub's API, written alike.")
    certificate_file: Path | None = Field(None, description="This part's certificate for links by TCP; `<state>/certificates/<part>/tls.crt` if unset.")
    certificate_key_file: Path | None = Field(None, description="Its key; `<state>/certificates/<part>/tls.key` if unset.")
    authority_file: Path | None = Field(None, description="The authority of all parts; `<state>/certificates/<part>/ca.crt` if unset.")

    database: str = Field("", description="SQLAlchemy URL without a password; empty is SQLite in the state folder.")
    database_password_file: Path | None = Field(None, description="File with the database's password.")
    policies: Path = Field(Path("policies"), description="Folder of the policies, or a signed bundle of them, as OPA loads it.")
    policies_key_file: Path | None = Field(None, description="Public key (PEM) that vouches for that bundle; `sulku-broker policies` makes both.")
    policy_engine: Literal["regorus", "opa"] = Field("regorus", description="`regorus`, in process, or `opa`, a server.")
    opa_url: str = Field("http://127.0.0.1:8181", description="Where the OPA server listens.")
    opa_seconds: float = Field(0.25, gt=0, le=5, description="How long an answer of that server may take; none in time is a no.")
    effects: Literal["embedded", "celery"] = Field("embedded", description="Who does the effects: this process, or Celery.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Celery's Redis, without a password.")
    redis_password_file: Path | None = Field(None, description="File with the password of Redis.")
    concurrency: int = Field(4, ge=1, le=32, description="Effects that a Celery worker does side by side: openings and endings of tunnels, deliveries.")
    pulse: Path | None = Field(None, description="Folder in which a worker's clocks stamp that they run, for whoever restarts it when one is stuck.")
    workspace: Path = Field(Path("~/.cache/sulku/workspace"), description="Environment that workspaces run (JupyterLab, pandas and so on).")
    image: Path = Field(Path("hub/images/python"), description="Folder of the programs that run inside a workspace.")

    workspaces: Literal["sandbox", "kubernetes"] = Field("sandbox", description="Where tunnels run: in a `sandbox` on this machine, or on `kubernetes`.")
    kubeconfig: Path | None = Field(None, description="How the cluster is reached; unset, by the account of the pod that this runs in.")
    namespace: str = Field("sulku", description="Namespace of our own parts on the cluster.")
    place: Place | None = Field(None, description="Tunnels on Kubernetes, a JSON object: `image`, `runtime_class`, `gateway`, `datasets`, `homes` and more.")
    canary: str = Field("", description="Where the canary listens, `host:port`; a name is looked up each time, and the port after it tells what came.")
    canary_key_file: Path | None = Field(None, description="File with the key of the canary's sealed line.")
    targets: tuple[tuple[str, Literal["tcp", "udp", "icmp"], str, int], ...] = Field(
        (), description="What tunnels must not reach beside what is known already: `[[name, kind, host, port], …]`; a known name is replaced."
    )
    patrol_seconds: int = Field(30, ge=5, le=600, description="Seconds between two rounds of a running tunnel's probe.")
    guards: Path | None = Field(None, description="Folder with the guards as the chart installed them; unset, nobody watches them.")

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.audience in {self.client_id, self.cli_client_id}:
            raise ValueError("audience must differ from both client ids, or an id token would pass for an access token")
        for name in ("url", "preview_url", "issuer"):
            _require_address(name, getattr(self, name), self.mode)
        for name in ("broker_address", "gateway_address", "hub_address"):
            _require_link(name, getattr(self, name))
        if urlsplit(self.url).netloc == urlsplit(self.preview_url).netloc:
            raise ValueError("preview_url must be another origin than url")
        if self.workspaces == "kubernetes":
            wanting = [name for name in ("place", "canary", "canary_key_file", "gateway_address") if not getattr(self, name)]
            if wanting:
                raise ValueError(f"tunnels on Kubernetes need {', '.join(wanting)}")
        return self

    @property
    def secure(self) -> bool:
        """Whether people reach the pages by TLS, so that cookies are Secure."""
        return self.url.startswith("https:")

    @property
    def preview_origin(self) -> str:
        """Origin of inert previews."""
        return self.preview_url.rstrip("/")

    @property
    def gate_scheme(self) -> str:
        """Scheme of the tunnels' origins; the same as the pages'."""
        return "https" if self.secure else "http"

    def tunnel_url(self, label: str) -> str:
        """Return the origin of the tunnel with host label ``label`` (``t-…``)."""
        return f"{self.gate_scheme}://{label}.{self.gate_domain}"

    @property
    def opens_tunnels(self) -> str:
        """The part that starts and ends workspaces: the broker on one machine, and on a cluster whoever does the effects."""
        return WORKER if self.workspaces == "kubernetes" and self.effects == "celery" else BROKER

    @property
    def session_key(self) -> Path:
        """File of the key that seals cookies."""
        return self.session_key_file or self.state / "keys" / "session.key"

    def link(self, to: str) -> Address:
        """Return where the part ``to`` (broker, gateway, hub) is called."""
        return links.address(getattr(self, f"{to}_address") or f"unix:{self.state.resolve() / 'run' / f'{to}.sock'}")

    def certificates(self, part: str) -> Files:
        """Return the paths of the certificate, key and authority of ``part``, which may not be there."""
        folder = self.state.resolve() / "certificates" / part
        found = (self.certificate_file or folder / "tls.crt", self.certificate_key_file or folder / "tls.key", self.authority_file or folder / "ca.crt")
        return Files(*map(str, found))


def _require_address(name: str, text: str, mode: Mode) -> None:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{name} must be an http or https address without credentials, query or fragment")
    if name != "issuer" and parts.path not in {"", "/"}:
        raise ValueError(f"{name} must be an origin, without a path")
    if mode is Mode.PRODUCTION and parts.scheme != "https":
        raise ValueError(f"{name} must be https in production")


def _require_link(name: str, text: str) -> None:
    try:
        links.address(text or "unix:/")
    except ConfigurationError as error:
        raise ValueError(f"{name}: {error}") from None


def load(state: Path | None = None) -> Settings:
    """Return the settings: the environment first, then ``<state>/settings.json``, then the defaults.

    Raises:
        ConfigurationError: The file cannot be read, or a value is unknown, wrong or unsafe for the mode.
    """
    state = state or Path(os.environ.get(STATE, "var"))
    given = {name: value for name, value in _file(state).items() if _variable(name) not in os.environ}
    try:
        return Settings(**{**given, "state": state})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(wrong) from None


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _file(state: Path) -> dict[str, Any]:
    path = state / FILE
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must hold one JSON object")
    return values


def provenance(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return, for each field, its value as text and where it comes from: a variable, the file, or the default."""
    kept = _file(settings.state)

    def origin(name: str) -> str:
        if _variable(name) in os.environ:
            return _variable(name)
        return str(settings.state / FILE) if name in kept else "default"

    return {name: (str(getattr(settings, name)), origin(name)) for name in Settings.model_fields}


def secret(path: Path) -> str:
    """Return the secret in a file that only its owner may read.

    Raises:
        ConfigurationError: There is none, it is empty, or others may read it.
    """
    try:
        require_private(str(path))
        text = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not text:
        raise ConfigurationError(f"{path} is empty")
    return text
