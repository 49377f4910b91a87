"""``sulku permits verify`` says whether a permit holds now: by a list in a file, by the broker's own, or that it cannot tell."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner, Result

from broker.adapters.keys import FileKeys
from broker.flows import permits
from sulku.crypto import sign
from sulku.ledger import canonical
from sulku_client import config
from sulku_client.cli import app
from sulku_client.http import Api
from tests.client.conftest import Line
from tests.client.test_commands import approve, keys
from tests.faults import world
from tests.faults.world import Broker

Lines = Callable[..., Line]
NOBODY = "http://127.0.0.1:1"  # no server listens there


@dataclass
class Desk:
    """A broker with one permit, and somebody who holds its paper and asks no server."""

    made: Broker
    permit: str
    folder: Path

    def list(self) -> Path:
        """Save the broker's present status list."""
        file = self.folder / f"status-{len(list(self.folder.iterdir()))}.json"
        file.write_text(permits.status_list(self.made.ports))
        return file

    def forged(self, change: dict[str, Any], signer: Any = None) -> Path:
        """Save a list with something changed, properly signed again."""
        body = json.loads(sign.read(self.list().read_bytes()).payload) | change
        file = self.folder / "forged.json"
        file.write_text((signer or self.made.ports.signer).sign(sign.STATUS, canonical.canonical(body)))
        return file

    def verify(self, *words: str, server: str = "", vkeys: tuple[str, ...] = ()) -> Result:
        """Run ``sulku permits verify``; nobody has chosen a server unless ``server`` is given."""
        paper = self.folder / "permit.json"
        paper.write_text(permits.view(self.made.ports, self.made.by("ada"), self.permit).envelope)
        trusted = (self.made.ports.signer.key.public.vkey, *vkeys)  # type: ignore[attr-defined]
        told = [word for one in trusted for word in ("--key", one)]
        env = {"SULKU_CONFIG": str(self.folder / "config"), "SULKU_SERVER": server, "COLUMNS": "200"}
        with mock.patch.object(config, "now", return_value=self.made.clock.at):
            return CliRunner().invoke(app, ["permits", "verify", str(paper), *told, *words], env=env)

    def says(self, *words: str) -> tuple[int, str]:
        """Return the exit status and the status in the JSON document."""
        found = self.verify(*words, "--json")
        return found.exit_code, json.loads(found.stdout)["status"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "hers").mkdir()
    with world.broker(tmp_path / "state") as made:
        yield Desk(made, made.permit(), tmp_path / "hers")


def test_a_permit_that_holds_is_said_to_hold_by_a_good_list(desk: Desk) -> None:
    found = desk.verify("--status", str(desk.list()))
    assert (found.exit_code, found.stderr) == (0, "")
    assert "The signature holds, and it is active, by the status list of" in found.stdout
    assert desk.says("--status", str(desk.list())) == (0, "active")


ENDS: dict[str, Callable[[Desk], object]] = {
    "suspended": lambda desk: permits.suspend(desk.made.ports, desk.made.by("bo"), desk.permit, "a complaint was made"),
    "revoked": lambda desk: permits.revoke(desk.made.ports, desk.made.by("bo"), desk.permit, "a complaint was true"),
    "expired": lambda desk: setattr(desk.made.clock, "at", desk.made.clock.at + timedelta(days=40)),
}


@pytest.mark.parametrize("state", ENDS)
def test_a_permit_that_does_not_hold_any_more_is_said_not_to(desk: Desk, state: str) -> None:
    ENDS[state](desk)
    found = desk.verify("--status", str(desk.list()))
    assert found.exit_code == 3
    assert f"permit {desk.permit} is {state}" in found.stderr
    assert "permit-not-live" in found.stderr
    assert "The signature holds" not in found.stdout
    assert desk.says("--status", str(desk.list())) == (3, state)


def test_a_resumed_permit_holds_again(desk: Desk) -> None:
    ENDS["suspended"](desk)
    permits.resume(desk.made.ports, desk.made.by("bo"), desk.permit)
    assert desk.says("--status", str(desk.list())) == (0, "active")


def test_a_permit_before_its_first_day_does_not_hold_yet(desk: Desk) -> None:
    permit = desk.made.permit(starts=(desk.made.clock.at.date() + timedelta(days=3)).isoformat())
    assert Desk(desk.made, permit, desk.folder).says("--status", str(desk.list())) == (3, "not-yet-valid")


def test_without_a_list_it_says_plainly_what_it_cannot_tell(desk: Desk) -> None:
    found = desk.verify()
    assert found.exit_code == 8
    assert (
        "the signature and the dates hold; whether it was suspended or revoked since cannot be told without a status list"
        in found.stderr
    )
    assert "sulku permits status --to FILE" in found.stderr
    assert desk.says("--offline") == (8, "unknown-status")


def test_an_old_list_is_called_old_and_has_an_exit_status_of_its_own(desk: Desk) -> None:
    old = desk.list()
    desk.made.clock.at += timedelta(hours=24, minutes=1)
    found = desk.verify("--status", str(old))
    assert found.exit_code == 9
    assert "status-list-stale" in found.stderr
    assert desk.says("--status", str(old)) == (9, "stale-status-list")
    ENDS["revoked"](desk)
    revoked = desk.list()
    desk.made.clock.at += timedelta(days=3)
    assert desk.says("--status", str(revoked)) == (3, "revoked")  # what is over for good stays so


