"""A permit's paper is checked offline: as the broker signed it, or not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner, Result

from broker.adapters.keys import FileKeys
from broker.flows import permits
from sulku.crypto import sign
from sulku_client import config
from sulku_client.cli import app
from tests.faults import world

NOBODY = "http://127.0.0.1:1"  # no server listens there


@dataclass(frozen=True)
class Issued:
    """A permit's paper and the status list from the real flows, the keys that signed them, and when."""

    paper: bytes
    statuses: bytes
    at: datetime
    keys: FileKeys
    folder: Path

    def check(self, paper: bytes, *vkeys: str, statuses: bytes = b"") -> Result:
        """Run ``sulku permits verify`` on ``paper`` and the status list, with no server in reach."""
        file, listed = self.folder / "paper.json", self.folder / "status.json"
        file.write_bytes(paper)
        listed.write_bytes(statuses or self.statuses)
        words = ["permits", "verify", str(file), "--status", str(listed)]
        words += [word for key in vkeys or (self.vkey,) for word in ("--key", key)]
        env = {"SULKU_SERVER": NOBODY, "SULKU_CONFIG": str(self.folder / "config"), "COLUMNS": "200"}
        with mock.patch.object(config, "now", return_value=self.at):
            return CliRunner().invoke(app, words, env=env)

    @property
    def vkey(self) -> str:
        return self.keys.key.public.vkey

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(sign.read(self.paper).payload)
        return found


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    folder = tmp_path_factory.mktemp("papers")
    with world.broker(folder / "state") as made:
        permit = permits.view(made.ports, made.by("ada"), made.permit())
        statuses = permits.status_list(made.ports).encode()
        return Issued(permit.envelope.encode(), statuses, made.clock.at, made.ports.signer, folder)  # type: ignore[arg-type]


def packed(envelope: dict[str, Any]) -> bytes:
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


def edited(paper: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return ``paper`` with another document under the old signature."""
    envelope = json.loads(paper)
    document = json.loads(base64.b64decode(envelope["payload"]))
    change(document)
    return packed({**envelope, "payload": base64.b64encode(packed(document)).decode()})


def test_the_paper_as_it_was_issued_holds(issued: Issued) -> None:
    checked = issued.check(issued.paper)
    assert checked.exit_code == 0, checked.stderr
    assert "Light chains and survival" in checked.stdout
    assert edited(issued.paper, lambda document: None) == issued.paper  # an edit that changes nothing is none


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another-person": lambda document: document["people"].append("usr_00000000000000zz"),
    "a-later-end": lambda document: document.update(ends="2099-01-01T00:00:00.000Z"),
    "another-version": lambda document: document["grants"][0].update(version="2"),
    "more-variables": lambda document: document["grants"][0]["variables"].append("person"),
    "another-profile": lambda document: document.update(profile="lenient"),
    "longer-tunnels": lambda document: document["limits"].update(minutes=100_000),
    "another-id": lambda document: document.update(id="per_00000000000000zz"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_paper_is_refused(issued: Issued, what: str) -> None:
    checked = issued.check(edited(issued.paper, EDITS[what]))
    assert checked.exit_code == 7
    assert "signature" in checked.stderr
    assert "Do not rely on this document" in checked.stderr


@pytest.mark.parametrize("at", range(0, 1000, 41))
def test_no_byte_can_be_changed(issued: Issued, at: int) -> None:
    place = at * len(issued.paper) // 1000
    wrong = bytearray(issued.paper)
    wrong[place] ^= 1
    assert issued.check(bytes(wrong)).exit_code == 7


def _unsigned(paper: bytes) -> dict[str, bytes]:
    envelope = json.loads(paper)
    signature = envelope["signatures"][0]
    return {
        "no-signature": packed({**envelope, "signatures": []}),
        "an-empty-signature": packed({**envelope, "signatures": [{**signature, "sig": ""}]}),
        "a-document-alone": base64.b64decode(envelope["payload"]),
        "nothing": b"",
        "words": b"This permit is genuine.",
        "cut": paper[:-2],
        "padded": paper + b"\n",
        "pretty": json.dumps(envelope, indent=1).encode(),
    }


@pytest.mark.parametrize("how", _unsigned(b'{"payload":"","payloadType":"","signatures":[{"keyid":"","sig":""}]}'))
def test_an_unsigned_paper_is_refused(issued: Issued, how: str) -> None:
    checked = issued.check(_unsigned(issued.paper)[how])
    assert checked.exit_code == 7
    assert checked.stderr


def test_a_paper_of_another_key_is_refused_and_says_whose_it_is(issued: Issued, tmp_path: Path) -> None:
    stranger = FileKeys.make(tmp_path / "keys", "sulku.elsewhere", world.HandClock().now())
    forged = stranger.sign(sign.PERMIT, sign.read(issued.paper).payload).encode()
    statuses = stranger.sign(sign.STATUS, sign.read(issued.statuses).payload).encode()
    checked = issued.check(forged)
    assert checked.exit_code == 7
    assert "unknown-key" in checked.stderr
    assert stranger.key.public.hint in checked.stderr
    assert issued.check(forged, stranger.key.public.vkey, statuses=statuses).exit_code == 0  # whoever trusts that key believes it
    assert issued.check(issued.paper, stranger.key.public.vkey).exit_code == 7


def test_a_stranger_does_not_sign_in_our_name(issued: Issued, tmp_path: Path) -> None:
    stranger = FileKeys.make(tmp_path / "keys", issued.keys.key.name, world.HandClock().now())
    forged = json.loads(stranger.sign(sign.PERMIT, sign.read(issued.paper).payload))
    forged["signatures"][0]["keyid"] = json.loads(issued.paper)["signatures"][0]["keyid"]
    assert issued.check(packed(forged)).exit_code == 7


def test_our_own_signature_on_another_kind_of_paper_is_no_permit(issued: Issued) -> None:
    other = issued.keys.sign(sign.RELEASE, sign.read(issued.paper).payload).encode()
    checked = issued.check(other)
    assert checked.exit_code == 7
    assert "not a" in checked.stderr


def test_without_a_key_nothing_is_believed(issued: Issued, tmp_path: Path) -> None:
    file = tmp_path / "paper.json"
    file.write_bytes(issued.paper)
    checked = CliRunner().invoke(app, ["permits", "verify", str(file)], env={"SULKU_SERVER": NOBODY, "SULKU_CONFIG": str(tmp_path)})
    assert checked.exit_code == 2
    assert "--key" in checked.stderr
