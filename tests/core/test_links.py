"""Who may call whom is a table that says no to what it does not list, and an address has one way to be written."""

from __future__ import annotations

import ipaddress
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku import links
from sulku.errors import ConfigurationError, InvalidInputError, NotAPodError
from sulku.links import LINKS, PARTS, Address

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
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


def test_the_worker_alone_has_pods_reached() -> None:
    assert {part for part in PARTS if links.allowed("gateway", "/control/reach", {part})} == {"worker"}


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


# --- pods that one part is asked to reach for another -----------------------------------------------------------------

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
NEVER = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/8", "::1/128", "fe80::/10", "ff00::/8")]
PODS = ("10.244.0.0/16", "fd00:10:244::/48")


def written(address: IP, port: int) -> str:
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


@given(address=ADDRESSES, prefix=st.integers(0, 128))
def test_a_network_that_holds_an_address_which_is_never_a_pods_is_none(address: IP, prefix: int) -> None:
    network = ipaddress.ip_network((address, min(prefix, address.max_prefixlen)), strict=False)
    if any(network.version == one.version and network.overlaps(one) for one in NEVER):
        with pytest.raises(ConfigurationError):
            links.networks([str(network)])


@given(address=ADDRESSES, port=st.integers(1, 65535))
def test_nothing_outside_the_networks_and_ports_is_a_pod(address: IP, port: int) -> None:
    within = links.networks(PODS)
    inside = any(address in one for one in within if one.version == address.version)
    if inside and port in {8888, 8889}:
        assert links.pod(written(address, port), within, {8888, 8889}).host == str(address)
    else:
        with pytest.raises(NotAPodError):
            links.pod(written(address, port), within, {8888, 8889})


@given(low=st.integers(0, 65535), port=st.sampled_from([8888, 8889]))
def test_every_address_of_the_networks_is_a_pods(low: int, port: int) -> None:
    within = links.networks(PODS)
    for one in within:
        address = one.network_address + low
        assert links.pod(written(address, port), within, {8888, 8889}) == Address(scheme="http", host=str(address), port=port)
        with pytest.raises(NotAPodError):
            links.pod(written(address, port), (), {8888, 8889})
        with pytest.raises(NotAPodError):
            links.pod(written(address, port), within, {port ^ 1})


@pytest.mark.parametrize("text", ["", "pods", "10.244.0.1/16", "10.244.0.0/33", "10.244.0.0/-1", "0.0.0.0/0", "::/0", "::ffff:0:0/96"])
def test_what_is_no_network_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(ConfigurationError):
        links.networks([text])
    assert links.networks([]) == ()


def test_a_socket_is_no_pod() -> None:
    with pytest.raises(NotAPodError):
        links.pod("/run/ws.sock", links.networks(PODS), {8888})
