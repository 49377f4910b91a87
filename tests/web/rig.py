"""A whole broker on loopback for tests: real policies, a real SQLite store, a real issuer, real servers on free ports."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import uvicorn
from fastapi import APIRouter

from broker.adapters import policy
from broker.adapters.blobs import FileBlobs
from broker.adapters.keys import FileKeys
from broker.adapters.oidc import LocalTransport, RelyingParty
from broker.adapters.policy_regorus import RegorusPolicy
from broker.flows import datasets, people
from broker.settings import Settings
from broker.store import migrate
from broker.store.archive import Archive
from broker.store.store import SqlStore
from broker.web.app import create_app
from broker.web.identity import Identity, Sealer
from broker.web.issuer import StandIn, create_issuer
from sulku import records
from sulku.codec import Plain
from sulku.datasets import Catalogue, Edition, File, Sensitivity, Variable
from sulku.people import Actor, Register, Role, service
from sulku.ports import Ports

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = {
    "aino": ("Aino Aalto", "uni-north", (Role.RESEARCHER,)),
    "risto": ("Risto Rinne", "uni-south", (Role.RESEARCHER,)),
    "sanna": ("Sanna Salo", "authority", (Role.STEWARD, Role.RESEARCHER)),
    "sami": ("Sami Suni", "authority", (Role.STEWARD,)),
    "auli": ("Auli Arvo", "audit-office", (Role.AUDITOR,)),
    "otto": ("Otto Oja", "authority", (Role.OPERATOR,)),
}


class HandClock:
    """The machine's time plus what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        at = datetime.now(UTC) + self.ahead
        return at.replace(microsecond=at.microsecond // 1000 * 1000)


@dataclass
class Rig:
    """What a test holds: addresses, ports, the clock, and everybody's id."""

    url: str
    issuer: str
    ports: Ports
    clock: HandClock
    settings: Settings
    identity: Identity
    store: SqlStore
    ids: dict[str, str] = field(default_factory=dict)
    dataset: str = ""
    clients: list[httpx2.Client] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    stand_ins: list[StandIn] = field(default_factory=list)  # whom the issuer lets in

    def client(self, **settings: Any) -> httpx2.Client:
        """Return a client that is closed with the rig."""
        self.clients.append(httpx2.Client(transport=LocalTransport(), trust_env=False, **{"timeout": 60, **settings}))
        return self.clients[-1]

    def browser(self) -> httpx2.Client:
        """Return a client that behaves as a browser does: same-origin headers, cookies, no redirects by itself."""
        headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
        return self.client(base_url=self.url, headers=headers)

    def signed_in(self, who: str, after: str = "/") -> httpx2.Client:
        """Return a browser in which ``who`` has signed in, through the issuer's own page."""
        browser = self.browser()
        answer = sign_in(browser, who, after)
        assert answer.status_code == 303, answer.text
        return browser

    def token(self, who: str) -> str:
        """Return an access token of ``who``, got by the device flow."""
        http = self.client(base_url=self.issuer)
        device = http.post("/device_authorization", data={"client_id": "sulku-cli"}).json()
        http.post("/device", data={"user_code": device["user_code"], "sub": who})
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        form = {"grant_type": grant, "device_code": device["device_code"], "client_id": "sulku-cli"}
        return str(http.post("/token", data=form).json()["access_token"])

    def api(self, who: str, role: str = "") -> httpx2.Client:
        """Return a program that acts for ``who``."""
        if who not in self.tokens:
            self.tokens[who] = self.token(who)
        headers = {"Authorization": f"Bearer {self.tokens[who]}", **({"Sulku-Role": role} if role else {})}
        return self.client(base_url=self.url + "/api/v1", headers=headers)

    def actor(self, who: str, role: Role | None = None) -> Actor:
        """Return ``who`` as an actor, for flows that no server stands before."""
        known = self.store.peek([self.ids[who]])[self.ids[who]]
        return people.actor(known, role=role, mfa=True, signed_in=self.clock.now())

    def ledger(self, kind: str = "") -> list[dict[str, Plain]]:
        """Return the ledger's newest entries, of one type."""
        return list(self.store.queries.search(records.Search(type=kind), most=500).entries)


def sign_in(browser: httpx2.Client, who: str, after: str = "/") -> httpx2.Response:
    """Sign ``who`` in and return the broker's answer to the issuer's."""
    leaving = browser.get("/sign-in", params={"next": after})
    page = browser.get(leaving.headers["location"])
    kept = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text.split("<ul")[0]))
    back = browser.post(urljoin(leaving.headers["location"], "/authorize"), data={**kept, "sub": who})
    assert back.status_code == 303, back.text
    return browser.get(back.headers["location"])


