"""What the tests of others' mistakes stand on: a running tunnel, listeners that seem far away, tokens that were tampered with."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import OctKey

from sulku.plan import WorkspacePlan
from tests.cluster import pki
from tests.cluster.cluster import ADDRESS
from tests.cluster.guarding import HOME, Guarded
from tests.cluster.test_ways_out import PodLab
from tests.web.forger import key
from tests.web.rig import Rig


class Opened:
    """A running tunnel of the worker's, under the guards."""

    def __init__(self, guarded: Guarded, plan: WorkspacePlan) -> None:
        """Open it."""
        self.guarded, self.plan = guarded, guarded.opened(plan)
        self.address = guarded.tunnels.wait_ready(plan.tunnel, 30)
        self.lab = PodLab(self.address, plan.token)
        self.space = guarded.space(plan)

    def end(self) -> None:
        """End it."""
        self.guarded.tunnels.stop(self.plan.tunnel)
        self.guarded.tunnels.acknowledge(self.plan.tunnel)


def elsewhere(guarded: Guarded, code: str) -> str:
    """Return what ``code`` prints in a pod that no rule of ours closes."""
    return guarded.cluster.kubectl("exec", "-n", HOME, "plain", "--", "/opt/workspace/bin/python", "-c", code, check=False)


class _Outside(BaseHTTPRequestHandler):
    came: list[str]

    def do_GET(self) -> None:
        self.came.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(address: str) -> Iterator[list[str]]:
    """Have the node listen at ``address``, as if it were far away, and give the paths that it is asked for."""
    subprocess.run(["ip", "addr", "replace", f"{address}/32", "dev", "eth0"], check=True)
    came: list[str] = []
    handler = type("Handler", (_Outside,), {"came": came})
    with ThreadingHTTPServer((address, 80), handler, bind_and_activate=False) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # with others who run these tests
        server.server_bind()
        server.server_activate()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield came
        server.shutdown()


class Impostor:
    """An API server with a certificate of another authority, in ``folder``; keeps what it hears."""

    def __init__(self, folder: Path) -> None:
        """Listen."""
        pki.issue(folder, ADDRESS)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
        self.listener, self.heard, self.came = socket.create_server((ADDRESS, 0)), b"", 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                plain = self.listener.accept()[0]
                self.came += 1
                with closing(plain), self.context.wrap_socket(plain, server_side=True) as caller:
                    self.heard += caller.recv(65536)
            except OSError:
                if self.listener.fileno() < 0:
                    return


# --- tokens -----------------------------------------------------------------------------------------------------------


def _written(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _public(rig: Rig) -> OctKey:
    """Return the issuer's public key, taken for a shared secret."""
    http = rig.client()
    about = http.get(f"{rig.issuer}/.well-known/openid-configuration").json()
    return OctKey.import_key(json.dumps(http.get(about["jwks_uri"]).json()["keys"][0]))


Forge = Callable[[Rig, list[str], Any, Any], str]
_FORGED: Final[dict[str, Forge]] = {
    "nobody signed it": lambda _, parts, head, __: f"{_written({**head, 'alg': 'none'})}.{parts[1]}.",
    "its signature was cut off": lambda _, parts, __, ___: f"{parts[0]}.{parts[1]}.",
    "another name under the same signature": lambda _, parts, __, body: f"{parts[0]}.{_written({**body, 'sub': 'sanna'})}.{parts[2]}",
    "somebody else signed it": lambda _, __, head, body: jwt.encode(head, body, key(), algorithms=[head["alg"]]),
    "signed with what is public": lambda rig, _, head, body: jwt.encode({**head, "alg": "HS256"}, body, _public(rig), algorithms=["HS256"]),
}
FORGED: Final = tuple(_FORGED)


def forged(rig: Rig, token: str, how: str) -> str:
    """Return ``token`` as somebody would write it who has no key of the issuer's; ``how`` is one of ``FORGED``."""
    parts = token.split(".")
    head, body = (json.loads(base64.urlsafe_b64decode(one + "==")) for one in parts[:2])
    return _FORGED[how](rig, parts, head, body)
