"""A workspace's token goes where the record says now that the workspace is: never to where it was, nor to whoever got its address."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.gateway.pods import Pods
from tests.gateway.recording import Arrived, Recording
from tests.gateway.rig import Browser, GatewayProcess
from tests.soon import eventually

KERNEL = "11111111-2222-3333-4444-555555555555"
FRESH = 1.0  # seconds that an answer of the broker may be relied on


@pytest.fixture
def pods() -> Iterator[Pods]:
    made = Pods()
    yield made
    made.close()


@pytest.fixture
def old(pods: Pods) -> Recording:
    return Recording(pods)


@pytest.fixture
def new(pods: Pods) -> Recording:
    return Recording(pods)


@contextmanager
def within(gateway: GatewayProcess, place: Recording, token: str = "first") -> Iterator[Browser]:
    """Be in a tunnel whose workspace is at ``place``."""
    tunnel = gateway.broker.open(place.address, token)
    try:
        yield gateway.enter(tunnel)
    finally:
        gateway.broker.tunnels.pop(tunnel.id, None)


def tokens(taken: list[Arrived]) -> set[str]:
    return {one.token for one in taken}


def refreshed(gateway: GatewayProcess) -> None:
    """Return when every answer that the gateway relies on was asked for after this call."""
    began = time.monotonic()

    def since() -> bool:
        passed = time.monotonic() - began
        return bool(gateway.control("GET", "/control/health")[1]["snapshot_age"] < passed)

    eventually(since)


def test_a_workspace_that_moves_is_followed_and_its_old_place_hears_no_more(gateway: GatewayProcess, old: Recording, new: Recording) -> None:
    with within(gateway, old) as browser:
        channels = browser.channels(KERNEL)
        assert browser.get("/api/kernels").status == 200
        browser.tunnel.socket = new.address
        assert channels.closing() == (4000, "access changed")
        eventually(lambda: old.ended == old.pod.callers)
        old.take(polls=True)
        assert browser.get("/api/kernels").status == 200, "who is inside stays inside"
        assert [one.line for one in new.take()] == ["GET /api/kernels HTTP/1.1"]
        eventually(lambda: new.take(polls=True))
        assert old.take(polls=True) == [], "nor does the outbox look there"


def test_a_new_token_is_shown_on_a_new_connection(gateway: GatewayProcess, old: Recording) -> None:
    with within(gateway, old) as browser:
        assert browser.get("/api/kernels").status == 200
        before = old.take(polls=True)
        browser.tunnel.token = "second"
        refreshed(gateway)
        eventually(lambda: old.ended)
        old.take(polls=True)
        assert browser.get("/api/kernels").status == 200
        after = old.take()
        assert (tokens(before), tokens(after)) == ({"first"}, {"second"})
        assert not {one.connection for one in before} & {one.connection for one in after}


def test_a_new_epoch_uses_no_connection_of_the_one_before(gateway: GatewayProcess, old: Recording) -> None:
    with within(gateway, old) as browser:
        browser.get("/api/kernels")
        before = old.take(polls=True)
        browser.tunnel.epoch += 1
        assert browser.enter().status == 303
        assert browser.get("/api/kernels").status == 200
        assert not {one.connection for one in before} & {one.connection for one in old.take()}


def test_who_gets_the_address_of_a_tunnel_that_ended_hears_its_own_token_alone(gateway: GatewayProcess, old: Recording) -> None:
    with within(gateway, old) as first:
        assert first.get("/api/kernels").status == 200
        before = old.take(polls=True)
        gateway.broker.close(first.tunnel)
        with within(gateway, old, "of-the-next") as second:
            assert first.get("/api/kernels").status == 410
            assert second.get("/api/kernels").status == 200
            eventually(lambda: old.take(polls=True))
            time.sleep(0.1)
            assert second.get("/api/kernels").status == 200
            after = old.take(polls=True)
            assert (tokens(before), tokens(after)) == ({"first"}, {"of-the-next"})
            assert not {one.connection for one in before} & {one.connection for one in after}


def test_an_address_that_two_tunnels_claim_hears_nobodys_token_until_one_lets_go(gateway: GatewayProcess, old: Recording) -> None:
    with within(gateway, old) as gone, within(gateway, old, "of-the-next") as there:
        old.take(polls=True)
        for browser in (gone, there):
            assert (browser.get("/api/kernels").status, browser.get("/api/kernels").code) == (502, "workspace-unavailable")
        assert old.take(polls=True) == []
        gateway.broker.close(gone.tunnel)
        eventually(lambda: there.get("/api/kernels").status == 200)
        assert tokens(old.take(polls=True)) == {"of-the-next"}


def half(browser: Browser, body: bytes) -> socket.socket:
    """Begin to save a file, and stop in the middle."""
    head = f"PUT /api/contents/a.ipynb HTTP/1.1\r\nHost: {browser.host}\r\nCookie: {browser.cookie}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", browser.gateway.port), 10)
    connection.sendall(head.encode() + body[:5])
    return connection


BODY = json.dumps({"type": "notebook", "content": {"cells": []}}).encode()


def test_a_save_that_began_before_a_move_ends_at_neither_place(gateway: GatewayProcess, old: Recording, new: Recording) -> None:
    with within(gateway, old) as browser:
        old.take(polls=True)
        with half(browser, BODY) as connection:
            time.sleep(1)
            browser.tunnel.socket = new.address
            refreshed(gateway)
            eventually(lambda: new.take(polls=True))
            try:
                connection.sendall(BODY[5:])
                got = connection.recv(65536)
            except ConnectionError:
                got = b""
            assert not got.startswith(b"HTTP/1.1 2")
        assert not [one for one in (*old.take(), *new.take()) if one.line.startswith("PUT")]
        assert browser.ask("PUT", "/api/contents/a.ipynb", BODY).status == 200
        assert [one.body for one in new.take()] == [BODY]


def test_a_save_that_ends_when_the_record_is_too_old_to_say_where_is_not_passed_on(own_gateway: GatewayProcess, old: Recording) -> None:
    with within(own_gateway, old) as browser:
        assert browser.get("/api/kernels").status == 200
        with half(browser, BODY) as connection:
            own_gateway.broker.stop()
            time.sleep(FRESH + 0.3)
            old.take(polls=True)
            connection.sendall(BODY[5:])
            assert b" 503 " in connection.recv(65536).partition(b"\r\n")[0]
        assert old.take() == []
        own_gateway.broker.start()
        assert eventually(lambda: browser.ask("PUT", "/api/contents/a.ipynb", BODY).status == 200)


def test_without_a_fresh_record_the_outbox_shows_no_token_either(own_gateway: GatewayProcess, old: Recording) -> None:
    with within(own_gateway, old):
        eventually(lambda: old.take(polls=True))
        own_gateway.broker.stop()
        time.sleep(FRESH + 0.3)
        old.take(polls=True)
        time.sleep(2.5)  # the outbox is looked into every two seconds
        assert old.take(polls=True) == []
        own_gateway.broker.start()
        assert eventually(lambda: old.take(polls=True))