def test_a_list_from_before_the_permit_does_not_speak_of_it(desk: Desk) -> None:
    before = desk.list()
    later = Desk(desk.made, desk.made.permit(), desk.folder)
    assert later.says("--status", str(before)) == (8, "unknown-status")
    assert later.says("--status", str(desk.list())) == (0, "active")


def test_a_list_that_somebody_edited_lengthened_or_made_of_another_paper_is_refused(desk: Desk) -> None:
    ENDS["suspended"](desk)
    sound = desk.list()
    envelope = json.loads(sound.read_text())
    edited = desk.folder / "edited.json"
    payload = sign.read(sound.read_bytes()).payload.replace(b'"suspended"', b'"active"')
    edited.write_bytes(sign.sign(sign.STATUS, payload, sign.SigningKey.generate("x")))
    envelope["payload"] = base64.b64encode(payload).decode()
    resealed = desk.folder / "resealed.json"
    resealed.write_text(json.dumps(envelope, sort_keys=True, separators=(",", ":")))
    longer = desk.forged({"expires": "2099-01-01T00:00:00.000Z"})
    for wrong in (edited, resealed, longer, desk.folder / "permit.json"):
        found = desk.verify("--status", str(wrong))
        assert found.exit_code == 7, wrong.name
        assert "active" not in found.stdout


def test_a_list_under_another_name_does_not_speak_for_this_installation(desk: Desk, tmp_path: Path) -> None:
    stranger = FileKeys.make(tmp_path / "strange", "sulku.elsewhere", desk.made.clock.now())
    ENDS["suspended"](desk)
    listed = {"permits": {desk.permit: {"state": "active", "revision": 1}}}
    found = desk.verify("--status", str(desk.forged(listed, stranger)), vkeys=(stranger.key.public.vkey,))
    assert found.exit_code == 7
    assert "unknown-key" in found.stderr


def test_after_a_rotation_the_new_keys_list_speaks_of_the_old_keys_paper(desk: Desk) -> None:
    old = desk.made.ports.signer
    new = FileKeys.make(desk.made.state / "keys", old.key.name, desk.made.clock.now())  # type: ignore[attr-defined]
    listed = desk.forged({}, new)
    found = desk.verify("--status", str(listed), vkeys=(new.key.public.vkey,))
    assert found.exit_code == 0, found.stderr


def test_a_server_that_is_away_leaves_it_untold(desk: Desk) -> None:
    found = desk.verify(server=NOBODY)
    assert found.exit_code == 8
    assert NOBODY in found.stderr
    assert desk.verify("--status", str(desk.list()), server=NOBODY).exit_code == 0


# --- with a broker that answers -----------------------------------------------------------------------------------------


@contextmanager
def counted() -> Iterator[list[str]]:
    """Note each file that commands ask a broker for."""
    asked: list[str] = []
    bytes_ = Api.bytes
    with mock.patch.object(Api, "bytes", lambda self, path, **more: (asked.append(path), bytes_(self, path, **more))[1]):
        yield asked


def test_a_broker_that_was_chosen_is_asked_for_its_list_and_offline_forbids_it(line: Lines, tmp_path: Path) -> None:
    permit = approve(line)
    aino, nobody, paper = line("aino"), line(""), tmp_path / "permit.json"
    assert aino.run("permits", "paper", permit, "--to", str(paper)).exit_code == 0
    words = ["permits", "verify", str(paper), *keys(aino.rig)]
    with counted() as asked:
        assert aino.run(*words).exit_code == 0
        assert nobody.run(*words).exit_code == 0  # the list is public
        assert asked == ["/permit-status"] * 2
        assert aino.run(*words, "--offline").exit_code == 8
        assert aino.run(*words, SULKU_SERVER="").exit_code == 8  # signed in, but no broker is remembered as chosen
        assert asked == ["/permit-status"] * 2
    assert line("sami").run("permits", "suspend", permit, "--reason", "a complaint came in").exit_code == 0
    found = aino.run(*words)
    assert found.exit_code == 3
    assert f"permit {permit} is suspended" in found.stderr
    assert line("sami").run("permits", "revoke", permit, "--reason", "a complaint was true", "--yes").exit_code == 0
    assert json.loads(aino.run(*words, "--json").stdout)["status"] == "revoked"


def test_a_broker_that_is_remembered_from_signing_in_is_asked(line: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    permit = approve(line)
    aino, paper = line("aino"), tmp_path / "permit.json"
    assert aino.run("permits", "paper", permit, "--to", str(paper)).exit_code == 0
    monkeypatch.setenv("SULKU_CONFIG", str(aino.folder))
    config.remember_server(aino.rig.url)
    monkeypatch.delenv("SULKU_CONFIG")
    assert aino.run("permits", "verify", str(paper), *keys(aino.rig), SULKU_SERVER="").exit_code == 0


def test_another_brokers_list_is_not_taken_for_this_permits(desk: Desk, line: Lines) -> None:
    found = desk.verify(server=line("").rig.url)
    assert found.exit_code == 8
    assert "cannot be had" in found.stderr
