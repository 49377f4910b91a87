"""What arrives in a workspace is what the gateway understood: requests with two meanings are refused, whole classes of them.

Bytes go to a real gateway process by a raw socket; behind it a workspace writes down what arrives. A property says what may.
"""

from __future__ import annotations

import json
import posixpath
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.gateway.recording import Raw, Recording, recording
from tests.gateway.rig import GatewayProcess

KERNEL = "11111111-2222-3333-4444-555555555555"
HIDDEN = f"/api/kernels/{KERNEL}/interrupt"
PLAIN = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@dataclass
class Wire:
    """Somebody inside who writes bytes, and what arrives."""

    raw: Raw
    workspace: Recording

    def sent(self, data: str | bytes) -> tuple[list[int], list[str]]:
        """Return the statuses that came back and the request lines that arrived."""
        self.workspace.take()
        statuses = self.raw.send(data)
        return statuses, [one.line for one in self.workspace.take()]

    def refused(self, data: str | bytes) -> bool:
        """Whether it was refused as no request at all: one answer, no more are heard, nothing arrived."""
        return self.sent(data) == ([400], [])

    @property
    def hidden(self) -> str:
        """A request to hide in another one."""
        return self.raw.request("POST", HIDDEN)


@pytest.fixture(scope="module")
def wire(gateway: GatewayProcess) -> Iterator[Wire]:
    with recording() as workspace:
        tunnel = gateway.broker.open(workspace.address, "the-token")
        yield Wire(Raw(gateway.enter(tunnel)), workspace)
        gateway.broker.close(tunnel)


# --- what may ---------------------------------------------------------------------------------------------------------

JSON = st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=4)


@PLAIN
@given(body=JSON)
def test_a_request_with_one_meaning_arrives_as_it_was_meant(wire: Wire, body: dict[str, str]) -> None:
    text = json.dumps(body)
    wire.workspace.take()
    assert wire.raw.send(wire.raw.request("POST", "/api/sessions", f"Content-Length: {len(text)}\r\n", text)) == [200, 200]
    (arrived,) = wire.workspace.take()
    assert arrived.line == "POST /api/sessions HTTP/1.1"
    assert arrived.body.decode() == text


@PLAIN
@given(count=st.integers(1, 6))
def test_requests_that_follow_each_other_arrive_in_order_each_once(wire: Wire, count: int) -> None:
    targets = [f"/api/kernels/{KERNEL[:-1]}{n}" for n in range(count)]
    statuses, lines = wire.sent("".join(wire.raw.request("GET", target) for target in targets))
    assert statuses == [200] * (count + 1)
    assert lines == [f"GET {target} HTTP/1.1" for target in targets]


# --- framing ----------------------------------------------------------------------------------------------------------

NUMERALS = st.text("0123456789+-_xXeE., \t;", min_size=0, max_size=6).filter(lambda text: not re.fullmatch("0|[1-9][0-9]*", text.strip(" \t")))


@PLAIN
@given(value=NUMERALS)
def test_a_length_that_is_no_plain_number_is_refused(wire: Wire, value: str) -> None:
    assert wire.refused(wire.raw.request("POST", more=f"Content-Length: {value}\r\n", body="{}" + wire.hidden))


@PLAIN
@given(first=st.integers(0, 300), second=st.integers(0, 300), name=st.sampled_from(["Content-Length", "content-length", "CONTENT-LENGTH"]), comma=st.booleans())
def test_two_lengths_are_refused_even_if_they_agree(wire: Wire, first: int, second: int, name: str, *, comma: bool) -> None:
    more = f"Content-Length: {first}, {second}\r\n" if comma else f"Content-Length: {first}\r\n{name}: {second}\r\n"
    assert wire.refused(wire.raw.request("POST", more=more, body="{}" + wire.hidden * 2))


CODINGS = st.one_of(
    st.sampled_from(["chunked", "CHUNKED", "identity", "gzip, chunked", "identity, chunked", "chunked, identity", "chunked;q=1", "xchunked", "x", "", ","]),
    st.text('chunked,;= \t"identy', max_size=12),
)


