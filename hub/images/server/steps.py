"""What happens in a pod before its part starts: `steps.py prepare PEOPLE`, `wait`, `rules FOLDER`, `reach`. Each may be repeated."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis
import structlog

from broker import manage, settings, telemetry, wiring
from broker.adapters.gate import every
from broker.adapters.keys import RING
from broker.adapters.kubernetes_api import Api
from broker.adapters.policy_opa import OpaPolicy
from broker.settings import Settings
from broker.store import migrate
from broker.store.store import SqlStore
from broker.store.unit import Database
from sulku.errors import ConfigurationError, SulkuError
from sulku.links import GATEWAY, HUB, WORKER
from sulku.people import folded

PATIENCE = 300.0  # seconds for a neighbour to appear; then the pod begins anew
ANSWER = 5.0  # seconds

log = structlog.get_logger(__name__)


def prepare(people: str) -> None:
    """Make what an installation has one of: keys, the schema, and the people who are named (`role:name:e-mail:organisation`, a line each).

    Who has been entered once, stays as they are now.
    """
    found = settings.load()
    _patiently(lambda: manage.init(found.state, []))
    store = SqlStore(wiring.database_url(found), found.state / "spool" / "prepare.jsonl")
    lines = [line for line in Path(people).read_text().splitlines() if line]
    missing = [line for line in lines if not store.find("usr", email=folded(line.split(":")[2]))]
    if missing:
        manage.init(found.state, missing)


def wait() -> None:
    """Return once there are keys, and a database with the schema of this version."""
    found = settings.load()
    _patiently(lambda: _require_prepared(found))


def rules(folder: str) -> None:
    """Lay the signed policies, and the key that vouches for them, before an OPA beside us, which then believes nothing but that key."""
    found = settings.load()
    wiring.rules_of(found)  # says what is wrong with them more clearly
    assert found.policies_key_file is not None, "policies in a cluster are signed"
    shutil.copyfile(found.policies, Path(folder, "bundle.tar.gz"))
    shutil.copyfile(found.policies_key_file, Path(folder, "key.pem"))


def reach() -> None:
    """Return once everything that the worker needs has answered, and say so of each."""
    found = settings.load()
    ways: dict[str, Callable[[], object]] = {
        "the database": lambda: _require_prepared(found),
        "OPA": lambda: OpaPolicy(found.opa_url, wiring.rules_of(found)).compare(),
        "Redis": lambda: redis.Redis.from_url(wiring.redis_url(found), socket_timeout=ANSWER).ping(),
        "the API server": lambda: Api.connect(str(found.kubeconfig or "")).call("GET", "/version"),
        "the gateways": lambda: _linked(found, GATEWAY),
        "the hub": lambda: _linked(found, HUB),
        "the canary": lambda: socket.create_connection(_after(found.canary), ANSWER).close(),
    }
    for name, way in ways.items():
        _patiently(way)
        log.info("reached", what=name)


def _require_prepared(found: Settings) -> None:
    if not (found.state / "keys" / RING).exists():
        raise ConfigurationError("there are no keys yet")
    migrate.require_current(Database(wiring.database_url(found)))


def _linked(found: Settings, to: str) -> None:
    """Require an answer, whatever it is, by mutual TLS from each that stands behind the name of ``to``."""
    channel = wiring.channel(found, WORKER, to)
    assert channel is not None, "links in a cluster go by TCP"
    for one in every(found.link(to)):
        with socket.create_connection((one.host, one.port), ANSWER) as plain, channel.wrap_socket(plain) as line:
            line.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if not line.recv(1):
                raise OSError(f"{one} hung up")


def _after(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port) + 1


def _patiently(work: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            work()
        except (SulkuError, OSError, redis.RedisError) as error:
            log.info("not yet", why=str(error))
            if time.monotonic() > until:
                raise SystemExit(1) from None
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    telemetry.configure()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a container is not ended by a signal that it does not take
    verb, *words = sys.argv[1:]
    try:
        {"prepare": prepare, "wait": wait, "rules": rules, "reach": reach}[verb](*words)
    except SulkuError as error:
        log.error("refused", code=error.code, why=str(error), remedy=error.remedy())  # noqa: TRY400  # a sentence, and no trace
        raise SystemExit(error.exit) from None
