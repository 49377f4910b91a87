"""The doctor's pods: made, watched, heard by what they print, and removed; and two things of the API that only the doctor asks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from broker.adapters.kubernetes_api import SECONDS, Api
from sulku.errors import ClusterUnavailableError, SandboxError
from sulku.manifests import TUNNEL, WORKSPACE, Manifest
from sulku.rehearsal import DOCTOR
from sulku.soundness import Seen

START: Final = 60.0  # seconds that a pod may take to start
GONE: Final = 60.0
SAY: Final = 4.0  # seconds of waiting after which it is said for what
LINES: Final = 24  # of a pod's log; a round comes with two or three beats


class Eyes(Api):
    """The API server, asked for logs and for its clock as well, and on behalf of others."""

    @classmethod
    def of(cls, api: Api) -> Self:
        """Return the same connection, with eyes."""
        return cls(api._client)  # noqa: SLF001 one connection, two views of it

    def text(self, path: str, query: Mapping[str, str]) -> tuple[str, datetime]:
        """Return an answer that is not JSON, and when the server says that it gave it.

        Raises:
            ApiException: The server says no.
            ClusterUnavailableError: No server answers.
        """
        headers = {"Accept": "*/*", **self._client.default_headers}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        pairs = "&".join(f"{name}={value}" for name, value in query.items())
        ask: Any = self._client.rest_client.request
        try:
            answer = ask("GET", f"{self._client.configuration.host}{path}?{pairs}", headers=headers, _request_timeout=SECONDS)
        except HTTPError as error:
            raise ClusterUnavailableError(f"{type(error).__name__}: {error}"[:300]) from error
        body = answer.read().decode(errors="replace")
        if answer.status >= 400:
            raise ApiException(status=answer.status, reason=body[:300])
        return body, parsedate_to_datetime(answer.getheaders()["Date"])

    def find_account(self, space: str, name: str) -> Manifest | None:
        """Return a service account, ``None`` if there is none."""
        found = self.call("GET", f"/api/v1/namespaces/{space}/serviceaccounts")["items"]
        return next((one for one in found if one["metadata"]["name"] == name), None)

    def as_account(self, account: str) -> Self:
        """Return the same server, asked on behalf of ``account``; the server decides whether we may."""
        client = ApiClient(self._client.configuration)
        client.default_headers["Impersonate-User"] = account
        return type(self)(client)


class Ward:
    """The pods of one run of the doctor."""

    def __init__(self, api: Eyes, run: str, say: Callable[[str], None]) -> None:
        """Keep them; nothing happens yet. What is a tunnel's is asked for as ``worker``, once there is one."""
        self.api, self.run, self._tell = api, run, say
        self.worker = api
        self._told = time.monotonic()

    def say(self, text: str) -> None:
        """Say what is being done."""
        self._told = time.monotonic()
        self._tell(text)

    def make(self, manifests: Iterable[Manifest], api: Api | None = None) -> None:
        """Create objects, as ``api`` if given.

        Raises:
            IsolationUnavailableError: The cluster's rules refuse one.
        """
        for one in manifests:
            (api or self.api).make(one)

    def pod(self, space: str, name: str) -> Manifest:
        """Return a pod; SandboxError if it is gone."""
        found = self.api.find("Pod", name, space)
        if found is None:
            raise SandboxError(f"pod {name} is gone")
        return found

    def started(self, space: str, name: str, container: str = WORKSPACE) -> Manifest:
        """Return a pod once its container runs.

        Raises:
            SandboxError: It does not in time, and what the cluster says about it.
        """
        found: list[Manifest] = []

        def runs() -> bool:
            pod = self.pod(space, name)
            states = {one["name"]: one["state"] for one in pod["status"].get("containerStatuses", [])}
            found[:] = [pod]
            failed = pod["status"].get("phase") == "Failed"
            if failed or self._hopeless(space, name):
                raise SandboxError(f"pod {name} does not start: {self.why(space, name)}")
            return "running" in states.get(container, {}) and bool(pod["status"].get("podIP"))

        self.wait(f"pod {name} to start", runs, lambda: self.why(space, name))
        return found[0]

    def _hopeless(self, space: str, name: str) -> bool:
        """Return whether the kubelet has said twice that it cannot make the pod."""
        return sum(one.get("count") or 1 for one in self._warnings(space, name)) >= 2

    def _warnings(self, space: str, name: str) -> list[Manifest]:
        query = {"fieldSelector": f"involvedObject.name={name},type=Warning"}
        found = self.api.call("GET", f"/api/v1/namespaces/{space}/events", query=query)["items"]
        return [one for one in found if one.get("reason", "").startswith("Failed") and one["reason"] != "FailedScheduling"]

    def why(self, space: str, name: str) -> str:
        """Return what the cluster says about a pod that does not run, for an operator."""
        status = self.pod(space, name)["status"]
        if status.get("phase") == "Running":
            return "it runs"
        unmet = [one.get("message", "") for one in status.get("conditions", []) if one.get("status") == "False"]
        waiting = [one["state"].get("waiting", {}).get("message", "") for one in status.get("containerStatuses", [])]
        ended = [json.dumps(one["state"]["terminated"]) for one in status.get("containerStatuses", []) if "terminated" in one["state"]]
        events = [one.get("message", "") for one in self._warnings(space, name)]
        said = [status.get("message", ""), *events, *waiting, *ended, *unmet]
        return "; ".join(dict.fromkeys(one for one in said if one))[:300] or status.get("phase", "unknown")

    def wait(self, what: str, ready: Callable[[], bool], why: Callable[[], str] = str, seconds: float = START) -> None:
        """Wait until ``ready``, and say every few seconds what for.

        Raises:
            SandboxError: It is not in time.
        """
        began = time.monotonic()
        while not ready():
            now = time.monotonic()
            if now - began > seconds:
                raise SandboxError(f"waited {seconds:.0f} s for {what}: {why()}")
            if now - self._told > SAY:
                self.say(f"waiting for {what} ({now - began:.0f} s) {why()}")
            time.sleep(0.1)

    # --- what they print --------------------------------------------------------------------------------------------

    def lines(self, space: str, name: str, container: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return lines of a container's log that are whole."""
        text, _ = self.api.text(f"{self.api.path('Pod', space, name)}/log", {"container": container, **query})
        found = []
        for line in text.splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [one for one in found if isinstance(one, dict) and "say" in one]

    def first(self, space: str, name: str, kind: str, container: str = WORKSPACE) -> dict[str, Any]:
        """Return the first line of a kind, once it is there.

        Raises:
            SandboxError: The program ended, or said nothing in time.
        """
        found: list[dict[str, Any]] = []

        def said() -> bool:
            found[:] = [one for one in self.lines(space, name, container, {"limitBytes": "60000"}) if one["say"] == kind]
            return bool(found)

        self.wait(f"{name} to say {kind}", said, lambda: self.why(space, name))
        return found[0]

    def rounds(self, space: str, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the next rounds of a pod that all begin after now, in their order.

        Raises:
            SandboxError: It does not get that far.
        """
        known = self._rounds(space, name)
        first = max(known, default=0) + 2  # the next one may have begun already
        found: dict[int, dict[str, Any]] = {}

        def enough() -> bool:
            found.update(self._rounds(space, name))
            return all(number in found for number in range(first, first + count))

        self.wait(f"{count} rounds of {name}", enough, lambda: self.why(space, name))
        return [found[number] for number in range(first, first + count)]

    def _rounds(self, space: str, name: str) -> dict[int, dict[str, Any]]:
        return {one["number"]: one for one in self.lines(space, name, WORKSPACE, {"tailLines": str(LINES)}) if one["say"] == "round"}

    # --- removal ----------------------------------------------------------------------------------------------------

    def left(self, run: str = "") -> list[tuple[str, Manifest]]:
        """Return kind and object of every namespace, volume and stray pod that a doctor has made; of one run, if given."""
        selector = f"{DOCTOR}={run}" if run else DOCTOR
        found = [(kind, one) for kind in ("Namespace", "PersistentVolume") for one in self.api.every(kind, selector)]
        spaces = {one["metadata"]["name"] for _, one in found}
        pods = self.api.call("GET", "/api/v1/pods", query={"labelSelector": selector})["items"]
        return found + [("Pod", one) for one in pods if one["metadata"]["namespace"] not in spaces]

    def remove(self, objects: Iterable[tuple[str, Manifest]]) -> None:
        """Begin to delete objects, and what is in them, as whoever may."""
        for kind, one in objects:
            about = one["metadata"]
            api = self.worker if TUNNEL in about.get("labels", {}) and kind != "Pod" else self.api
            with suppress(ApiException, ClusterUnavailableError):  # what is left is said at the end
                api.remove(kind, about["name"], about.get("namespace", ""), grace=1 if kind == "Pod" else None)

    def cleared(self) -> list[str]:
        """Wait until all of this run is gone and return the names of what is not."""
        with suppress(SandboxError):
            self.wait("everything to be gone", lambda: not self.left(self.run), seconds=GONE)
        return [f"{kind} {one['metadata']['name']}" for kind, one in self.left(self.run)]


def seen(round_: Mapping[str, Any]) -> Seen:
    """Return what a round reached."""
    return {name: (bool(got), str(how)) for name, (got, how) in round_["got"].items()}
