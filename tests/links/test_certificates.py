"""The trial's authority: made once, renewed at will, for every part, and never in production."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker import manage, settings
from broker.adapters import certificates
from sulku.crypto import certificates as papers
from sulku.crypto import channels
from sulku.errors import ConfigurationError, SulkuError
from sulku.links import PARTS


def run(*arguments: str, state: Path) -> SulkuError | None:
    """Run the operator's command; return what it was refused with."""
    done = CliRunner().invoke(manage.app, ["certificates", *arguments, "--state", str(state)])
    if isinstance(done.exception, SulkuError):
        return done.exception
    assert done.exit_code == 0, done.output
    return None


def test_each_part_is_given_what_serves_and_nobody_else_can_read_a_key(tmp_path: Path) -> None:
    assert run("init", "--days", "3", state=tmp_path) is None
    found = settings.load(tmp_path)
    for part in PARTS:
        channels.require_fit(found.certificates(part), part)
        ends = papers.ends(Path(found.certificates(part).certificate).read_bytes())
        assert timedelta(days=2, hours=23) < ends - datetime.now(UTC) <= timedelta(days=3)
    keys = list(tmp_path.rglob("tls.key"))
    assert len(keys) == len(PARTS) + 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in keys} == {0o700}


def test_renewing_keeps_the_authority_and_changes_every_key(tmp_path: Path) -> None:
    run("init", state=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert run("renew", state=tmp_path) is None
    changed = {path for path, data in before.items() if path.read_bytes() != data}
    assert {path.name for path in changed} == {"tls.crt", "tls.key"}
    assert {path.parent.name for path in changed} == set(PARTS)
    for part in PARTS:
        channels.require_fit(certificates.files(tmp_path / "certificates" / part), part)


def test_an_authority_is_made_once_and_there_is_none_to_renew_under_before(tmp_path: Path) -> None:
    assert "`init` makes an authority" in str(run("renew", state=tmp_path))
    assert run("init", state=tmp_path) is None
    assert "`renew` makes new certificates" in str(run("init", state=tmp_path))


def test_a_certificate_ends_with_its_authority_and_one_that_has_ended_signs_nothing(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - certificates.AUTHORITY_LIFE + timedelta(days=2)
    certificates.init(tmp_path, long_ago, certificates.AUTHORITY_LIFE)
    ends = certificates.renew(tmp_path, datetime.now(UTC), timedelta(days=90))
    assert ends == papers.ends((tmp_path / "authority" / "tls.crt").read_bytes())
    with pytest.raises(ConfigurationError, match="has ended"):
        certificates.renew(tmp_path, datetime.now(UTC) + timedelta(days=3), timedelta(days=1))


def test_production_brings_its_own(tmp_path: Path) -> None:
    addresses = {name: f"https://{name}.example.org" for name in ("url", "preview_url", "issuer")}
    said = {"mode": "production", **addresses}
    said["preview_url"] = "https://preview.example.org"
    (tmp_path / "settings.json").write_text(json.dumps(said))
    for command in ("init", "renew"):
        refused = run(command, state=tmp_path)
        assert isinstance(refused, ConfigurationError)
        assert "its own issuer" in str(refused)
    assert not (tmp_path / "certificates").exists()


def test_the_settings_refuse_tcp_without_tls_and_say_which_setting(tmp_path: Path) -> None:
    for name in ("broker_address", "gateway_address", "hub_address"):
        (tmp_path / "settings.json").write_text(json.dumps({name: "http://broker:8443"}))
        with pytest.raises(ConfigurationError, match=f"{name}: .*mutual TLS or nothing"):
            settings.load(tmp_path)
        (tmp_path / "settings.json").write_text(json.dumps({name: "https://broker:8443"}))
        assert settings.load(tmp_path).link(name.removesuffix("_address")).host == "broker"
    (tmp_path / "settings.json").unlink()
    assert settings.load(tmp_path).link("broker").path == str(tmp_path.resolve() / "run" / "broker.sock"), "by default a socket"