@PLAIN
@given(coding=CODINGS, name=st.sampled_from(["Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING"]), length=st.one_of(st.none(), st.integers(0, 400)), after=st.booleans())
def test_chunks_are_refused_whatever_is_said_of_the_length(wire: Wire, coding: str, name: str, length: int | None, *, after: bool) -> None:
    chunks = f"{name}: {coding}\r\n"
    given_ = "" if length is None else f"Content-Length: {length}\r\n"
    body = "2\r\n{}\r\n0\r\n\r\n" + wire.hidden
    assert wire.refused(wire.raw.request("POST", more=given_ + chunks if after else chunks + given_, body=body))


SIZES = st.one_of(st.sampled_from(["2", "02", "0x2", "+2", "2 ", " 2", "2;a", "2;a=b", '2;a="b"', '2;a="\r\n', "2;\n", "-1", "ffffffffffffffff", "g", ""]), st.text('0123456789abcdefx;= "', max_size=8))


@PLAIN
@given(size=SIZES, end=st.sampled_from(["\r\n", "\n", "\r", ""]), trailer=st.sampled_from(["", "Host: elsewhere\r\n", "Content-Length: 5\r\n", "X: y\r\n"]))
def test_no_way_to_write_a_chunk_brings_another_request_in(wire: Wire, size: str, end: str, trailer: str) -> None:
    body = f"{size}{end}{{}}{end}0{end}{trailer}{end}" + wire.hidden
    assert wire.refused(wire.raw.request("POST", more="Transfer-Encoding: chunked\r\n", body=body))


@PLAIN
@given(method=st.sampled_from(["GET", "DELETE"]), data=st.text("ab{}\r\n", min_size=1, max_size=40))
def test_a_body_where_none_belongs_is_refused_and_not_passed_on(wire: Wire, method: str, data: str) -> None:
    body = data + wire.hidden
    assert wire.refused(wire.raw.request(method, f"/api/kernels/{KERNEL}", f"Content-Length: {len(body)}\r\n", body))


@PLAIN
@given(header=st.sampled_from(["Content-Encoding: gzip", "Content-Encoding: identity", "Expect: 100-continue", "Expect: x", "Upgrade: h2c", "Upgrade: websocket, h2c"]), early=st.booleans())
def test_codings_expectations_and_other_protocols_are_refused(wire: Wire, header: str, *, early: bool) -> None:
    more = f"{header}\r\nConnection: Upgrade\r\nContent-Length: 2\r\n" if early else f"Content-Length: 2\r\nConnection: Upgrade\r\n{header}\r\n"
    assert wire.refused(wire.raw.request("POST", more=more, body="{}" + wire.hidden))


# --- lines ------------------------------------------------------------------------------------------------------------

LINES = ("X-One: 1\r\n", "Content-Length: 2\r\n", "X-Two: 2\r\n")


def headers(wire: Wire) -> str:
    """Return a whole request to spoil."""
    return wire.raw.request("POST", more="".join(LINES), body="{}")


def test_the_request_to_spoil_is_whole(wire: Wire) -> None:
    assert wire.sent(headers(wire)) == ([200, 200], ["POST /api/kernels HTTP/1.1"])


@PLAIN
@given(where=st.integers(0, 6), end=st.sampled_from(["\n", "\r", "\r\r\n", "\n\r", "\0\r\n", "\x0b\r\n", "\r\n\n"]))
def test_a_line_that_does_not_end_as_lines_do_is_refused(wire: Wire, where: int, end: str) -> None:
    parts = headers(wire).split("\r\n")
    head = "".join(part + (end if n == where else "\r\n") for n, part in enumerate(parts[:-1]))
    assert wire.refused(head + parts[-1] + wire.hidden)


@PLAIN
@given(where=st.integers(1, 5), fold=st.sampled_from([" ", "\t", "  \t"]), text=st.text("abc:; ", max_size=8))
def test_a_folded_line_is_refused(wire: Wire, where: int, fold: str, text: str) -> None:
    parts = headers(wire).split("\r\n")
    parts.insert(where + 1, f"{fold}{text}x")
    assert wire.refused("\r\n".join(parts) + wire.hidden)


