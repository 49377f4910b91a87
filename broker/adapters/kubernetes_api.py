"""The few calls of the Kubernetes API that tunnels need, on dictionaries, with the conflicts and absences named."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from sulku.errors import ClusterUnavailableError, ConfigurationError, IsolationUnavailableError
from sulku.manifests import Manifest

_PLURALS: Final = {
    "Namespace": "namespaces",
    "PersistentVolume": "persistentvolumes",
    "NetworkPolicy": "networkpolicies",
    "ResourceQuota": "resourcequotas",
    "LimitRange": "limitranges",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
}
_WIDE: Final = {"Namespace", "PersistentVolume"}
_GROUPS: Final = {"NetworkPolicy": "/apis/networking.k8s.io/v1"}
_NAMES: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
CONNECTIONS: Final = 64  # kept open: more threads than that would shake hands anew for each call
SECONDS: Final = (3.0, 15.0)  # to connect, and to be answered


class Api:
    """The API server, with the rights of whoever we run as."""

    def __init__(self, client: ApiClient) -> None:
        """Take a configured client."""
        self._client = client
        self.calls = 0
        self.bytes = 0  # of answers

    @classmethod
    def connect(cls, kubeconfig: str = "") -> Api:
        """Return one by a configuration file, or, without one, by the account of the pod that we run in.

        Raises:
            ClusterUnavailableError: Neither is there.
            ConfigurationError: The file says to believe any server that answers.
        """
        try:
            settings = Configuration(connection_pool_maxsize=CONNECTIONS)
            if kubeconfig:
                client = config.new_client_from_config(kubeconfig, client_configuration=settings)  # type: ignore[no-untyped-call]
            else:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
                client = ApiClient(settings)
        except config.ConfigException as error:
            raise ClusterUnavailableError(str(error)) from error
        if not client.configuration.verify_ssl:
            raise ConfigurationError(f"{kubeconfig} says insecure-skip-tls-verify: whoever answers would be believed")
        return cls(client)

    def path(self, kind: str, namespace: str = "", name: str = "") -> str:
        """Return the path of a kind, or of one object."""
        where = "" if kind in _WIDE or not namespace else f"/namespaces/{namespace}"
        return f"{_GROUPS.get(kind, '/api/v1')}{where}/{_PLURALS[kind]}{f'/{name}' if name else ''}"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        *,
        accept: str = "application/json",
    ) -> Any:
        """Return the answer, read.

        Raises:
            ApiException: The server says no; ``status`` says how.
            ClusterUnavailableError: No server answers, or it is not able to (5xx, 429).
        """
        settings = self._client.configuration
        headers = {"Accept": accept, "Content-Type": content, **self._client.default_headers}
        queries: list[tuple[str, str]] = []
        self._client.update_params_for_auth(headers, queries, ["BearerToken"], path, method, body)
        url = f"{settings.host}{path}{f'?{urlencode(query)}' if query else ''}"
        self.calls += 1
        try:
            ask: Any = self._client.rest_client.request
            answer = ask(method, url, headers=headers, body=body, _request_timeout=SECONDS)
        except HTTPError as error:
            raise ClusterUnavailableError(f"{type(error).__name__}: {error}"[:300]) from error
        except ApiException as error:
            if error.status in {0, 429} or error.status >= 500:
                raise ClusterUnavailableError(f"{error.status} {error.reason}") from error
            raise
        data = answer.read()
        self.bytes += len(data)
        if answer.status in {0, 429} or answer.status >= 500:
            raise ClusterUnavailableError(f"{answer.status} {answer.reason}: {data[:300]!r}")
        if answer.status >= 400:
            failure = ApiException(status=answer.status, reason=answer.reason)
            failure.body = data.decode(errors="replace")
            raise failure
        return json.loads(data)

    def ask(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, **more: str) -> Any:
        """Return the answer as ``call`` does, ``None`` for what is not there.

        Raises:
            ClusterUnavailableError: No server answers, or it does not let us.
        """
        try:
            return self.call(method, path, body, query, **more)
        except ApiException as error:
            if error.status == 404:
                return None
            raise ClusterUnavailableError(f"{method} {path}: {error.status} {_said(error)}") from error

    def find(self, kind: str, name: str, namespace: str = "") -> Manifest | None:
        """Return one object, ``None`` if there is none."""
        found: Manifest | None = self.ask("GET", self.path(kind, namespace, name))
        return found

    def every(self, kind: str, selector: str, namespace: str = "", *, fields: str = "", whole: bool = True, page: int = 500) -> list[Manifest]:
        """Return the objects with a label, asked for a page at a time.

        Args:
            namespace: Empty for all.
            fields: A selector of fields as well.
            whole: False asks for their metadata alone.
            page: So many at a time.
        """
        found: list[Manifest] = []
        query = {"labelSelector": selector, "limit": str(page), **({"fieldSelector": fields} if fields else {})}
        while True:
            some = self.ask("GET", self.path(kind, namespace), query=query, accept="application/json" if whole else _NAMES)
            found += some["items"] or []  # of names alone, nothing is null
            if not (more := some["metadata"].get("continue")):
                return found
            query["continue"] = more

    def make(self, manifest: Manifest) -> bool:
        """Create an object; one that is there already stays as it is, and the answer is False.

        Raises:
            IsolationUnavailableError: The cluster's rules refuse it (403, 422): a guard or a quota speaks.
        """
        kind = manifest["kind"]
        try:
            self.call("POST", self.path(kind, manifest["metadata"].get("namespace", "")), manifest)
            return True
        except ApiException as error:
            if error.status == 409:
                return False
            if error.status == 401:
                raise ClusterUnavailableError(f"401 {_said(error)}") from error
            raise IsolationUnavailableError([f"{kind} {manifest['metadata']['name']}"], _said(error)) from error

    def remove(self, kind: str, name: str, namespace: str = "", *, grace: int | None = None) -> None:
        """Begin to delete an object; one that is not there is no error."""
        self.ask("DELETE", self.path(kind, namespace, name), {} if grace is None else {"gracePeriodSeconds": grace})

    def merge(self, kind: str, name: str, change: Manifest, namespace: str = "") -> None:
        """Merge ``change`` into an object; one that is not there stays away."""
        self.ask("PATCH", self.path(kind, namespace, name), change, content="application/merge-patch+json")

    def gone(self, kind: str, name: str, namespace: str = "", *, seconds: float) -> bool:
        """Return whether the object is gone within ``seconds``."""
        waits = pauses(seconds)
        while self.find(kind, name, namespace) is not None:
            if not next(waits):
                return False
        return True


def _said(error: ApiException) -> str:
    """Return the message of a refusal."""
    text = str(error.body or error.reason)
    return str(json.loads(text).get("message", text) if text.startswith("{") else text)[:400]


def pauses(seconds: float) -> Iterator[bool]:
    """Wait a little, then longer, up to half a second; False when ``seconds`` have passed."""
    until, pause = time.monotonic() + seconds, 0.03
    while time.monotonic() < until:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
        yield True
    while True:
        yield False
