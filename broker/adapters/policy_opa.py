"""Policy decided by an Open Policy Agent server: the same Rego, the same decisions, for production."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from opa_client.opa import OpaClient

from broker.adapters.clock import monotonic
from broker.adapters.policy import mint
from sulku import ids
from sulku.clearance import Clearance, Query
from sulku.codec import Plain
from sulku.errors import ConfigurationError, PolicyUnavailableError
from sulku.policies import Bundle, settle

TIMEOUT: Final = 0.25  # seconds
RECHECK: Final = 60.0  # seconds between comparisons of all that the server runs with our bundle
_PUBLISH_TIMEOUT: Final = 5.0
_REVISION: Final = "sulku/revision"
_SYSTEM: Final = "system"  # package of the server's own policies, such as who may call it: they decide nothing of ours


class OpaPolicy:
    """Implements ``sulku.ports.Policy``; any thread may ask.

    The server must run the very bundle that decisions name: its modules and tables are compared before the first answer,
    after every failure and each ``RECHECK`` seconds, and each answer carries the digest that was published with them.
    """

    def __init__(
        self,
        url: str,
        bundle: Bundle,
        new_id: Callable[[str], str] = ids.new,
        *,
        token: str | None = None,
        ca: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Remember where the server is; nothing is asked yet.

        Args:
            url: ``http://`` or ``https://``, host and port.
            token: Bearer token, if the server wants one.
            ca: File of the certificate authority, if it is not a public one.
            timeout: Seconds to connect, and between bytes of an answer.

        Raises:
            ConfigurationError: ``url`` is not such an address.
        """
        where = urlsplit(url)
        if where.scheme not in {"http", "https"} or not where.hostname or where.path.strip("/"):
            raise ConfigurationError(f"not the address of a policy server: {url[:100]!r}")
        tls = where.scheme == "https"
        port = where.port or (443 if tls else 80)
        self.bundle = bundle
        self._settings: dict[str, Any] = {
            "host": where.hostname,
            "port": port,
            "ssl": tls,
            "token": token,
            "retries": 0,
            "timeout": timeout,
        }
        self._ca = ca
        self._new_id = new_id
        self._local = threading.local()
        self._same_until = 0.0
        self.engine = "opa"

    def ask(self, query: Query) -> Clearance:
        """Return the proof that policy said yes.

        Raises:
            DeniedError: Policy said no.
            PolicyUnavailableError: There was no answer in time, it made no sense, or the server runs another bundle.
        """
        return mint(query, self, self._new_id)

    def evaluate(self, asked: str) -> str:
        """Return the server's answer to ``asked``, both canonical JSON.

        Raises:
            PolicyUnavailableError: As for ``ask``.
        """
        try:
            if monotonic() >= self._same_until:
                self.compare()
            return self._sealed(asked)
        except PolicyUnavailableError:
            self._same_until = 0.0  # it may come back as another: look again before believing it
            raise

    def _sealed(self, asked: str) -> str:
        with _contained("does not answer"):
            sealed = self._mine().query_rule(orjson.loads(asked), "sulku", "sealed").get("result", {})
            revision, decision = sealed.get("revision"), orjson.dumps(sealed.get("decision"))
        if revision != self.bundle.sha256:
            raise PolicyUnavailableError("the policy server answers by other rules than this broker states")
        return settle(decision)

    def compare(self) -> None:
        """Require that the server runs our bundle and nothing else.

        Raises:
            PolicyUnavailableError: It does not, or does not answer.
        """
        with _contained("cannot be checked"):
            self.engine = f"opa {self._mine().get_config()['result']['labels']['version']}"
            modules = {one["raw"] for one in self._get("policies") if not _systems(one)}
            tables = {name: self._get(f"data/{name}") for name in self.bundle.tables}
        if modules != set(self.bundle.modules.values()) or tables != self.bundle.tables:
            raise PolicyUnavailableError("the policy server runs other rules than this broker states")
        self._same_until = monotonic() + RECHECK

    def publish(self) -> None:
        """Put the bundle on the server, in place of everything that is there; in between, policy is unavailable.

        Raises:
            PolicyUnavailableError: The server does not take it.
        """
        client = self._connect(timeout=_PUBLISH_TIMEOUT)
        with _contained("does not take the bundle"), client:
            client.update_or_create_data({"sha256": ""}, _REVISION)
            theirs = [one["id"] for one in self._get("policies") if not _systems(one)]
            _each(theirs, client.delete_policy)
            for name, table in self.bundle.tables.items():
                client.update_or_create_data(table, name)
            modules = self.bundle.modules
            _each(list(modules), lambda path: client.update_policy_from_string(modules[path], path, rego_compat=False))
            client.update_or_create_data({"sha256": self.bundle.sha256}, _REVISION)
        self._same_until = 0.0

    def close(self) -> None:
        """Close this thread's connection; the next question opens another."""
        if (client := self._local.__dict__.pop("client", None)) is not None:
            client.close_connection()

    def _mine(self) -> OpaClient:
        """Return this thread's connection."""
        if not hasattr(self._local, "client"):
            self._local.client = self._connect()
        client: OpaClient = self._local.client
        return client

    def _connect(self, **other: Any) -> OpaClient:
        client = OpaClient(**(self._settings | other))
        session = client._session  # noqa: SLF001  # the client has no settings for these
        session.trust_env = False  # no proxy of the environment sees what policy is asked
        session.max_redirects = 0
        if self._ca:
            session.verify = self._ca
        return client

    def _get(self, path: str) -> Plain:
        client = self._mine()
        answer = client._session.get(f"{client.root_url}/{path}", timeout=client.timeout)  # noqa: SLF001  # it drops the texts
        answer.raise_for_status()
        return answer.json().get("result")


def _systems(module: Mapping[str, Any]) -> bool:
    """Whether a module of the server is in a package of the server's own, whatever it is called."""
    path = [part["value"] for part in module.get("ast", {}).get("package", {}).get("path", [])]
    return path[1:2] == [_SYSTEM]  # after `data`


def _each(names: list[str], do: Callable[[str], object]) -> None:
    """Do it for each name, in whatever order the modules' dependence on each other allows."""
    while names:
        left, last = [], None
        for name in names:
            try:
                do(name)
            except Exception as error:  # noqa: BLE001  # one that depends on a later one is tried again
                left.append(name)
                last = error
        if last is not None and len(left) == len(names):
            raise last
        names = left


@contextmanager
def _contained(what: str) -> Iterator[None]:
    """Turn whatever the client throws (errors of its own, of requests, of wrong shapes) into a fault of ours."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, there is no answer
        raise PolicyUnavailableError(f"the policy server {what}: {type(error).__name__}") from None
