"""The whole broker with its pages, real servers and real people, for what a person does in a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fastapi import APIRouter
from starlette.types import ASGIApp

from broker.settings import Settings
from broker.web import pages
from broker.web.app import create_app
from broker.web.identity import Identity, Sealer
from sulku.ports import Ports
from tests.web import rig as rigs


def whole(ports: Ports, identity: Identity, settings: Settings, routers: Sequence[APIRouter]) -> ASGIApp:
    """Return the application as it is served: API, pages, errors as pages, static files, and the second origin."""
    app = create_app(ports, identity, settings, routers, problem_page=pages.problem_page, static=pages.STATIC)
    app.state.sealer = Sealer(b"k" * 32, ports.clock)
    return pages.with_previews(app)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, database_template: Path) -> Iterator[rigs.Rig]:
    """A broker of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rigs, "create_app", whole)
        folder = tmp_path_factory.mktemp("pages") / "state"
        with rigs.running(folder, database_template, *pages.routers()) as made:
            yield made
