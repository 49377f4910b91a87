"""What a tunnel must not reach is found around the worker, and what is not known is an error, never a shorter list."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.adapters.surroundings import Around, resolved
from sulku.closure import POD_TARGETS
from sulku.errors import ClusterUnavailableError, ConfigurationError

AROUND = {
    "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "NODE_ADDRESS": "192.0.2.7",
    "BROKER_SERVICE_HOST": "10.96.7.7", "BROKER_SERVICE_PORT": "8080",
}  # fmt: skip
NAMES = {"canary.sulku.svc": "10.244.0.9"}


@pytest.fixture
def resolver(tmp_path: Path) -> Path:
    file = tmp_path / "resolv.conf"
    file.write_text("search svc\nnameserver 10.96.0.10\nnameserver 10.96.0.11\n")
    return file


def around(resolver: Path, given: tuple[tuple[str, str, str, int], ...] = (), **changes: str) -> Around:
    environment = {name: value for name, value in {**AROUND, **changes}.items() if value}
    return Around("canary.sulku.svc:7000", "k" * 32, given, environment=environment, resolver=resolver, resolve=lambda host: NAMES.get(host, host))


def test_every_way_that_a_closure_must_have_tried_has_a_target_with_an_address(resolver: Path) -> None:
    rows = around(resolver).targets
    assert {row[0] for row in rows} >= POD_TARGETS
    assert len(rows) == len({row[0] for row in rows}), "a name stands for one target"
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["canary-tcp"] == ("tcp", "10.244.0.9", 7000)
    assert by_name["neighbour-tcp"] == ("tcp", "10.244.0.9", 7001)
    assert by_name["dns-udp"] == ("udp", "10.96.0.10", 53)
    assert by_name["broker"] == ("tcp", "10.96.7.7", 8080)


def test_a_canary_that_moved_is_found_at_its_new_address(resolver: Path) -> None:
    found = around(resolver)
    assert found.canary.host == "10.244.0.9"
    try:
        NAMES["canary.sulku.svc"] = "10.244.0.44"
        assert found.canary.host == "10.244.0.44"
        assert ("canary-udp", "udp", "10.244.0.44", 7000) in found.targets
    finally:
        NAMES["canary.sulku.svc"] = "10.244.0.9"


def test_an_operator_adds_targets_and_replaces_known_ones(resolver: Path) -> None:
    rows = {row[0]: row[1:] for row in around(resolver, (("registry", "tcp", "192.0.2.99", 443), ("metadata", "tcp", "192.0.2.254", 80))).targets}
    assert rows["registry"] == ("tcp", "192.0.2.99", 443)
    assert rows["metadata"] == ("tcp", "192.0.2.254", 80)


@pytest.mark.parametrize("name", sorted(AROUND))
def test_what_the_pod_is_not_told_is_refused_at_the_start(resolver: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        around(resolver, **{name: ""})


@pytest.mark.parametrize("canary", ["canary", "canary:", ":7000", "canary:port"])
def test_a_canary_without_a_port_is_refused(resolver: Path, canary: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        Around(canary, "k", environment=AROUND, resolver=resolver)


def test_no_name_server_is_refused_as_its_silence_would_prove_nothing(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("# nothing\n")
    with pytest.raises(ConfigurationError, match="name server"):
        Around("canary:7000", "k", environment=AROUND, resolver=tmp_path / "resolv.conf")


def test_a_name_that_nobody_knows_is_no_target_that_was_tried(resolver: Path) -> None:
    lost = Around("nobody.invalid:7000", "k", environment=AROUND, resolver=resolver, resolve=resolved)
    with pytest.raises(ClusterUnavailableError, match=r"nobody\.invalid"):
        _ = lost.targets
    assert resolved("127.0.0.1") == "127.0.0.1"
