"""Relying on an OpenID Connect issuer: sign-in by code with PKCE, and access tokens for the API. Any issuer, no trust in its answers.

OpenID Connect Core 1.0 section 3.1, Discovery 1.0; PKCE: RFC 7636; access tokens: RFC 9068; issuer in the answer: RFC 9207.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from broker.adapters.clock import monotonic
from sulku.crypto import seal
from sulku.errors import BadTokenError, IssuerUnavailableError, SignInFailedError
from sulku.ports import Clock

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")  # asymmetric only: a shared secret proves nobody's origin
MAX_AGE: Final = 12 * 3600  # seconds since the person last proved themselves; policy asks for no older
LEEWAY: Final = 60  # seconds that two clocks may differ
MAX_TOKEN: Final = 16 * 1024
_KEYS_EVERY: Final = 10.0  # seconds at least between two fetches of the keys, so that made-up key ids are no lever
_DISCOVER_EVERY: Final = 3600.0
_LAST: Final = 2**33  # the year 2242; no time beyond it is believed
_FACTORS: Final = ({"pwd", "pin", "kba"}, {"otp", "hwk", "swk", "sc", "sms", "tel"}, {"face", "fpt", "iris", "retina", "vbm"})


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whom an issuer vouches for.

    Attributes:
        subject: ``issuer|sub``.
        email: As the issuer verified it; empty if it did not say that it had.
        mfa: More than one factor (``amr``, RFC 8176).
        at: When they last proved themselves; ``None`` if the issuer does not say, which policy takes for too long ago.
        issued: When the issuer gave this out; ``None`` if it does not say.
        until: From when on it is not taken any more.
    """

    subject: str
    email: str
    name: str
    mfa: bool
    at: datetime | None
    issued: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True)
class Pending:
    """What a browser keeps (sealed) between leaving for the issuer and coming back."""

    state: str
    nonce: str
    verifier: str


class LocalTransport(httpx2.HTTPTransport):
    """Sends ``*.localhost`` to this machine, as browsers do (RFC 6761 section 6.3); resolvers often do not know such names."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``, keeping its Host header."""
        if not request.url.host.endswith(".localhost"):
            return super().handle_request(request)
        here = request.url.copy_with(host="127.0.0.1")  # a copy: cookies belong to the name that was asked for
        moved = httpx2.Request(request.method, here, headers=request.headers, stream=request.stream, extensions=request.extensions)
        return super().handle_request(moved)