CONTROLS = [chr(n) for n in (*range(9), 11, 12, *range(14, 32), 127)]


@PLAIN
@given(control=st.sampled_from(CONTROLS), header=st.sampled_from(["X{}A: b", "X-A{}: b", "X-A: b{}", "X-A: {}b", "{}X-A: b", "Content-Length: 2{}", "Content-Length:{}2", "Host{}: x"]))
def test_a_control_character_in_a_header_is_refused(wire: Wire, control: str, header: str) -> None:
    assert wire.refused(wire.raw.request("POST", more=header.format(control) + "\r\n", body=wire.hidden))


@PLAIN
@given(line=st.sampled_from(["Content-Length : 2", "Content-Length\t: 2", " Content-Length: 2", "X Y: 2", ": 2", "Content-Length", "Content-Length\xa0: 2", "Cont\xe9nt: 2", "(x): 2", "Host: elsewhere", "host: elsewhere"]), first=st.booleans())
def test_a_header_that_two_readers_name_differently_is_refused(wire: Wire, line: str, *, first: bool) -> None:
    others = "X-A: b\r\n"
    assert wire.refused(wire.raw.request("POST", more=f"{line}\r\n{others}" if first else f"{others}{line}\r\n", body=wire.hidden))


@PLAIN
@given(line=st.sampled_from(["GET {t}", "GET {t} HTTP/0.9", "GET {t} HTTP/1.2", "GET {t} HTTP/2.0", "GET {t} HTTP/1.1 x", "GET\t{t} HTTP/1.1", "get {t} HTTP/1.1", "G(T {t} HTTP/1.1", " GET {t} HTTP/1.1", "GET {t} http/1.1", "GET {t} x HTTP/1.1", "PRI * HTTP/2.0", "{t}"]))
def test_a_first_line_that_is_none_is_refused(wire: Wire, line: str) -> None:
    assert wire.refused(f"{line.format(t=HIDDEN)}\r\n{wire.raw.own}\r\n")


def test_a_refusal_of_what_cannot_be_read_has_a_code_and_names_no_software(wire: Wire, gateway: GatewayProcess) -> None:
    for bad in ("GET / HTTP/9\r\n\r\n", wire.raw.request("POST", more="Transfer-Encoding: chunked\r\n", body="0\r\n\r\n")):
        head, _, body = gateway.raw(bad.encode()).partition(b"\r\n\r\n")
        assert json.loads(body)["code"] == "request-not-canonical"
        assert b"Server: sulku" in head
        assert b"aiohttp" not in head + body
        assert b"Content-Security-Policy: default-src 'none'" in head


# --- headers ----------------------------------------------------------------------------------------------------------

