"""Signing in: by a browser on this machine (code with PKCE to a loopback port, RFC 8252) or on another one (device flow, RFC 8628)."""

from __future__ import annotations

import base64
import hashlib
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from sulku.crypto import seal
from sulku.errors import IssuerUnavailableError, SignInFailedError
from sulku_client.config import Kept
from sulku_client.http import LocalTransport

SCOPE: Final = "openid profile email"
PATIENCE: Final = 300.0  # seconds that a browser has
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_DONE: Final = b"<!doctype html><html lang=en-GB><title>sulku</title><h1>Go back to your command line</h1><p>You can close this page."


@dataclass(frozen=True, slots=True)
class Issuer:
    """Where people sign in, as the broker says, and what the issuer publishes of itself."""

    address: str
    client: str
    audience: str
    published: dict[str, Any]

    def endpoint(self, name: str) -> str:
        """Return one of its addresses.

        Raises:
            IssuerUnavailableError: It publishes no such address.
        """
        found = self.published.get(name)
        if not isinstance(found, str):
            raise IssuerUnavailableError(f"{self.address} publishes no {name}")
        return found


def _http() -> httpx2.Client:
    return httpx2.Client(transport=LocalTransport(), timeout=10.0, trust_env=False)


def discover(said: dict[str, Any]) -> Issuer:
    """Return the issuer that the broker names in ``said`` (its ``/sign-in``).

    Raises:
        IssuerUnavailableError: It does not answer, or publishes itself as another.
    """
    address = str(said["issuer"]).rstrip("/")
    published = _json("GET", f"{address}/.well-known/openid-configuration")
    if str(published.get("issuer", "")).rstrip("/") != address:
        raise IssuerUnavailableError(f"{address} publishes itself as another issuer")
    return Issuer(address, str(said["client_id"]), str(said["audience"]), published)


def by_browser(issuer: Issuer, show: Callable[[str], None], open_: Callable[[str], object] = webbrowser.open) -> Kept:
    """Sign in by this machine's browser and return what to keep.

    Args:
        show: Called with the address, in case no browser opens.

    Raises:
        SignInFailedError: Refused, or nobody came back in five minutes.
        IssuerUnavailableError: The issuer does not answer.
    """
    state, verifier = seal.token(), seal.token()
    with _Loopback(("127.0.0.1", 0), _Callback) as back:
        redirect = f"http://127.0.0.1:{back.server_port}/callback"
        asked = {
            "response_type": "code",
            "client_id": issuer.client,
            "redirect_uri": redirect,
            "scope": SCOPE,
            "audience": issuer.audience,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = f"{issuer.endpoint('authorization_endpoint')}?{urlencode(asked)}"
        show(address)
        open_(address)
        answer = back.wait()
    if answer.get("state") != state or "code" not in answer:
        raise SignInFailedError(f"the issuer refused: {answer.get('error', 'not the answer to our question')}")
    form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": redirect, "code_verifier": verifier}
    return _kept(_json("POST", issuer.endpoint("token_endpoint"), {**form, "client_id": issuer.client}))


def by_device(issuer: Issuer, show: Callable[[str, str], None], pause: Callable[[float], None] = time.sleep) -> Kept:
    """Sign in by a browser anywhere and return what to keep.

    Args:
        show: Called with the address to open and the code that it must show.

    Raises:
        SignInFailedError: Refused, or the code expired.
        IssuerUnavailableError: The issuer does not answer.
    """
    asked = {"client_id": issuer.client, "scope": SCOPE, "audience": issuer.audience}
    device = _json("POST", issuer.endpoint("device_authorization_endpoint"), asked)
    show(str(device.get("verification_uri_complete") or device["verification_uri"]), str(device["user_code"]))
    interval = float(device.get("interval", 5))
    form = {"grant_type": DEVICE_GRANT, "device_code": device["device_code"], "client_id": issuer.client}
    left = float(device.get("expires_in", 600))
    while left > 0:
        pause(interval)
        left -= interval
        answer = _json("POST", issuer.endpoint("token_endpoint"), form, waiting=True)
        match answer.get("error"):
            case None:
                return _kept(answer)
            case "authorization_pending":
                continue
            case "slow_down":
                interval += 5
            case refused:
                raise SignInFailedError(f"the issuer refused: {refused}")
    raise SignInFailedError("nobody typed the code in time")


class _Loopback(HTTPServer):
    """A server that takes one answer."""

    timeout = 1.0
    answer: dict[str, str] | None = None

    def wait(self) -> dict[str, str]:
        """Return the query that a browser brings.

        Raises:
            SignInFailedError: None came.
        """
        until = time.monotonic() + PATIENCE
        while self.answer is None and time.monotonic() < until:
            self.handle_request()
        if self.answer is None:
            raise SignInFailedError("nobody signed in within five minutes")
        return self.answer


class _Callback(BaseHTTPRequestHandler):
    """Takes the issuer's answer off the browser's address."""

    server: _Loopback

    def do_GET(self) -> None:
        """Keep the query of ``/callback``; anything else is not found."""
        parts = urlsplit(self.path)
        found = parts.path == "/callback"
        if found:
            self.server.answer = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(_DONE if found else b"")

    def log_message(self, *_: object) -> None:
        """Say nothing: the address holds a code."""


def _kept(tokens: dict[str, Any]) -> Kept:
    token = tokens.get("access_token")
    if not isinstance(token, str) or not token:
        raise SignInFailedError("the issuer gave no access token")
    return Kept(token=token, until=int(time.time()) + int(tokens.get("expires_in", 300)))


def _json(method: str, address: str, form: dict[str, Any] | None = None, *, waiting: bool = False) -> dict[str, Any]:
    try:
        with _http() as http:
            answer = http.request(method, address, data=form, headers={"Accept": "application/json"})
            body = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise IssuerUnavailableError(f"{address.split('?', maxsplit=1)[0]} does not answer ({type(error).__name__})") from error
    if not isinstance(body, dict) or (method == "GET" and answer.status_code != 200):
        raise IssuerUnavailableError(f"{address} does not answer as an issuer does")
    if answer.status_code >= 400 and not waiting:
        raise SignInFailedError(f"the issuer refused: {body.get('error', answer.status_code)}")
    return body