class RelyingParty:
    """One client at one issuer."""

    def __init__(
        self, issuer: str, client_id: str, *, audience: str, clock: Clock, secret: str = "", http: httpx2.Client | None = None
    ) -> None:
        """Talk to nobody yet; an issuer that is away is found out at the first sign-in, not at the start."""
        self.issuer = issuer.rstrip("/")
        self.client_id = client_id
        self.audience = audience
        self._clock = clock
        self._secret = secret
        self._http = http or httpx2.Client(transport=LocalTransport(), timeout=5.0, follow_redirects=False, trust_env=False)
        self._lock = threading.Lock()
        self._found: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._emails: dict[str, tuple[float, dict[str, Any]]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- sign-in ------------------------------------------------------------------------------------------------------

    def leave(self, redirect_uri: str) -> tuple[str, Pending]:
        """Return the address to send a browser to, and what it must bring back.

        Raises:
            IssuerUnavailableError: The issuer does not publish what it must.
        """
        pending = Pending(seal.token(), seal.token(), seal.token())
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid profile email",
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": challenge(pending.verifier),
            "code_challenge_method": "S256",
            "max_age": str(MAX_AGE),
        }
        return f"{self._endpoint('authorization_endpoint')}?{urlencode(asked)}", pending

    def arrive(self, pending: Pending, answer: Mapping[str, str], redirect_uri: str) -> SignedIn:
        """Return whom the issuer vouches for in its ``answer`` (the query that the browser came back with).

        Raises:
            SignInFailedError: Refused, not the answer to our question, or not signed as it must be.
            IssuerUnavailableError: The issuer does not answer.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), pending.state.encode()):
            raise SignInFailedError("the answer is not to the question that this browser asked")
        if answer.get("iss", self.issuer).rstrip("/") != self.issuer:
            raise SignInFailedError("the answer is from another issuer")
        if "code" not in answer:
            raise SignInFailedError(f"the issuer refused: {answer.get('error', 'no code')[:60]}")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
            "client_id": self.client_id,
        }
        auth = (self.client_id, self._secret) if self._secret else None
        tokens = self._json("POST", self._endpoint("token_endpoint"), data=form, auth=auth)
        claims = self._claims(str(tokens.get("id_token", "")), self.client_id, SignInFailedError)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), pending.nonce.encode()):
            raise SignInFailedError("the id token is for another sign-in")
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != self.client_id:
            raise SignInFailedError("the id token is for another client too")
        if not isinstance(claims.get("auth_time"), int):  # required, as max_age was asked for (Core 3.1.2.1)
            raise SignInFailedError("the issuer does not say when the person proved themselves")
        return self._signed_in(claims)

    def sign_out_url(self, back: str) -> str:
        """Return where a browser ends its session at the issuer too; ``back`` if the issuer has no such place."""
        try:
            end = self._discover().get("end_session_endpoint")
        except IssuerUnavailableError:
            return back
        if not isinstance(end, str) or not end:
            return back
        return f"{end}?{urlencode({'client_id': self.client_id, 'post_logout_redirect_uri': back})}"

    # --- access tokens ------------------------------------------------------------------------------------------------

    def bearer(self, token: str) -> SignedIn:
        """Return whom an access token stands for.

        Raises:
            BadTokenError: Expired, for another audience, of another issuer, or not signed as it must be.
            IssuerUnavailableError: The issuer's keys cannot be had.
        """
        claims = self._claims(token, self.audience, BadTokenError)
        if not claims.get("email"):
            said = self._user_info(token, claims)
            claims |= {name: said[name] for name in ("email", "email_verified", "name") if name in said}
        return self._signed_in(claims)

    def _user_info(self, token: str, claims: dict[str, Any]) -> dict[str, Any]:
        """Ask the issuer for what its access token leaves out, once a token."""
        key, now = seal.digest(token), monotonic()
        known = self._emails.get(key)
        if known is None or known[0] < now:
            endpoint = self._discover().get("userinfo_endpoint")
            said = self._json("GET", endpoint, headers={"Authorization": f"Bearer {token}"}) if isinstance(endpoint, str) else {}
            self._emails = {one: value for one, value in self._emails.items() if value[0] >= now}
            known = self._emails[key] = (now + 300, said if said.get("sub") == claims.get("sub") else {})
        return known[1]

    # --- what the issuer publishes ------------------------------------------------------------------------------------

    def _discover(self) -> dict[str, Any]:
        with self._lock:
            if self._found is not None and self._found[0] > monotonic() - _DISCOVER_EVERY:
                return self._found[1]
        found = self._json("GET", f"{self.issuer}/.well-known/openid-configuration")
        if str(found.get("issuer", "")).rstrip("/") != self.issuer:
            raise IssuerUnavailableError(f"{self.issuer} publishes itself as another issuer")
        with self._lock:
            self._found = (monotonic(), found)
        return found

    def _endpoint(self, name: str) -> str:
        address = self._discover().get(name)
        if not isinstance(address, str) or urlsplit(address).scheme not in {"http", "https"}:
            raise IssuerUnavailableError(f"the issuer publishes no {name}")
        if self.issuer.startswith("https:") and not address.startswith("https:"):
            raise IssuerUnavailableError(f"the issuer's {name} is not https")
        return address

    def _key_set(self, *, newer_than: float | None = None) -> tuple[float, KeySet]:
        with self._lock:
            known = self._keys
        if known is not None and (newer_than is None or known[0] > newer_than or monotonic() - known[0] < _KEYS_EVERY):
            return known
        raw = self._json("GET", self._endpoint("jwks_uri"))
        try:
            fresh = (monotonic(), KeySet.import_key_set(raw))  # type: ignore[arg-type]  # checked by the import itself
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise IssuerUnavailableError("the issuer's keys cannot be read") from error
        with self._lock:
            self._keys = fresh
        return fresh

    def _claims(self, token: str, audience: str, wrong: type[BadTokenError | SignInFailedError]) -> dict[str, Any]:
        if not token or len(token) > MAX_TOKEN:
            raise wrong("there is no token, or it is too long")
        read_at, keys = self._key_set()
        try:
            claims = self._verified(token, keys)
        except (JoseError, ValueError):
            again, keys = self._key_set(newer_than=read_at)
            if again == read_at:
                raise wrong("the token is not signed by the issuer's present keys") from None
            try:
                claims = self._verified(token, keys)
            except (JoseError, ValueError):
                raise wrong("the token is not signed by the issuer's present keys") from None
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=LEEWAY,
            iss={"essential": True, "values": [self.issuer, self.issuer + "/"]},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            rules.validate(claims)
        except JoseError as error:
            raise wrong(f"the token cannot be taken: {error.description or error.error}") from None
        return claims

    @staticmethod
    def _verified(token: str, keys: KeySet) -> dict[str, Any]:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        if not isinstance(claims, dict):
            raise ValueError("claims are an object")  # noqa: TRY004  # one kind for every token that is not one
        return claims

    def _signed_in(self, claims: Mapping[str, Any]) -> SignedIn:
        verified = claims.get("email_verified") is True
        return SignedIn(
            subject=f"{self.issuer}|{claims['sub']}",
            email=str(claims.get("email", "")) if verified else "",
            name=str(claims.get("name", ""))[:200],
            mfa=several_factors(claims.get("amr")),
            at=_moment(claims.get("auth_time")),
            issued=_moment(claims.get("iat")),
            until=datetime.fromtimestamp(min(int(claims["exp"]), _LAST) + LEEWAY + 1, UTC),
        )

    def _json(self, method: str, address: str, **more: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, address, headers={"Accept": "application/json", **more.pop("headers", {})}, **more)
            body = answer.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise IssuerUnavailableError(f"the issuer does not answer: {type(error).__name__}") from error
        if answer.status_code in {400, 401, 403} and method == "POST":
            raise SignInFailedError(f"the issuer refused: {str(body.get('error', answer.status_code))[:60]}")
        if answer.status_code != 200 or not isinstance(body, dict):
            raise IssuerUnavailableError(f"the issuer answered {answer.status_code}")
        return body


def _moment(said: object) -> datetime | None:
    """Return a NumericDate (RFC 7519 section 2) as a time; ``None`` if it is none."""
    return datetime.fromtimestamp(said, UTC) if isinstance(said, int) and 0 < said < _LAST else None


def challenge(verifier: str) -> str:
    """Return the S256 code challenge of a PKCE verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def several_factors(amr: object) -> bool:
    """Return whether authentication methods (RFC 8176) make more than one factor: ``mfa``, or two of different kinds."""
    if not isinstance(amr, list):
        return False
    named = {str(method) for method in amr}
    return "mfa" in named or sum(bool(named & kind) for kind in _FACTORS) > 1
