"""Settings: the environment beats the file beats the default, each value's origin is known, and production takes no stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from broker.settings import Mode, Settings, load, provenance, secret
from sulku.errors import ConfigurationError

PRODUCTION = {"mode": "production", "url": "https://a.example", "preview_url": "https://b.example", "issuer": "https://c.example"}


def written(state: Path, **values: Any) -> Path:
    (state / "settings.json").write_text(json.dumps(values))
    return state


def test_the_environment_beats_the_file_beats_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULKU_PORT", "9001")
    found = load(written(tmp_path, port=9000, host="127.0.0.2"))
    assert (found.port, found.host, found.gate_port, found.state) == (9001, "127.0.0.2", 8081, tmp_path)
    origins = {name: origin for name, (_, origin) in provenance(found).items()}
    assert (origins["port"], origins["host"], origins["gate_port"]) == ("SULKU_PORT", str(tmp_path / "settings.json"), "default")


@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"port": "many"},
        {"mode": "test"},
        {"url": "ftp://a.example"},
        {"url": "http://user:word@a.example"},
        {"url": "http://a.example/below"},
        {"preview_url": "http://broker.localhost:8080"},
        {"audience": "sulku-web"},
        {"audience": "sulku-cli"},
        {"workspaces": "kubernetes"},
        {"workspaces": "kubernetes", "canary": "canary:7000", "canary_key_file": "key", "gateway_address": "https://gateway:8444"},
        {**PRODUCTION, "url": "http://a.example"},
        {**PRODUCTION, "issuer": "http://c.example"},
    ],
)
def test_what_is_wrong_or_unsafe_is_refused_by_name(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        load(written(tmp_path, **wrong))


def test_production_is_possible(tmp_path: Path) -> None:
    found = load(written(tmp_path, **PRODUCTION))
    assert found.mode is Mode.PRODUCTION
    assert found.secure
    assert found.tunnel_url("t-x") == f"https://t-x.{found.gate_domain}"


def test_a_file_that_is_not_one_document_is_refused(tmp_path: Path) -> None:
    for text in ("[]", "{", ""):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(ConfigurationError):
            load(tmp_path)


def test_settings_do_not_change_and_are_all_documented() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    undocumented = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undocumented == []


def test_a_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    for text, mode in (("s", 0o640), ("", 0o600), (None, 0)):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
            path.chmod(mode)
        with pytest.raises(ConfigurationError):
            secret(path)
    path.write_text("word\n")
    path.chmod(0o600)
    assert secret(path) == "word"
