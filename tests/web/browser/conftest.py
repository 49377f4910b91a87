"""Chromium, and a site that serves every sample page."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.servers import chromium as browsers
from tests.web.pages.gallery import app
from tests.web.rig import served


@pytest.fixture(scope="module")  # its event loop ends with the module: others begin their own
def chromium() -> Iterator[Browser]:
    with browsers.running() as browser:
        yield browser


@pytest.fixture(scope="session")
def gallery() -> Iterator[str]:
    """The address of a site with every sample page."""
    with socket.create_server(("127.0.0.1", 0)) as listening, served(app(), listening):
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