def urljoin(address: str, path: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}{path}"


def query_of(address: str) -> dict[str, str]:
    """Return the query of ``address``, one value each."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def listen() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


@contextmanager
def served(app: object, listening: socket.socket) -> Iterator[None]:
    """Serve ``app`` until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="auto"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def template(folder: Path) -> Path:
    """Return a migrated, empty database to copy."""
    path = folder / "template.db"
    store = SqlStore(f"sqlite:///{path}", folder / "spool")
    migrate.upgrade(store.database)
    store.close()
    return path


@contextmanager
def running(state: Path, database: Path, *pages: APIRouter, **settings: object) -> Iterator[Rig]:
    """Run a broker and its issuer until the block ends."""
    broker_at, issuer_at = listen(), listen()
    url = f"http://broker.localhost:{broker_at.getsockname()[1]}"
    issuer = f"http://issuer.localhost:{issuer_at.getsockname()[1]}"
    state.mkdir(parents=True, exist_ok=True)
    made = Settings(**{"state": state, "url": url, "issuer": issuer, **settings})
    clock = HandClock()
    shutil.copy(database, state / "sulku.db")
    store = SqlStore(f"sqlite:///{state / 'sulku.db'}", state / "spool")
    keys = FileKeys.make(state / "keys", "sulku.test", clock.now())
    bundle = policy.read(ROOT / "policies")
    blobs = FileBlobs(state / "blobs")
    archive = Archive(store, keys, blobs, lambda: [bundle.data], clock.now)
    ports = Ports(clock, RegorusPolicy(bundle), store, keys, blobs, archive)
    relying = RelyingParty(made.issuer, made.client_id, audience=made.audience, clock=clock)
    identity = Identity(ports, relying, Sealer(b"k" * 32, clock), made)
    stand_ins = [StandIn(who, name, f"{who}@example.org", org) for who, (name, org, _) in PEOPLE.items()]
    stand_ins.append(StandIn("outi", "Outi Outo", "outi@elsewhere.example", "elsewhere"))
    app = create_app(ports, identity, made, pages)
    with served(create_issuer(made, lambda: stand_ins, clock), issuer_at), served(app, broker_at):
        rig = Rig(url, issuer, ports, clock, made, identity, store, stand_ins=stand_ins)
        _fill(rig)
        archive.checkpoint()
        yield rig
        for client in rig.clients:
            client.close()
    relying.close()
    store.close()


@contextmanager
def again(rig: Rig) -> Iterator[str]:
    """Run another broker on what ``rig`` keeps, sharing nothing but the state folder, and give its address: a restart, or a second one."""
    listening = listen()
    url = f"http://broker.localhost:{listening.getsockname()[1]}"
    store = SqlStore(f"sqlite:///{rig.settings.state / 'sulku.db'}", rig.settings.state / "spool-again")
    relying = RelyingParty(rig.settings.issuer, rig.settings.client_id, audience=rig.settings.audience, clock=rig.clock)
    identity = Identity(replace(rig.ports, store=store), relying, Sealer(b"k" * 32, rig.clock), rig.settings)
    with served(create_app(identity.ports, identity, rig.settings), listening):
        yield url
    relying.close()
    store.close()


def _fill(rig: Rig) -> None:
    setup = service("setup")
    for who, (name, organisation, roles) in PEOPLE.items():
        expires = rig.clock.now() + timedelta(days=90) if Role.AUDITOR in roles else None
        command = Register(name, f"{who}@example.org", organisation, roles, expires=expires)
        receipt = people.register(rig.ports, setup, command)
        rig.ids[who] = next(one for one in receipt.facts if one.startswith("usr_"))
    sanna = rig.actor("sanna", Role.STEWARD)
    edition = Edition("2026-1", "0" * 64, (File("a.csv", 10, 2, "1" * 64),), (Variable("age", "integer"),), 2, "person")
    catalogue = Catalogue("flchain", "Light chains", "A study.", "The authority", Sensitivity.SPECIAL, "Research only.", edition)
    receipt = datasets.catalogue(rig.ports, sanna, catalogue)
    rig.dataset = next(one for one in receipt.facts if one.startswith("dst_"))
