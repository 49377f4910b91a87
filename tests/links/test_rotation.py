"""Certificates change while everything runs: new connections show and ask for the new ones, and those that live are not cut."""

from __future__ import annotations

import http.client
import logging
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.adapters import certificates
from sulku.crypto import channels
from sulku.crypto.channels import Files
from tests.gateway.rig import Workspace
from tests.links.rig import REFUSED, WEEK, Door, Papers, Site, now
from tests.soon import eventually

pytestmark = pytest.mark.slow


@contextmanager
def kept(door: Door) -> Iterator[http.client.HTTPConnection]:
    """A connection that stays open."""
    with socket.create_connection((door.host, door.port), 10) as raw, door.wrap(raw, door.papers.of(min(door.asks))) as tls:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = tls
        yield connection


def asked(door: Door, connection: http.client.HTTPConnection) -> int:
    path, authorization = door.asks[min(door.asks)]
    connection.request("GET", path, headers={"Authorization": authorization})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def der(files: Files) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(files.certificate).read_text())


def afresh(papers: Papers) -> None:
    """Replace the authority and every certificate, file by file, as an issuer does that was given up."""
    made = papers.folder.with_name("afresh")
    certificates.init(made, now(), WEEK)
    for path in sorted(made.rglob("*.*")):
        path.replace(papers.folder / path.relative_to(made))
    shutil.rmtree(made)


def test_a_renewed_certificate_is_shown_to_the_next_caller_and_cuts_nobody(door: Door) -> None:
    before = door.shows()
    assert before == der(door.papers.of(door.part))
    with kept(door) as connection:
        assert asked(door, connection) == 200
        door.papers.renew()
        assert asked(door, connection) == 200
        assert door.shows() == der(door.papers.of(door.part)) != before
        assert all(door.lets_in(part) for part in door.asks)
        assert asked(door, connection) == 200


def test_a_new_authority_ends_what_the_old_one_signed_and_cuts_nobody_who_is_inside(door: Door, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(door.papers.folder, old)
    with kept(door) as connection:
        assert asked(door, connection) == 200
        afresh(door.papers)
        for part, (path, authorization) in door.asks.items():
            with pytest.raises(REFUSED):
                door.ask(certificates.files(old / part), path, authorization)
            assert door.lets_in(part)
        assert asked(door, connection) == 200


def test_half_of_a_renewal_changes_nothing_until_the_other_half_is_there(door: Door) -> None:
    files, before = door.papers.of(door.part), door.shows()
    key = Path(files.key).read_bytes()
    door.papers.renew()
    renewed = Path(files.key).read_bytes()
    Path(files.key).write_bytes(key)
    assert door.shows() == before
    assert all(door.lets_in(part) for part in door.asks)
    Path(files.key).write_bytes(renewed)
    assert door.shows() == der(files) != before


@pytest.mark.parametrize("wrong", ["expired", "another's", "readable"])
def test_what_would_be_refused_at_the_start_is_not_taken_later(door: Door, wrong: str) -> None:
    before, mine = door.shows(), door.papers.of(door.part)
    other = door.papers.expired(door.part) if wrong == "expired" else door.papers.odd("other", "nobody" if wrong == "another's" else door.part)
    for source, target in ((other.key, mine.key), (other.certificate, mine.certificate)):
        Path(target).write_bytes(Path(source).read_bytes())
    if wrong == "readable":
        Path(mine.key).chmod(0o644)
    try:
        assert door.shows() == before
    finally:
        Path(mine.key).chmod(0o600)
        door.papers.renew()
    assert door.shows() == der(mine) != before


def test_a_link_that_is_turned_is_a_change_as_kubernetes_makes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    papers = Papers(tmp_path / "papers")
    mounted = tmp_path / "mounted"
    (mounted / "first").mkdir(parents=True)
    (mounted / "..data").symlink_to("first")
    files = certificates.files(mounted)
    for path in map(Path, (files.certificate, files.key, files.authority)):
        shutil.copy(papers.folder / "hub" / path.name, mounted / "first")
        path.symlink_to(Path("..data") / path.name)
    context = channels.listening(files, "hub")
    papers.renew()
    shutil.copytree(papers.folder / "hub", mounted / "second")
    (mounted / "turned").symlink_to("second")
    (mounted / "turned").replace(mounted / "..data")
    with caplog.at_level(logging.INFO, "sulku.links"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert "new certificate files are in force" in caplog.text
    shutil.rmtree(mounted / "second")
    caplog.clear()
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert "not taken" in caplog.text, "files that are gone change nothing, and it is said"


def test_a_kernels_websocket_lives_while_all_certificates_and_the_authority_change(linked: Site, tmp_path: Path) -> None:
    with Workspace(tmp_path / "ws").run() as workspace:
        tunnel = linked.broker.open(workspace.socket, workspace.token)
        linked.spawn(tunnel)
        channels_ = (browser := linked.gateway.enter(tunnel)).channels(browser.kernel())
        assert channels_.text("print(20 + 1)") == "21\n"
        linked.papers.renew()
        afresh(linked.papers)
        linked.broker.stop()  # what the gateway had open to the broker is gone: it must show its new certificate, and asks for the new one
        linked.broker.start()
        leased = tunnel.leased
        eventually(lambda: browser.get("/api/kernels").status == 200)
        assert channels_.text("print('x' * 600_000)") == "x" * 600_000 + "\n", "three slices of budget, leased by the new certificates"
        assert tunnel.leased > leased
        eventually(lambda: linked.broker.told(tunnel, "executed"))
        assert linked.gateway.cut(tunnel) >= 1, "the broker's next cut comes through, by the new certificates too"
        assert channels_.closing()[0] == 4000