TRICKS = ["X-Forwarded-Host", "X-Forwarded-For", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Forwarded", "Via", "Authorization", "Range", "If-Match", "Origin", "Referer", "Accept", "X-Xsrftoken", "Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Accept-Encoding", "User-Agent", "Sec-Fetch-Site"]  # fmt: skip
VALUES = st.sampled_from(["/api/shutdown", "DELETE", "token x", "evil.example", "bytes=0-1", "close, Authorization", "keep-alive", "*", "trailers"])


@PLAIN
@given(extra=st.lists(st.tuples(st.sampled_from(TRICKS), VALUES), max_size=6, unique_by=lambda pair: pair[0]))
def test_no_header_of_the_browser_reaches_the_workspace(wire: Wire, extra: list[tuple[str, str]]) -> None:
    assume(not any(name == "Connection" and "close" in value for name, value in extra))
    wire.workspace.take()
    wire.raw.send(wire.raw.request("GET", more="".join(f"{name}: {value}\r\n" for name, value in extra)))
    (arrived,) = wire.workspace.take()
    assert arrived.line == "GET /api/kernels HTTP/1.1"
    assert {name: value for name, value in arrived.headers if name != "User-Agent"} == {
        "Host": "localhost", "Accept": "application/json", "Accept-Encoding": "identity", "Authorization": "token the-token",
    }  # fmt: skip
    assert wire.raw.host not in str(arrived)
    assert wire.raw.browser.session not in str(arrived)


# --- where to ---------------------------------------------------------------------------------------------------------

TARGETS = (f"/api/kernels/{KERNEL}", "/api/contents/a/b.ipynb?type=notebook&content=1", "/api/contents/a%20b/c.ipynb?type=notebook", "/api/sessions", "/lab/tree/a/b")
TRICKY = (
    "/", "/.", "/..", "/%2e", "/%2e%2e", "/%2E%2E", "/.%2e", "/..%2f..", "%2f", "%2F", "/%2f", "%5c", "\\", "/\\..\\", ";x=y", ";", "%00", "%0a", "%0d%0a", "%09",
    "%c0%ae", "%c0%af", "%c0%2e", "%e0%80%af", "%e0%40%ae", "%f0%80%80%af", "%uff0e", "%u002e", "%ff", "%", "%2", "%zz", "%25", "%252e", "%61", "%7e", "#", "#x", "??", "|", "^", "<", '"', "`", "{",
    "/%2e%2e/%2e%2e/api/shutdown", "/../../shutdown", "/./", "//", "/..;/", "/%20/..", "\u00e9", "\xa0",
)  # fmt: skip
NORMAL = re.compile(r"/api/(kernels|sessions|contents)(/[A-Za-z0-9_.~!*'()%-]+)*(\?[a-zA-Z]+=[a-z0-9]+(&[a-zA-Z]+=[a-z0-9]+)*)?")


def normal(line: str) -> bool:
    """Whether every reader takes the target of a request line for the same thing."""
    method, target, version = line.split(" ")
    path = unquote(target.partition("?")[0], errors="strict")
    raw = target.partition("?")[0]
    escapes = re.findall(r"%..", raw)
    return (
        version == "HTTP/1.1" and method in {"GET", "POST", "PUT", "PATCH", "DELETE"} and NORMAL.fullmatch(target) is not None
        and posixpath.normpath(path) == path and path.isprintable() and not set("\\%?#;") & set(path) - {";", "?", "#"}
        and path.count("/") == raw.count("/") and all(one == one.upper() and one not in {"%2F", "%5C", "%00", "%25", "%2E"} for one in escapes)
        and not any(part.startswith(".") for part in path.split("/"))
    )  # fmt: skip


@PLAIN
@given(target=st.sampled_from(TARGETS), trick=st.sampled_from(TRICKY), where=st.integers(0, 60), method=st.sampled_from(["GET", "GET", "POST", "PUT", "DELETE", "PATCH"]))
def test_a_trick_anywhere_in_a_path_leads_nowhere_else(wire: Wire, target: str, trick: str, where: int, method: str) -> None:
    path, mark, query = target.partition("?")
    at = min(where, len(path))
    spoilt = path[:at] + trick + path[at:] + mark + query
    statuses, lines = wire.sent(wire.raw.request(method, spoilt, "Content-Length: 0\r\n"))
    assert all(normal(line) for line in lines), lines
    if lines:
        assert lines == [f"{method} {spoilt} HTTP/1.1"], "what arrives is what was asked, to the letter"
    else:
        assert statuses[0] in {400, 401, 403, 404, 422, 502, 200, 303}


@PLAIN
@given(target=st.sampled_from(TARGETS[:4]), trick=st.sampled_from(TRICKY[:-2]))
def test_a_path_that_ends_in_a_trick_is_refused(wire: Wire, target: str, trick: str) -> None:
    path, mark, query = target.partition("?")
    statuses, lines = wire.sent(wire.raw.request("GET", path + trick + mark + query))
    assert statuses[0] in {400, 403}, statuses
    assert lines == []


@PLAIN
@given(data=st.binary(max_size=60).filter(lambda data: not set(data) & set(b" \r\n\t")))
def test_whatever_bytes_are_asked_for_only_what_is_plain_arrives(wire: Wire, data: bytes) -> None:
    for prefix in (b"", b"/", b"/api/", b"/api/contents/", b"/api/kernels/"):
        statuses, lines = wire.sent(b"GET " + prefix + data + b" HTTP/1.1\r\n" + wire.raw.own.encode() + b"\r\n")
        assert statuses, "an answer"
        assert all(normal(line) for line in lines), lines


NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\%"), min_size=1, max_size=12).filter(lambda name: not name.startswith("."))


@PLAIN
@given(name=NAMES)
def test_a_file_of_any_name_is_asked_for_under_that_name(wire: Wire, name: str) -> None:
    escaped = quote(name, safe="-_.!~*'()")
    target = f"/api/contents/{escaped}?type=directory"
    statuses, lines = wire.sent(wire.raw.request("GET", target))
    assert statuses == [200, 200]
    assert lines == [f"GET {target} HTTP/1.1"]
    assert unquote(lines[0].split(" ")[1].partition("?")[0]) == f"/api/contents/{name}"


# --- whom -------------------------------------------------------------------------------------------------------------

HOSTS = ("", "{h}.", "{h}:80", "{h},{h}", "{h} {h}", "x.{h}", "{H}", "{h}/", "{h}?", "{h}#", "u@{h}", "{h}@evil", "localhost", "127.0.0.1", "evil.example", "{l}", "{l}.", "{l}.evil:{p}", "t-0.{d}", "{d}", "[::1]", "{h}\x00", "{h}\x0b", "gate.{d}", "http://{h}", "{l}..{d}", "{l}%2e{d}")  # fmt: skip


def host(wire: Wire, written: str) -> str:
    label, _, domain = wire.raw.host.partition(".")
    return written.format(h=wire.raw.host, H=wire.raw.host.upper(), l=label, d=domain, p=domain.rpartition(":")[2])


@pytest.mark.parametrize("written", HOSTS)
def test_a_host_that_is_not_the_tunnels_to_the_letter_leads_nowhere(wire: Wire, written: str) -> None:
    data = f"GET /api/kernels HTTP/1.1\r\nHost: {host(wire, written)}\r\nCookie: {wire.raw.browser.cookie}\r\n\r\n"
    statuses, lines = wire.sent(data)
    assert statuses[0] in {400, 404}
    assert lines == []


@PLAIN
@given(written=st.sampled_from(HOSTS), inside=st.sampled_from(HOSTS), scheme=st.sampled_from(["http://", "https://", "HTTP://", "//", "ftp://", "http:/", "http:\\\\", "///", "/\\", "http://u@"]))
def test_an_absolute_target_leads_nowhere_whatever_the_host_says(wire: Wire, written: str, inside: str, scheme: str) -> None:
    for named in (wire.raw.host, host(wire, written)):
        target = f"{scheme}{host(wire, inside)}/api/kernels"
        assume(" " not in target)
        statuses, lines = wire.sent(f"GET {target} HTTP/1.1\r\nHost: {named}\r\nCookie: {wire.raw.browser.cookie}\r\n\r\n")
        assert statuses[0] in {400, 403, 404}
        assert lines == []


# --- upgrades ---------------------------------------------------------------------------------------------------------

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def test_what_follows_an_upgrade_is_never_a_request_to_the_workspace(wire: Wire, gateway: GatewayProcess) -> None:
    channels = wire.raw.request("GET", f"/api/kernels/{KERNEL}/channels", UPGRADE + f"Origin: http://{wire.raw.host}\r\n")
    wire.workspace.take()
    wire.workspace.frames.clear()
    got = gateway.raw((channels + wire.hidden).encode())
    assert got.startswith(b"HTTP/1.1 101 ")
    lines = [one.line for one in wire.workspace.take()]
    assert lines == [f"GET /api/kernels/{KERNEL}/channels HTTP/1.1"]
    assert b"interrupt" not in b"".join(wire.workspace.frames)


@pytest.mark.parametrize("target", ["/api/kernels", "/api/contents?type=directory", "/lab", "/api/me"])
def test_an_upgrade_where_none_is_answered_is_refused(wire: Wire, target: str) -> None:
    statuses, lines = wire.sent(wire.raw.request("GET", target, UPGRADE))
    assert (statuses, lines) == ([403, 200], [])


def test_a_request_that_never_ends_holds_up_nobody_else(wire: Wire, gateway: GatewayProcess) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as slow:
        slow.sendall(wire.raw.request("POST", more="Content-Length: 100\r\n", body="{").encode())
        began = time.monotonic()
        assert wire.sent(wire.raw.request())[0] == [200, 200]
        assert time.monotonic() - began < 5




@PLAIN
@given(body=st.integers(0, 99), abrupt=st.booleans(), method=st.sampled_from(["POST", "PUT", "PATCH"]))
def test_who_leaves_in_the_middle_of_a_request_passes_nothing_on_and_is_no_fault(
    wire: Wire, gateway: GatewayProcess, method: str, body: int, *, abrupt: bool
) -> None:
    wire.workspace.take()
    said = len(gateway.said())
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as leaver:
        leaver.sendall(wire.raw.request(method, "/api/sessions", "Content-Length: 100\r\n", "{" * body).encode())
        if abrupt:
            leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
    assert wire.raw.send(wire.raw.request()) == [200, 200], "others are served"
    assert [one.line for one in wire.workspace.take()] == ["GET /api/kernels HTTP/1.1"]
    assert " ERROR " not in gateway.said()[said:], "an operator would be called for nothing"


SPOILT = {
    "no gzip": ("Content-Encoding: gzip\r\nContent-Length: 20\r\n", "x" * 20),
    "half of gzip": ("Content-Encoding: gzip\r\nContent-Length: 400\r\n", "\x1f\x8b\x08" + "x" * 30),
    "no deflate": ("Content-Encoding: deflate\r\nContent-Length: 20\r\n", "x" * 20),
    "no brotli": ("Content-Encoding: br\r\nContent-Length: 20\r\n", "x" * 20),
    "no zstd": ("Content-Encoding: zstd\r\nContent-Length: 20\r\n", "x" * 20),
    "another coding": ("Content-Encoding: x\r\nContent-Length: 20\r\n", "x" * 20),
    "no chunk": ("Transfer-Encoding: chunked\r\n", "nothing"),
    "a chunk and no other": ("Transfer-Encoding: chunked\r\n", "5\r\nxxxxx\r\nnothing\r\n"),
    "a chunk too long": ("Transfer-Encoding: chunked\r\n", "5\r\nxxxxxxxxxxxxx\r\n0\r\n\r\n"),
    "trailers without end": ("Transfer-Encoding: chunked\r\n", "0\r\n" + "X: y\r\n" * 50),
}


@pytest.mark.parametrize("later", [0.0, 0.1])
@pytest.mark.parametrize("how", SPOILT)
def test_a_body_that_is_not_what_it_is_said_to_be_is_refused_and_is_no_fault(wire: Wire, gateway: GatewayProcess, how: str, later: float) -> None:
    """Whether it comes with the head or while the gateway hears out what is on its way; anybody can send it."""
    more, body = SPOILT[how]
    said = len(gateway.said())
    with socket.create_connection(("127.0.0.1", gateway.port), 15) as connection:
        connection.sendall(wire.raw.request("POST", "/api/sessions", more).encode())
        time.sleep(later)
        with suppress(ConnectionError):
            connection.sendall(body.encode("latin-1"))
        with suppress(ConnectionError):
            assert re.match(rb"HTTP/1\.[01] 400 ", connection.recv(65536))
            while connection.recv(65536):
                pass
    assert wire.raw.send(wire.raw.request()) == [200, 200], "others are served"
    assert [one.line for one in wire.workspace.take()] == ["GET /api/kernels HTTP/1.1"]
    assert " ERROR " not in gateway.said()[said:], "an operator would be called for nothing"
