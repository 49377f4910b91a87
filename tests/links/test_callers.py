"""Our own callers speak to the part that is meant and to no other, by whatever address; and what they are given at the start must serve."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.adapters.gate import GateControl
from broker.adapters.hub import JupyterHub
from broker.gateway.upstream import Broker
from sulku import ids, links
from sulku.crypto import channels
from sulku.crypto.channels import Files
from sulku.errors import BrokerUnavailableError, CertificateUnfitError, ConfigurationError, GateUnavailableError, HubUnavailableError
from sulku.links import PARTS, Address
from sulku.tunnels import Tunnel
from tests.links.rig import WEEK, Papers, now
from tests.ports import free_port


class Answers(BaseHTTPRequestHandler):
    """Says yes to everything, and remembers who asked."""

    heard: list[str]

    def _any(self) -> None:
        self.heard.append(self.headers.get("Authorization", ""))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b'{"sockets": 1, "tunnels": [], "ready": true}'
        self.send_response(204 if self.command == "DELETE" else 200)
        self.send_header("Content-Length", "0" if self.command == "DELETE" else str(len(data)))
        self.end_headers()
        if self.command != "DELETE":
            self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _any

    def log_message(self, *_: object) -> None:
        pass


class Wrapped(ThreadingHTTPServer):
    """A server with a context of the test's; it trusts whoever calls."""

    context: ssl.SSLContext

    def get_request(self) -> Any:
        connection, address = super().get_request()
        connection.settimeout(10)
        return self.context.wrap_socket(connection, server_side=True), address


@contextmanager
def server(shown: Files, *, highest: ssl.TLSVersion | None = None, port: int = 0) -> Iterator[tuple[Address, list[str]]]:
    """Serve with a certificate, whoever's it is."""
    handler = type("Handler", (Answers,), {"heard": []})
    made = Wrapped(("127.0.0.1", port), handler)
    made.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.context.load_cert_chain(shown.certificate, shown.key)
    if highest:
        made.context.maximum_version = highest
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield Address(scheme="https", host="127.0.0.1", port=made.server_port), handler.heard
    made.shutdown()
    made.server_close()


def broker_to_gateway(papers: Papers, address: Address) -> None:
    GateControl(address, "token", channels.calling(papers.of("broker"), "broker", "gateway")).cut(ids.new("tun"), "closed")


def broker_to_hub(papers: Papers, address: Address) -> None:
    with closing(JupyterHub(address, "token", channels.calling(papers.of("broker"), "broker", "hub"))) as hub:
        hub.stop(Tunnel(id=ids.new("tun"), person=ids.new("usr")))


def gateway_to_broker(papers: Papers, address: Address) -> None:
    async def ask() -> None:
        broker = Broker(address, "token", channels.calling(papers.of("gateway"), "gateway", "broker"))
        try:
            await broker.get("/internal/gate/tunnels", patience=5)
        finally:
            await broker.close()

    asyncio.run(ask())


AWAY = (GateUnavailableError, HubUnavailableError, BrokerUnavailableError)
CALLS = {"gateway": broker_to_gateway, "hub": broker_to_hub, "broker": gateway_to_broker}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers") / "certificates")


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> tuple[str, Callable[[Papers, Address], None]]:
    """Each of our clients: the part that it calls, and how."""
    return request.param, CALLS[request.param]


Call = tuple[str, Callable[[Papers, Address], None]]


def test_the_part_that_is_meant_is_asked(papers: Papers, call: Call) -> None:
    with server(papers.of(call[0])) as (address, heard):
        call[1](papers, address)
    assert heard


def test_whoever_else_listens_there_hears_no_token(papers: Papers, call: Call, tmp_path: Path) -> None:
    to, ask = call
    wrong = [papers.of(part) for part in PARTS if part != to]
    wrong += [papers.expired(to), Papers(tmp_path / "elsewhere").of(to), papers.named(to, None), papers.odd("address", "127.0.0.1")]
    for shown in wrong:
        with server(shown) as (address, heard):
            with pytest.raises(AWAY):
                ask(papers, address)
            assert heard == [], shown


def test_a_part_that_speaks_an_older_tls_is_not_spoken_to(papers: Papers, call: Call) -> None:
    with server(papers.of(call[0]), highest=ssl.TLSVersion.TLSv1_2) as (address, heard):
        with pytest.raises(AWAY):
            call[1](papers, address)
        assert heard == []


