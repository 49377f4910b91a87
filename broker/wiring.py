"""The composition root: builds every part from the settings, and refuses what is unsafe in production."""

from __future__ import annotations

import hmac
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import make_url

from broker.adapters import homes, policy_signed
from broker.adapters.blobs import FileBlobs
from broker.adapters.clock import SystemClock
from broker.adapters.gate import GateControl
from broker.adapters.hub import JupyterHub
from broker.adapters.inspection import Inspector
from broker.adapters.keys import FileKeys, secret, write
from broker.adapters.kubernetes import Cluster
from broker.adapters.kubernetes_api import Api
from broker.adapters.policy_opa import OpaPolicy
from broker.adapters.policy_regorus import RegorusPolicy
from broker.adapters.sandbox import Sandbox
from broker.adapters.surroundings import Around
from broker.adapters.vault import FileVault
from broker.flows import notices
from broker.settings import Mode, Settings
from broker.settings import secret as read_secret
from broker.store.archive import Archive
from broker.store.store import SqlStore
from sulku import ids, mounts
from sulku.crypto import channels, seal
from sulku.links import BROKER
from sulku.permits import Permit
from sulku.plan import Limits, WorkspacePlan
from sulku.policies import Bundle
from sulku.ports import Policy, Ports
from sulku.tunnels import Tunnel

SERVICES: Final = ("gateway", "hub", "control", "jupyterhub")  # bearer tokens between our own parts


@dataclass(frozen=True, slots=True)
class Wired:
    """One running broker, taken apart.

    Attributes:
        cluster: Where tunnels run on Kubernetes and this part is the one that opens them.
    """

    settings: Settings
    ports: Ports
    store: SqlStore
    archive: Archive
    keys: FileKeys
    sandbox: Sandbox
    cluster: Cluster | None
    vault: FileVault
    hub: JupyterHub
    gate: GateControl
    inspector: Inspector
    profiles: dict[str, Any]
    tokens: dict[str, str]
    workspace_secret: str

    def plan(self, tunnel: Tunnel) -> WorkspacePlan:
        """Compile what the sandbox must know about ``tunnel`` from its permit."""
        permit: Permit = self.store.peek([tunnel.permit])[tunnel.permit]
        paper = permit.paper
        home = self.settings.state / "homes" / tunnel.permit / tunnel.person
        assert tunnel.deadline is not None
        return WorkspacePlan(
            tunnel=tunnel.id,
            person=tunnel.person,
            permit=tunnel.permit,
            title=paper.title,
            deadline=tunnel.deadline,
            datasets=tuple(grant.name for grant in paper.grants),
            home=str(home.resolve()),
            token=self.workspace_token(tunnel.id),
            limits=replace(Limits(), home=paper.limits.home, memory=paper.limits.memory),
        )

    def workspace_token(self, tunnel: str) -> str:
        """Return the token that the gateway shows to the workspace; derived, so that no row holds it."""
        return workspace_token(self.workspace_secret, tunnel)

    def wipe_homes(self, permit: str) -> None:
        """Destroy what was kept of everybody's work under ``permit``; may be repeated.

        Raises:
            SandboxError: A tunnel still has a home, or the disk refuses.
        """
        homes.wipe(self.settings.state / "homes" / ids.parse(permit, "per"))

    def tell(self, to: str, what: str, about: str) -> None:
        """Leave a notice for everybody who is meant."""
        now = self.ports.clock.now()
        people = [one.id for one in notices.recipients(self.ports, to, now)]
        version = self.store.peek([about])[about].version
        self.store.notices.put(f"{to}:{what}:{about}:{version}", people, what, about, now)


def workspace_token(secret: str, tunnel: str) -> str:
    """Return the token that a workspace takes: derived, so that no row holds it."""
    return hmac.new(secret.encode(), tunnel.encode(), "sha256").hexdigest()


