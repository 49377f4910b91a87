"""Running one process: the broker with its two doors and its clock, the development sign-in, or a Celery worker."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from broker.adapters import guards
from broker.adapters.clock import SystemClock
from broker.adapters.kubernetes import Cluster
from broker.adapters.kubernetes_api import Api
from broker.adapters.oidc import RelyingParty
from broker.adapters.pulse import Pulse
from broker.desks import desk, furnish, hands
from broker.settings import Settings, secret
from broker.store import migrate
from broker.store.store import SqlStore
from broker.web import pages
from broker.web.api.internal import create_internal_app
from broker.web.app import Check, create_app
from broker.web.identity import Identity, Sealer
from broker.web.issuer import StandIn, create_issuer
from broker.web.neighbours import Linked, Named
from broker.wiring import Wired, database_url, publish, redis_url, wire
from broker.worker.celery_app import Relay, make_app
from broker.worker.handlers import Neighbours, Watch, handlers
from broker.worker.keeper import Keeper
from broker.worker.loop import Worker
from broker.worker.reminders import remind
from sulku.crypto import channels
from sulku.links import BROKER, WORKER
from sulku.people import Person, State

log = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Run the broker until it is told to stop.

    Raises:
        ConfigurationError: A setting is missing or unsafe; nothing was started.
        IsolationUnavailableError: This machine cannot isolate workspaces; ``sulku-broker doctor`` says what is missing.
    """
    wired = wire(settings)
    migrate.require_current(wired.store.database)
    publish(wired)
    local = settings.workspaces == "sandbox"
    if local:
        wired.sandbox.require_isolation()  # refuse to run where nobody can be isolated; before any thread, as it forks
    relying = RelyingParty(
        settings.issuer,
        settings.client_id,
        audience=settings.audience,
        clock=wired.ports.clock,
        secret=secret(settings.client_secret_file) if settings.client_secret_file else "",
    )
    identity = Identity(wired.ports, relying, Sealer.from_file(settings.session_key, wired.ports.clock), settings)
    checks = (
        Check("database", wired.archive.head),
        *([Check("isolation", wired.sandbox.require_isolation)] if local else []),
        Check("gateway", wired.gate.health),
    )
    clock = _worker(wired)
    people = create_app(
        wired.ports,
        identity,
        settings,
        pages.routers(),
        problem_page=pages.problem_page,
        static=pages.STATIC,
        checks=checks,
        alive=lambda: not clock.stuck,
    )
    inner = create_internal_app(wired.ports, wired.tokens, desk(wired))
    inside, listener = inner_server(inner, settings)
    threading.Thread(target=inside.run, kwargs={"sockets": [listener]}, name="inner", daemon=True).start()
    clock.start()
    try:
        _run(pages.with_previews(people), settings.host, settings.port)
    finally:
        clock.stop()


def _worker(wired: Wired) -> Worker:
    """Return the broker's clock, which does the effects too unless Celery does them."""
    world = neighbours(wired)
    after = timedelta(days=wired.settings.remind_days)
    watch = Watch(wired.ports, world, wired.archive.checkpoint, lambda: remind(wired.ports, wired.store.notices, after))
    embedded = wired.settings.effects == "embedded"
    if wired.cluster is not None:
        watch.keep = keeper(wired, wired.cluster, world).tick
    return Worker(wired.store.outbox, handlers(wired.ports, world) if embedded else {}, wired.ports.clock, watch.tick, effects=embedded)


def keeper(wired: Wired, cluster: Cluster, world: Neighbours) -> Keeper:
    """Return what looks after the tunnels of a cluster."""
    folder = wired.settings.guards
    look = partial(guards.look, Api.connect(str(wired.settings.kubeconfig or "")), guards.installed(folder)) if folder else None
    return Keeper(wired.ports, world, cluster, wired.store.places.drop, every=wired.settings.patrol_seconds, look=look)


def neighbours(wired: Wired) -> Neighbours:
    """Return what effects reach."""
    cluster = wired.cluster
    raised = (lambda tunnel: furnish(wired, cluster, tunnel)) if cluster else lambda _: None
    return Neighbours(wired.hub, wired.gate, hands(wired), wired.inspector, wired.profiles, wired.tell, wired.wipe_homes, raised)


def serve_worker(settings: Settings) -> None:
    """Run the effects by Celery, with the relay that feeds it, until told to stop."""
    wired = wire(settings, WORKER)
    world = neighbours(wired)
    app = make_app(redis_url(settings), wired.store.outbox, handlers(wired.ports, world), wired.ports.clock)
    pulse = Pulse(settings.pulse)
    relay = Relay(app, wired.store.outbox, wired.ports.clock, beat=pulse.of("relay"))
    threading.Thread(target=relay.run, name="relay", daemon=True).start()
    if wired.cluster is not None:  # the clock that has hands is where the hands are
        rounds, beat = keeper(wired, wired.cluster, world), pulse.of("sweep")
        watch = Watch(wired.ports, world, lambda: None, lambda: None, rounds.tick)
        Worker(wired.store.outbox, {}, wired.ports.clock, watch.tick, effects=False, beat=lambda: None if rounds.stuck else beat()).start()
    side_by_side = f"--concurrency={settings.concurrency}"
    app.worker_main(["worker", "--pool=threads", side_by_side, "--loglevel=WARNING", "--without-gossip", "--without-mingle"])


def serve_issuer(settings: Settings) -> None:
    """Run the development sign-in: everybody in the directory, by a button.

    Raises:
        ConfigurationError: This is production.
    """
    clock = SystemClock()
    store = SqlStore(database_url(settings), settings.state / "spool" / "issuer.jsonl")

    def people() -> Iterable[StandIn]:
        found: list[Person] = store.find("usr")
        return [
            StandIn(one.id, one.name, one.email, one.organisation, one.groups, ", ".join(one.roles))
            for one in sorted(found, key=lambda one: (one.roles, one.name))
            if one.state is State.ACTIVE
        ]

    _run(create_issuer(settings, people, clock), settings.host, settings.issuer_port)


def _run(app: object, host: str, port: int) -> None:
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False, proxy_headers=False,  # type: ignore[arg-type]
    )  # fmt: skip
    uvicorn.Server(config).run()


def inner_server(app: ASGIApp, settings: Settings) -> tuple[uvicorn.Server, socket.socket]:
    """Return what serves the internal API, and where: on a unix socket that only our own user opens, or by TCP with mutual TLS.

    Raises:
        CertificateUnfitError: It is TCP, and the broker has no certificate that would be believed.
    """
    address = settings.link(BROKER)
    if address.path:
        listener = _socket(Path(address.path))
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", proxy_headers=False)
    else:
        context = channels.listening(settings.certificates(BROKER), BROKER)
        listener = socket.create_server((address.host, address.port), family=socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits it; asyncio forgets, at 40 ms an answer
        config = uvicorn.Config(
            Linked(app, BROKER), log_level="warning", access_log=False, lifespan="off", http=Named,
            ssl_context_factory=lambda *_: context, proxy_headers=False,
        )  # fmt: skip
    return uvicorn.Server(config), listener


def _socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o077)
    listener.bind(str(path))
    os.umask(before)
    return listener
