"""Signing in on the command line, by a real browser's steps against a real issuer, and what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from sulku.errors import ConfigurationError, IssuerUnavailableError, SignInFailedError
from sulku_client import config, login
from sulku_client.cli import app
from tests.web.rig import ROOT, Rig, query_of


def issuer(rig: Rig) -> login.Issuer:
    return login.discover({"issuer": rig.issuer, "client_id": "sulku-cli", "audience": "sulku"})


def test_the_command_signs_in_by_a_code_that_somebody_confirms_elsewhere(rig: Rig, tmp_path: Path) -> None:
    env = {**os.environ, "SULKU_CONFIG": str(tmp_path / "kept"), "PYTHONPATH": f"{ROOT / 'src'}", "COLUMNS": "300"}
    command = [sys.executable, "-m", "sulku_client.cli"]
    with subprocess.Popen(
        [*command, "login", "--device", "--server", rig.url], env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        address = run.stderr.readline().split()[1]
        code = query_of(address)["user_code"]
        assert code in run.stderr.readline()
        rig.client().post(f"{rig.issuer}/device", data={"user_code": code, "sub": "aino"})
        out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "Aino Aalto" in out
    tokens = tmp_path / "kept" / "tokens.json"
    assert tokens.stat().st_mode & 0o077 == 0
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    again = subprocess.run([*command, "whoami"], env=env, capture_output=True, text=True, check=True)
    assert rig.ids["aino"] in again.stdout
    stolen = rig.client(headers={"Authorization": f"Bearer {json.loads(tokens.read_text())[rig.url]['token']}"})
    assert stolen.get(f"{rig.url}/api/v1/me").status_code == 200
    assert subprocess.run([*command, "logout"], env=env, capture_output=True, check=True).returncode == 0
    assert stolen.get(f"{rig.url}/api/v1/me").status_code == 401
    assert subprocess.run([*command, "whoami"], env=env, capture_output=True, check=False).returncode == 3


def test_signing_out_forgets_the_token_whatever_the_broker_says(rig: Rig, tmp_path: Path) -> None:
    env = {"SULKU_CONFIG": str(tmp_path)}
    gone = "http://127.0.0.1:1"
    for server, status in ((gone, 6), (rig.url, 0)):  # nobody there; a token that had ended
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SULKU_CONFIG", str(tmp_path))
            config.keep(server, config.Kept("stale", 2**40))
        result = CliRunner().invoke(app, ["logout", "--server", server], env=env)
        assert result.exit_code == status, result.stderr
        assert "stale" not in (tmp_path / "tokens.json").read_text()
        assert ("good until it ends" in result.stderr) is (server == gone)


def test_a_device_that_is_refused_signs_nobody_in(rig: Rig) -> None:
    def refuse(_: str, code: str) -> None:
        rig.client().post(f"{rig.issuer}/device", data={"user_code": code, "sub": ""})

    with pytest.raises(SignInFailedError, match="access_denied"):
        login.by_device(issuer(rig), refuse, pause=lambda seconds: None)


def browse(rig: Rig, address: str, **changed: str) -> None:
    """Do what a browser and a person do, in the background."""
    fields = {name: query_of(address)[name] for name in ("client_id", "redirect_uri", "state", "code_challenge")}
    back = rig.client().post(f"{rig.issuer}/authorize", data={**fields, "nonce": "", "sub": "aino", **changed}).headers["location"]
    rig.client().get(back)


@pytest.fixture
def browser(rig: Rig) -> Iterator[Callable[..., Callable[[str], None]]]:
    """What opens a browser in the background; every one is closed when the test ends."""
    opened: list[threading.Thread] = []

    def with_(**changed: str) -> Callable[[str], None]:
        def open_(address: str) -> None:
            opened.append(threading.Thread(target=browse, args=(rig, address), kwargs=changed))
            opened[-1].start()

        return open_

    yield with_
    for one in opened:
        one.join()


def test_a_browser_here_signs_in_by_pkce_and_loopback(rig: Rig, browser: Callable[..., Callable[[str], None]]) -> None:
    shown: list[str] = []
    kept = login.by_browser(issuer(rig), shown.append, browser())
    assert rig.identity.relying.bearer(kept.token).email == "aino@example.org"
    asked = query_of(shown[0])
    assert asked["code_challenge_method"] == "S256"
    assert urlsplit(asked["redirect_uri"]).hostname == "127.0.0.1"


def test_an_answer_with_another_state_is_refused(rig: Rig, browser: Callable[..., Callable[[str], None]]) -> None:
    with pytest.raises(SignInFailedError):
        login.by_browser(issuer(rig), lambda address: None, browser(state="another"))


def test_an_issuer_that_is_not_the_one_named_is_not_used(rig: Rig) -> None:
    for said in ({"issuer": rig.url}, {"issuer": "http://127.0.0.1:1"}):
        with pytest.raises(IssuerUnavailableError):
            login.discover({**said, "client_id": "c", "audience": "a"})


def test_a_token_file_that_others_may_read_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULKU_CONFIG", str(tmp_path))
    config.keep("http://a", config.Kept("t", 2**40))
    assert config.kept("http://a").token == "t"
    (tmp_path / "tokens.json").chmod(0o644)
    with pytest.raises(ConfigurationError):
        config.kept("http://a")


def test_a_token_that_has_ended_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULKU_CONFIG", str(tmp_path))
    config.keep("http://a", config.Kept("t", 1, role="steward"))
    assert config.kept("http://a") == config.Kept("", 1, role="steward")
    config.keep("http://b", config.Kept("u", 2**40))
    config.keep("http://a", None)
    assert (config.kept("http://a"), config.kept("http://b").token) == (config.Kept(), "u")