def wire(settings: Settings, part: str = BROKER) -> Wired:
    """Build everything that one process of the broker needs; ``part`` is who it is to gateway and hub.

    Raises:
        ConfigurationError: A setting is missing or unsafe for the mode; nothing was started.
    """
    state = settings.state
    clock = SystemClock()
    keys = FileKeys(state / "keys")
    store = SqlStore(database_url(settings), state / "spool" / "late.jsonl")
    blobs = FileBlobs(state / "blobs")
    rules = rules_of(settings)
    kept = state / "policies" / f"{rules.sha256}.json"
    if not kept.exists():  # every bundle that was ever in force, so that its decisions can be replayed
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(kept, rules.data)
    archive = Archive(store, keys, blobs, lambda: [path.read_bytes() for path in sorted(kept.parent.glob("*.json"))], clock.now)
    ports = Ports(clock, _policy(settings, rules), store, keys, blobs, archive)
    tokens = {name: secret(state / "secrets" / name, seal.token()) for name in SERVICES}
    workspace_secret = secret(state / "secrets" / "workspace", seal.token())
    gate = GateControl(settings.link("gateway"), tokens["control"], channel(settings, part, "gateway"))
    vault = FileVault(state / "vault")
    return Wired(
        settings=settings,
        ports=ports,
        store=store,
        archive=archive,
        keys=keys,
        sandbox=Sandbox(state, settings.workspace.expanduser(), settings.image, now=clock.now),
        cluster=_cluster(settings, store, vault, gate, workspace_secret, clock) if settings.workspaces == "kubernetes" and part == settings.opens_tunnels else None,
        vault=vault,
        hub=JupyterHub(settings.link("hub"), tokens["jupyterhub"], channel(settings, part, "hub")),
        gate=gate,
        inspector=Inspector(),
        profiles=rules.tables["disclosure"]["profiles"],
        tokens=tokens,
        workspace_secret=workspace_secret,
    )


def _cluster(settings: Settings, store: SqlStore, vault: FileVault, gate: GateControl, key: str, clock: SystemClock) -> Cluster:
    """Return the cluster's tunnels, reached by way of the gateways alone."""
    assert settings.place is not None  # the settings see to it
    assert settings.canary_key_file is not None

    def sources(plan: WorkspacePlan) -> dict[str, dict[str, str]]:
        grants = mounts.plan(store.peek([plan.permit])[plan.permit].paper)
        views = {grant.name: Path(vault.materialise(grant).source).name for grant in grants}
        return {one.name: {"name": one.name, "dataset": one.dataset, "version": one.version, "view": views[one.name]} for one in grants}

    return Cluster(
        Api.connect(str(settings.kubeconfig or "")),
        settings.place,
        Around(settings.canary, read_secret(settings.canary_key_file), settings.targets),
        home=settings.namespace,
        secret=key,
        token=lambda tunnel: workspace_token(key, tunnel),
        now=clock.now,
        reach=gate.reach,
        sources=sources,
    )


def channel(settings: Settings, part: str, to: str) -> ssl.SSLContext | None:
    """Return how ``part`` calls ``to`` by TCP; ``None`` by a unix socket.

    Raises:
        CertificateUnfitError: It is TCP, and ``part`` has no certificate that would be believed.
    """
    return None if settings.link(to).path else channels.calling(settings.certificates(part), part, to)


def rules_of(settings: Settings) -> Bundle:
    """Return the policies in force; in production those of the profile ``strict``.

    Raises:
        ConfigurationError: They cannot be read, or are not signed as they must be.
    """
    profile = "strict" if settings.mode is Mode.PRODUCTION else None
    return policy_signed.load(settings.policies, settings.policies_key_file, profile=profile)


def publish(wired: Wired) -> None:
    """Give our rules to an OPA server, for a demonstration from a folder; a server that loads a signed bundle is only compared with it.

    Raises:
        PolicyUnavailableError: The server does not take them.
    """
    settings = wired.settings
    if isinstance(wired.ports.policy, OpaPolicy) and settings.mode is Mode.DEMO and settings.policies.is_dir():
        wired.ports.policy.publish()


def _policy(settings: Settings, rules: Any) -> Policy:
    if settings.policy_engine == "opa":
        return OpaPolicy(settings.opa_url, rules, timeout=settings.opa_seconds)
    return RegorusPolicy(rules)


def database_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL, with the password from its file; SQLite in the state folder by default."""
    if not settings.database:
        return f"sqlite:///{(settings.state / 'sulku.db').resolve()}"
    if settings.database_password_file is None:
        return settings.database
    password = read_secret(settings.database_password_file)
    return make_url(settings.database).set(password=password).render_as_string(hide_password=False)


def redis_url(settings: Settings) -> str:
    """Return Celery's address of Redis, with the password from its file."""
    if settings.redis_password_file is None:
        return settings.redis_url
    scheme, _, rest = settings.redis_url.partition("://")
    return f"{scheme}://:{quote(read_secret(settings.redis_password_file), safe='')}@{rest}"
