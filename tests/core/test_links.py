"""Who may call whom is a table that says no to what it does not list, and an address has one way to be written."""

from __future__ import annotations

from itertools import product

import pytest

from sulku import links
from sulku.errors import ConfigurationError, InvalidInputError
from sulku.links import LINKS, PARTS, Address

PATHS = [path for link in LINKS for path in link.paths]


@pytest.mark.parametrize(("to", "path", "caller"), list(product(PARTS, PATHS, PARTS)))
def test_a_part_may_ask_for_what_a_link_lists_and_for_nothing_else(to: str, path: str, caller: str) -> None:
    listed = any(link.to == to and path in link.paths and caller in link.callers for link in LINKS)
    assert links.allowed(to, path, {caller}) is listed
    assert links.allowed(to, f"{path}/deeper", {caller}) is listed
    assert not links.allowed(to, f"{path}x", {caller}), "a path is more than its beginning"


def test_nobody_may_ask_for_anything() -> None:
    assert not any(links.allowed(to, path, names) for to in PARTS for path in ("", "/", *PATHS) for names in ((), {""}, {"researcher"}))


def test_the_hub_commands_nobody_and_the_gateway_has_no_way_to_the_hub() -> None:
    assert not links.allowed("gateway", "/control/cut", {"hub"})
    assert not links.allowed("broker", "/internal/gate/tunnels", {"hub"})
    assert links.callers("hub") == {"broker", "worker"}
    assert links.callers("worker") == frozenset(), "nobody calls the worker"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("unix:/run/broker.sock", Address("/run/broker.sock")),
        ("https://broker:8443", Address(scheme="https", host="broker", port=8443)),
        ("https://10.0.0.1:8443/", Address(scheme="https", host="10.0.0.1", port=8443)),
        ("https://[::1]:8443", Address(scheme="https", host="::1", port=8443)),
    ],
)
def test_an_address_is_a_socket_or_mutual_tls(text: str, found: Address) -> None:
    assert links.address(text) == found
    assert str(links.address(str(found))) == str(found)


@pytest.mark.parametrize(
    "text",
    [
        "", "broker", "/run/broker.sock", "unix:run/broker.sock", "http://broker:8443", "tcp://broker:8443", "https://broker",
        "https://:8443", "https://me@broker:8443", "https://broker:8443/internal", "https://broker:8443?x", "https://broker:99999",
        "https://broker:0",
    ],
)  # fmt: skip
def test_tcp_without_tls_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError):
        links.address(text)


@pytest.mark.parametrize("text", ["/run/t-1/ws.sock", "http://10.244.0.7:8888", "http://[fd00:10:244::7]:8888", "http://127.0.0.1:8888"])
def test_a_workspace_is_a_socket_or_a_literal_address(text: str) -> None:
    assert str(links.workspace(text)).removeprefix("unix:") == text


@pytest.mark.parametrize(
    "text",
    [
        "", "ws.sock", "http://workspace:8888", "http://workspace.tun.svc:8888", "http://10.244.0.7", "http://10.244.0.7:0",
        "http://10.244.0.7:8888/lab", "http://10.244.0.7:8888?x=1", "http://a@10.244.0.7:8888", "https://10.244.0.7:8888",
        "http://0x0a.0.0.1:80", "http://167772161:80", "http://010.0.0.1:80", "http://10.1:80",
        "http://169.254.169.254:80", "http://[fe80::1]:80", "http://[fe80::1%25eth0]:80", "http://[::ffff:169.254.169.254]:80",
        "http://0.0.0.0:80", "http://[::]:80", "http://224.0.0.1:80", "http://255.255.255.255:80",
    ],
)  # fmt: skip
def test_a_name_or_an_address_that_is_never_a_pods_is_no_workspace(text: str) -> None:
    with pytest.raises(InvalidInputError):
        links.workspace(text)
