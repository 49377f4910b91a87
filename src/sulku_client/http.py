"""Talking to the broker's API: addresses, tokens, one repeat where it is safe, and every no as an error with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from sulku import errors
from sulku.crypto import seal
from sulku.errors import AnsweredNoError, ServerUnreachableError, SulkuError

TIMEOUT: Final = httpx2.Timeout(60.0, connect=10.0)  # seconds; a verification of a long ledger takes its time
_BY_STATUS: Final = {401: 3, 403: 3, 404: 4, 409: 5, 410: 5, 412: 5, 429: 3, 400: 2, 405: 2, 413: 2, 415: 2, 422: 2}


class LocalTransport(httpx2.HTTPTransport):
    """Sends ``*.localhost`` to this machine, as browsers do (RFC 6761 section 6.3); resolvers often do not know such names."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``, keeping its Host header."""
        if not request.url.host.endswith(".localhost"):
            return super().handle_request(request)
        here = request.url.copy_with(host="127.0.0.1")
        moved = httpx2.Request(request.method, here, headers=request.headers, stream=request.stream, extensions=request.extensions)
        return super().handle_request(moved)


class Api:
    """The API of one broker, for one person in one role."""

    def __init__(self, server: str, token: Callable[[], str | None], role: str = "") -> None:
        """Connect to nobody yet; ``token`` is asked at each request."""
        self.server = server.rstrip("/")
        self._token = token
        self._role = role
        self._http = httpx2.Client(transport=LocalTransport(), timeout=TIMEOUT, follow_redirects=False, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return the document at ``path``, below ``/api/v1``."""
        return self._ask("GET", path, params={name: value for name, value in query.items() if value not in (None, "", [])}).json()

    def post(self, path: str, body: object = None) -> Any:
        """Ask for a change and return what came of it.

        One key stands for this one wish, so that it may be sent again when the connection breaks.
        """
        headers = {"Idempotency-Key": seal.token(16)}
        return self._ask("POST", path, json=body, headers=headers, again=True).json()

    def put(self, path: str, body: object) -> Any:
        """Set something and return what came of it."""
        return self._ask("PUT", path, json=body, headers={"Idempotency-Key": seal.token(16)}, again=True).json()

    def bytes(self, path: str, **query: Any) -> tuple[str, bytes]:
        """Return the name that the server gives a file, and its bytes."""
        answer = self._ask("GET", path, params=query)
        return file_name(answer.headers.get("content-disposition", "")), answer.content

    @contextmanager
    def stream(self, path: str, **query: Any) -> Iterator[httpx2.Response]:
        """Give a large file while it comes."""
        with self._guard(), self._http.stream("GET", self._address(path), params=query, headers=self._headers({})) as answer:
            if answer.status_code >= 400:
                answer.read()
            yield _accepted(answer)

    def _ask(self, method: str, path: str, *, again: bool = False, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        with self._guard():
            try:
                answer = self._http.request(method, self._address(path), headers=self._headers(headers or {}), **more)
            except (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.WriteError):
                if not again:
                    raise
                answer = self._http.request(method, self._address(path), headers=self._headers(headers or {}), **more)
            return _accepted(answer)

    def _address(self, path: str) -> str:
        return f"{self.server}/api/v1{path}"

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        token = self._token()
        return {
            "Accept": "application/json, */*;q=0.5",
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **({"Sulku-Role": self._role} if self._role and token else {}),
            **more,
        }

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise ServerUnreachableError(f"{self.server} does not answer as a broker does ({type(error).__name__})") from error


def _accepted(answer: httpx2.Response) -> httpx2.Response:
    """Return ``answer`` if it is a yes.

    Raises:
        AnsweredNoError: The broker said no.
    """
    if answer.status_code < 300:
        return answer
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {"title": "no", "status": answer.status_code, "code": "server-unreachable", "detail": f"answered {answer.status_code}"}
    raise AnsweredNoError(document, exit_of(str(document.get("code", "")), answer.status_code))


def exit_of(code: str, status: int) -> int:
    """Return the exit status that an error code stands for; of an unknown one, that of its HTTP status."""
    known = {one.code: one.exit for one in _tree(errors.SulkuError)}
    return known.get(code, _BY_STATUS.get(status, 6))


def _tree(root: type[SulkuError]) -> Iterator[type[SulkuError]]:
    yield root
    for branch in root.__subclasses__():
        yield from _tree(branch)


def file_name(disposition: str) -> str:
    """Return the plain file name in a Content-Disposition header, without any folder; empty if there is none."""
    _, _, rest = disposition.partition('filename="')
    name = rest.split('"')[0].replace("\\", "/").rsplit("/", 1)[-1]
    return name.lstrip(".") if name.isprintable() else ""
