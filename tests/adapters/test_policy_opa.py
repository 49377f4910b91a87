"""The policy server keeps the same contract; one that is down, slow, silly or runs other rules is a no."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest
import requests

from broker.adapters.policy_opa import OpaPolicy
from broker.adapters.policy_regorus import RegorusPolicy
from sulku import policies
from sulku.errors import ConfigurationError, PolicyUnavailableError
from sulku.ports import Policy
from tests.adapters.policy_contract import BASES, Contract, ask
from tests.policies import cases
from tests.servers import opa

PATIENT = 20.0  # seconds; these tests are not about speed


@contextmanager
def _published() -> Iterator[OpaPolicy]:
    with opa.serving() as url:
        policy = OpaPolicy(url, cases.bundle(), timeout=PATIENT)
        policy.publish()
        yield policy
        policy.close()


def _address(policy: OpaPolicy) -> str:
    return policy._mine().root_url


class TestOpa(Contract):
    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Iterator[Policy]:
        with _published() as policy:
            yield policy

    def test_it_says_what_it_is(self, policy: Policy) -> None:
        assert policy.ask(ask("tunnel.close")).basis.engine == "opa 1.22.2"

    def test_it_decides_as_the_embedded_one_does(self, policy: Policy) -> None:
        embedded = RegorusPolicy(cases.bundle())
        for action in BASES:
            theirs, ours = policy.ask(ask(action)), embedded.ask(ask(action))
            assert (theirs.basis.asked, theirs.basis.answered, theirs.basis.policy) == (
                ours.basis.asked,
                ours.basis.answered,
                ours.basis.policy,
            )


@pytest.fixture(scope="module")
def server() -> Iterator[OpaPolicy]:
    with _published() as policy:
        yield policy


@pytest.fixture
def fresh(server: OpaPolicy) -> OpaPolicy:
    """The server with our bundle and nothing else, whatever the test before did to it."""
    server.publish()
    assert server.ask(ask("tunnel.close"))
    return server


def _refused(policy: OpaPolicy) -> str:
    query = ask("tunnel.close")
    with pytest.raises(PolicyUnavailableError) as caught:
        policy.ask(query)
    assert caught.value.refusal.codes == ("policy-unavailable",)
    assert caught.value.refusal.target == query.target
    assert caught.value.refusal.basis.answered == ""
    return str(caught.value)


def _other(policy: OpaPolicy, bundle: policies.Bundle) -> OpaPolicy:
    """Another broker, that asks the same server and holds ``bundle``."""
    where = _address(policy).removesuffix("/v1")
    return OpaPolicy(where, bundle, timeout=PATIENT)


@pytest.mark.parametrize("name", ["extra", "system/extra"])
def test_a_rule_that_somebody_added_is_noticed_whatever_it_is_called(fresh: OpaPolicy, name: str) -> None:
    extra = 'package sulku.tunnel\n\ncleared contains "not-yours" if true\n'
    assert requests.put(f"{_address(fresh)}/policies/{name}", data=extra, timeout=PATIENT).ok
    fresh._same_until = 0.0  # the next comparison is due
    assert "other rules" in _refused(fresh)


def test_rules_about_who_may_ask_the_server_are_its_own(fresh: OpaPolicy) -> None:
    assert requests.put(f"{_address(fresh)}/policies/door", data="package system.authz\n\nallow := true\n", timeout=PATIENT).ok
    fresh._same_until = 0.0
    assert fresh.ask(ask("tunnel.close"))
    fresh.publish()
    left = requests.delete(f"{_address(fresh)}/policies/door", timeout=PATIENT)
    assert left.ok  # publishing has not removed what is the server's own


def test_a_table_that_somebody_changed_is_noticed(fresh: OpaPolicy) -> None:
    assert requests.put(f"{_address(fresh)}/data/thresholds/active", json="strict", timeout=PATIENT).ok
    fresh._same_until = 0.0
    assert "other rules" in _refused(fresh)


def test_a_bundle_that_another_broker_put_there_is_noticed_at_once(fresh: OpaPolicy) -> None:
    newer = policies.bundle({**cases.bundle().files, "main.rego": cases.bundle().files["main.rego"] + "\n"})
    other = _other(fresh, newer)
    other.publish()
    assert other.ask(ask("tunnel.close"))
    assert "other rules" in _refused(fresh)
    other.close()


def test_a_server_without_rules_says_no_until_it_has_them() -> None:
    with opa.serving() as url:
        policy = OpaPolicy(url, cases.bundle(), timeout=PATIENT)
        _refused(policy)
        policy.publish()
        assert policy.ask(ask("tunnel.close"))
        policy.close()


def test_publishing_leaves_nothing_of_before(fresh: OpaPolicy) -> None:
    requests.put(f"{_address(fresh)}/policies/stale", data='package sulku.tunnel\n\ncleared contains "minutes"\n', timeout=PATIENT)
    fresh.publish()
    listed = requests.get(f"{_address(fresh)}/policies", timeout=PATIENT).json()["result"]
    assert {one["id"] for one in listed} == set(cases.bundle().modules)


def test_a_bundle_that_does_not_compile_is_not_published(fresh: OpaPolicy) -> None:
    broken = _other(fresh, policies.bundle({**cases.bundle().files, "tunnel.rego": "package sulku.tunnel\n\ncleared if"}))
    with pytest.raises(PolicyUnavailableError):
        broken.publish()
    _refused(broken)
    _refused(fresh)  # half of it is there; nobody is answered by half a bundle
    fresh.publish()
    assert fresh.ask(ask("tunnel.close"))
    broken.close()


def test_a_server_that_is_down_is_a_no() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        _refused(OpaPolicy(f"http://127.0.0.1:{taken.getsockname()[1]}", cases.bundle()))


def test_a_server_that_never_answers_is_a_no() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        policy = OpaPolicy(f"http://127.0.0.1:{silent.getsockname()[1]}", cases.bundle())
        _refused(policy)
        policy.close()


Answer = Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]


@contextmanager
def _silly(answer: Answer) -> Iterator[tuple[OpaPolicy, list[str]]]:
    """A server that shows our bundle to whoever compares, and answers questions by ``answer``."""
    asked: list[str] = []
    bundle = cases.bundle()
    shown = {
        "/v1/config": {"labels": {"version": "0"}},
        "/v1/policies": [{"id": path, "raw": text} for path, text in bundle.modules.items()],
        **{f"/v1/data/{name}": table for name, table in bundle.tables.items()},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, orjson.dumps({"result": shown[self.path]}))

        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send(*answer(self))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status in {301, 307}:
                self.send_header("Location", "/v1/data/sulku/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        policy = OpaPolicy(f"http://127.0.0.1:{server.server_address[1]}", bundle, timeout=PATIENT)
        try:
            yield policy, asked
        finally:
            policy.close()
            server.shutdown()
            thread.join()


YES = {"allow": True, "reasons": [], "obligations": {"scope": "all", "record": False}}
SHA = cases.bundle().sha256


def test_this_server_could_say_yes() -> None:
    """Liveness twin of the next: well-formed, it is believed."""
    with _silly(lambda _: (200, orjson.dumps({"result": {"decision": YES, "revision": SHA}}))) as (policy, _):
        assert policy.ask(ask("tunnel.close"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"yes",
        b"[]",
        b"{}",
        b"null",
        b'{"result": true}',
        b'{"result": {"decision": {"allow": true}}}',
        orjson.dumps({"result": {"decision": YES}}),
        orjson.dumps({"result": {"decision": YES, "revision": "0" * 64}}),
        orjson.dumps({"result": {"decision": {**YES, "allow": "true"}, "revision": SHA}}),
        orjson.dumps({"result": {"decision": {**YES, "allow": 1}, "revision": SHA}}),
        orjson.dumps({"result": {"decision": {**YES, "reasons": ["no"]}, "revision": SHA}}),
        orjson.dumps({"result": {"decision": {**YES, "allow": False}, "revision": SHA}}),
        orjson.dumps({"result": {"decision": {**YES, "more": 1}, "revision": SHA}}),
        orjson.dumps({"result": {"decision": {**YES, "reasons": None}, "revision": SHA}}),
        orjson.dumps({"result": {"decision": {**YES, "obligations": {"budget": 1.5}}, "revision": SHA}}),
        orjson.dumps({"result": {"decision": None, "revision": SHA}}),
    ],
)
def test_nonsense_is_a_no(body: bytes) -> None:
    with _silly(lambda _: (200, body)) as (policy, _):
        _refused(policy)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 500, 502, 503])
def test_a_failure_is_a_no_and_is_asked_once(status: int) -> None:
    with _silly(lambda _: (status, orjson.dumps({"result": {"decision": YES, "revision": SHA}}))) as (policy, asked):
        _refused(policy)
        assert len(asked) == 1  # neither tried again nor followed elsewhere


@pytest.mark.parametrize("url", ["", "opa", "ftp://127.0.0.1", "http://", "http://127.0.0.1/v1"])
def test_only_an_address_is_an_address(url: str) -> None:
    with pytest.raises(ConfigurationError):
        OpaPolicy(url, cases.bundle())
