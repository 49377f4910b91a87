"""One site for a module: its gateway and hub are processes, its broker's door is the real application in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.serving import inner_server
from broker.settings import Settings
from broker.web.api.internal import create_internal_app
from tests.hub.rig import USER
from tests.links.rig import Door, Papers, Site, site
from tests.ports import free_port
from tests.soon import eventually

TOKENS = {"gateway": "g" * 43, "hub": "h" * 43}
TUNNEL = "tun_0123456789abcdef"


class Desk:
    """A machine on which nothing runs."""

    def running(self, tunnel: str) -> bool:
        return tunnel != TUNNEL


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as running:
        assert running.ask("POST", f"/users/{USER}")[0] == 201
        yield running


@pytest.fixture(scope="module")
def inner(linked: Site) -> Iterator[Door]:
    """The broker's own door, as ``sulku-broker serve`` opens it."""
    with inside(linked.folder / "state", linked.papers) as door:
        yield door


class inside:
    """Serve the internal API with a part's papers while the block lasts."""

    def __init__(self, state: Path, papers: Papers) -> None:
        self.port = free_port()
        files: dict[str, Any] = papers.settings("broker")
        settings = Settings(state=state, broker_address=f"https://127.0.0.1:{self.port}", **files)
        self.server, self.listener = inner_server(create_internal_app(None, TOKENS, Desk()), settings)  # type: ignore[arg-type]
        self.server.config.timeout_keep_alive = 60  # the callers keep theirs, and a disk may take its time to renew certificates
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        asks = {"hub": (f"/internal/hub/tunnels/{TUNNEL}", f"Bearer {TOKENS['hub']}")}
        self.door = Door("broker", self.port, papers, asks)

    def __enter__(self) -> Door:
        self.thread.start()
        eventually(lambda: self.server.started)
        return self.door

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture(params=["broker", "gateway", "hub"])
def door(request: pytest.FixtureRequest, linked: Site) -> Door:
    """Each door in turn."""
    match request.param:
        case "broker":
            return request.getfixturevalue("inner")  # type: ignore[no-any-return]
        case "gateway":
            return linked.gateway.door
        case _:
            return linked.door
