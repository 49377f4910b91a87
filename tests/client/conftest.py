"""A broker to talk to, and a command line with a folder of its own for what it remembers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sulku_client import config
from sulku_client.cli import app
from tests.web.conftest import database_template, rig  # noqa: F401  # fixtures
from tests.web.rig import Rig


@dataclass
class Line:
    """A command line on which one person has signed in."""

    rig: Rig
    folder: Path

    def run(self, *words: str, stdin: str = "", **env: str) -> Result:
        """Run ``sulku`` with ``words``."""
        told = {"SULKU_CONFIG": str(self.folder), "SULKU_SERVER": self.rig.url, "COLUMNS": "200", "TERM": "dumb", **env}
        return CliRunner().invoke(app, list(words), input=stdin, env=told)

    def json(self, *words: str) -> Any:
        """Run ``sulku … --json`` and return the document."""
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def line(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Line]:  # noqa: F811
    def made(who: str, role: str = "") -> Line:
        folder = tmp_path / (who or "nobody")
        if who:
            token = rig.api(who).headers["authorization"].removeprefix("Bearer ")
            monkeypatch.setenv("SULKU_CONFIG", str(folder))
            config.keep(rig.url, config.Kept(token, int(time.time()) + 3600, who, role))
            monkeypatch.delenv("SULKU_CONFIG")
        return Line(rig, folder)

    return made