def test_no_proxy_of_the_environment_comes_between(papers: Papers, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with server(papers.of(call[0])) as (address, heard):
        call[1](papers, address)
    assert heard


def test_a_gateway_whose_broker_is_just_starting_tries_the_name_again_and_not_for_ever(papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind one name of a cluster there are several; one that has an address and does not listen yet must not speak for all."""
    port = free_port()

    def start() -> None:
        with server(papers.of("broker"), port=port):
            done.wait(10)

    done = threading.Event()
    with pytest.raises(BrokerUnavailableError):
        gateway_to_broker(papers, Address(scheme="https", host="127.0.0.1", port=port))
    monkeypatch.setattr(links, "PAUSE", 1.0)
    late = threading.Timer(0.1, start)
    late.start()
    try:
        gateway_to_broker(papers, Address(scheme="https", host="127.0.0.1", port=port))
    finally:
        done.set()
        late.join()


def test_without_a_channel_there_is_no_tcp() -> None:
    address = Address(scheme="https", host="127.0.0.1", port=9)
    for attempt in (lambda: JupyterHub(address, "token"), lambda: GateControl(address, "token").health()):
        with pytest.raises(ValueError, match="mutual TLS or nothing"):
            attempt()


# --- at the start -----------------------------------------------------------------------------------------------------


def fit(files: Files, part: str) -> None:
    """Do at the start what every part does."""
    channels.listening(files, part)
    channels.calling(files, part, "gateway")


@pytest.mark.parametrize("part", PARTS)
def test_what_serves_is_taken(papers: Papers, part: str) -> None:
    fit(papers.of(part), part)


@pytest.mark.parametrize("missing", ["certificate", "key", "authority"])
def test_a_file_that_is_missing_is_named(papers: Papers, missing: str, tmp_path: Path) -> None:
    found = {name: getattr(papers.of("hub"), name) for name in ("certificate", "key", "authority")}
    with pytest.raises(CertificateUnfitError, match=r"not-here\.pem: No such file") as raised:
        fit(Files(**{**found, missing: str(tmp_path / "not-here.pem")}), "hub")
    assert "sulku-broker certificates" in raised.value.remedy()
    assert (raised.value.code, raised.value.exit) == ("certificate-unfit", 6)
    assert isinstance(raised.value, ConfigurationError)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_can_read_is_refused(papers: Papers, mode: int) -> None:
    files = papers.odd("open", "hub")
    fit(files, "hub")
    Path(files.key).chmod(mode)
    with pytest.raises(CertificateUnfitError, match="can be read by others"):
        fit(files, "hub")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("mode", "in_"), [(0o440, True), (0o640, True), (0o444, False), (0o660, False)])
def test_a_key_that_another_user_owns_may_be_read_by_our_group_as_kubernetes_mounts_it(papers: Papers, mode: int, in_: bool) -> None:
    files = papers.odd("mounted", "hub")
    os.chown(files.key, 65534, 0)
    Path(files.key).chmod(mode)
    if in_:
        fit(files, "hub")
    else:
        with pytest.raises(CertificateUnfitError, match="can be read by others"):
            fit(files, "hub")


def test_an_expired_certificate_another_parts_and_another_authoritys_are_refused_with_the_reason(papers: Papers, tmp_path: Path) -> None:
    stranger = Papers(tmp_path / "elsewhere")
    mixed = Files(papers.of("hub").certificate, papers.of("broker").key, papers.trust)
    for files, why in (
        (papers.expired("hub"), "expired"),
        (papers.odd("early", "hub", at=now() + WEEK), "not yet valid"),
        (papers.of("gateway"), "not valid for 'hub'"),
        (papers.odd("strange", "hub", by=stranger), "local issuer"),
        (mixed, "key values mismatch"),
    ):
        with pytest.raises(CertificateUnfitError, match=why):
            fit(files, "hub")


def test_a_file_that_is_no_certificate_and_a_key_behind_a_password_are_refused_without_a_question(papers: Papers) -> None:
    files = papers.odd("junk", "hub")
    Path(files.certificate).write_text("not a certificate")
    with pytest.raises(CertificateUnfitError, match="cannot be read as PEM"):
        fit(files, "hub")
    files = papers.odd("locked", "hub")
    Path(files.key).write_bytes(papers.locked(files))
    with pytest.raises(CertificateUnfitError):
        fit(files, "hub")
