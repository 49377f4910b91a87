"""What the development issuer remembers and says: codes with PKCE (S256), device codes (RFC 8628), and tokens.

All state is in memory and the signing key is drawn at the start, so a restart signs everybody out.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from broker.adapters.oidc import challenge
from broker.settings import Mode, Settings
from sulku import ids
from sulku.crypto import seal
from sulku.errors import ConfigurationError
from sulku.ports import Clock

CODE_LIFE: Final = 60  # seconds
DEVICE_LIFE: Final = 600
TOKEN_LIFE: Final = 8 * 3600
INTERVAL: Final = 2  # seconds between two polls of a device
MOST_PENDING: Final = 1000  # sign-ins under way; the oldest give way
_LOOPBACK: Final = re.compile(r"http://127\.0\.0\.1:\d{1,5}/callback")  # any port: RFC 8252 section 7.3
_SAID: Final = ("client_id", "redirect_uri", "state", "nonce", "code_challenge")


@dataclass(frozen=True, slots=True)
class StandIn:
    """A development person, one button: what the tokens will claim of them."""

    sub: str
    name: str
    email: str
    organisation: str = ""
    groups: tuple[str, ...] = ()
    note: str = ""  # what the button says besides the name, such as their role


@dataclass(frozen=True, slots=True)
class _Code:
    """A code that was given out: to which client, for whom, with which challenge, and until when (seconds)."""

    asked: Mapping[str, str]
    person: StandIn
    until: float


@dataclass(frozen=True, slots=True)
class _Device:
    """A device that waits: ``person`` once somebody chose, ``refused`` if they said no."""

    client: str
    user_code: str
    until: float
    person: StandIn | None = None
    refused: bool = False
    polled: float = 0.0


class GrantRefusedError(Exception):
    """The protocol's own kind of no; ``code`` is one of RFC 6749's or RFC 8628's."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(text or code)
        self.code = code


class Issuer:
    """Everything that the issuer remembers and can say."""

    def __init__(self, settings: Settings, people: Callable[[], Iterable[StandIn]], clock: Clock) -> None:
        """Draw a key.

        Raises:
            ConfigurationError: This is production, where nobody is let in by a button.
        """
        if settings.mode is Mode.PRODUCTION:
            raise ConfigurationError("the development issuer does not run in production; name a real one as `issuer`")
        self.address = settings.issuer.rstrip("/")
        self.settings = settings
        self.people = people
        self._clock = clock
        self._key = ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"})
        self._key.ensure_kid()
        self._codes: dict[str, _Code] = {}
        self._devices: dict[str, _Device] = {}

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._clock.now().timestamp()

    def person(self, sub: str) -> StandIn:
        """Return a development person.

        Raises:
            GrantRefusedError: There is no such person.
        """
        for person in self.people():
            if person.sub == sub:
                return person
        raise GrantRefusedError("access_denied", "There is no such development person.")

    def discovery(self) -> dict[str, Any]:
        """Return what the issuer publishes of itself."""
        at = self.address
        return {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "device_authorization_endpoint": f"{at}/device_authorization",
            "userinfo_endpoint": f"{at}/userinfo",
            "jwks_uri": f"{at}/keys",
            "end_session_endpoint": f"{at}/end",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "scopes_supported": ["openid", "profile", "email"],
            "authorization_response_iss_parameter_supported": True,
        }

    def keys(self) -> dict[str, Any]:
        """Return the public keys."""
        return dict(KeySet([self._key]).as_dict(private=False))

    def check(self, asked: Mapping[str, str]) -> dict[str, str]:
        """Return the part of an authorisation request that counts.

        Raises:
            GrantRefusedError: An unknown client or address (never redirected to), or not code with PKCE.
        """
        client, back = asked.get("client_id", ""), asked.get("redirect_uri", "")
        known = {self.settings.client_id: {f"{self.settings.url.rstrip('/')}/signed-in"}, self.settings.cli_client_id: set()}
        if client not in known:
            raise GrantRefusedError("invalid_client", "This client is not known here.")
        loopback = client == self.settings.cli_client_id and _LOOPBACK.fullmatch(back)
        if back not in known[client] and not loopback:
            raise GrantRefusedError("invalid_request", "This client has no such address to come back to.")
        if asked.get("response_type") != "code" or asked.get("code_challenge_method") != "S256":
            raise GrantRefusedError("invalid_request", "Only the code flow with PKCE (S256) is spoken here.")
        if not re.fullmatch(r"[A-Za-z0-9_-]{43}", asked.get("code_challenge", "")) or len(asked.get("state", "")) > 500:
            raise GrantRefusedError("invalid_request", "The code challenge is not one of S256.")
        return {name: asked.get(name, "")[:500] for name in _SAID}

    def grant(self, asked: Mapping[str, str], sub: str) -> str:
        """Return the address to send the browser back to, with a code for ``sub``; an empty ``sub`` is a refusal."""
        asked = self.check({**asked, "response_type": "code", "code_challenge_method": "S256"})
        answer = {"state": asked["state"], "iss": self.address}
        if not sub:
            return f"{asked['redirect_uri']}?{urlencode({**answer, 'error': 'access_denied'})}"
        code = seal.token()
        _keep(self._codes, code, _Code(asked, self.person(sub), self.now() + CODE_LIFE))
        return f"{asked['redirect_uri']}?{urlencode({**answer, 'code': code})}"

    def redeem(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the tokens for a code, once.

        Raises:
            GrantRefusedError: Unknown, used or old, for another client or address, or without its verifier.
        """
        given = self._codes.pop(form.get("code", ""), None)
        if given is None or given.until < self.now():
            raise GrantRefusedError("invalid_grant")
        same = form.get("client_id") == given.asked["client_id"] and form.get("redirect_uri") == given.asked["redirect_uri"]
        if not same or not hmac.compare_digest(challenge(form.get("code_verifier", "")), given.asked["code_challenge"]):
            raise GrantRefusedError("invalid_grant")
        return self.tokens(given.person, given.asked["client_id"], given.asked["nonce"])

    def begin_device(self, client: str) -> dict[str, Any]:
        """Return the codes for a device that has no browser.

        Raises:
            GrantRefusedError: Only the command line may.
        """
        if client != self.settings.cli_client_id:
            raise GrantRefusedError("unauthorized_client")
        device_code = seal.token()
        letters = ids.new("dec")[4:12].upper()  # 40 random bits in an alphabet that is read out loud without mistakes
        user_code = f"{letters[:4]}-{letters[4:]}"
        _keep(self._devices, device_code, _Device(client, user_code, self.now() + DEVICE_LIFE))
        at = f"{self.address}/device"
        return {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": at,
            "verification_uri_complete": f"{at}?{urlencode({'user_code': user_code})}",
            "expires_in": DEVICE_LIFE,
            "interval": INTERVAL,
        }

    def waiting(self, user_code: str) -> str:
        """Return the device code that ``user_code`` stands for.

        Raises:
            GrantRefusedError: No device waits under it.
        """
        wanted = user_code.strip().upper()
        for code, device in self._devices.items():
            if device.user_code == wanted and device.until >= self.now() and device.person is None and not device.refused:
                return code
        raise GrantRefusedError("invalid_grant", "No device waits under this code. It may have expired: start again.")

    def choose(self, user_code: str, sub: str) -> None:
        """Let the device under ``user_code`` in as ``sub``; an empty ``sub`` refuses it."""
        code = self.waiting(user_code)
        person = self.person(sub) if sub else None
        self._devices[code] = replace(self._devices[code], person=person, refused=person is None)

    def poll(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the tokens for a device once somebody chose.

        Raises:
            GrantRefusedError: ``authorization_pending``, ``slow_down``, ``expired_token`` or ``access_denied`` (RFC 8628 section 3.5).
        """
        code, now = form.get("device_code", ""), self.now()
        device = self._devices.get(code)
        if device is None or form.get("client_id") != device.client:
            raise GrantRefusedError("invalid_grant")
        if device.until < now:
            raise GrantRefusedError("expired_token")
        if device.refused:
            raise GrantRefusedError("access_denied")
        if device.person is None:
            self._devices[code] = replace(device, polled=now)
            raise GrantRefusedError("slow_down" if now - device.polled < INTERVAL / 2 else "authorization_pending")
        del self._devices[code]
        return self.tokens(device.person, device.client, "")

    def tokens(self, person: StandIn, client: str, nonce: str) -> dict[str, Any]:
        """Return an id token for ``client`` and an access token for the API."""
        now = int(self.now())
        claims = {
            "iss": self.address,
            "sub": person.sub,
            "iat": now,
            "exp": now + TOKEN_LIFE,
            "auth_time": now,
            "amr": ["pwd", "otp"],  # what a real issuer would say of two factors; here it is only said
            **_about(person),
        }
        access = {**claims, "aud": self.settings.audience, "client_id": client, "jti": seal.token(16)}
        identity = {**claims, "aud": client, **({"nonce": nonce} if nonce else {})}
        return {
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE,
            "access_token": self._signed(access, "at+jwt"),
            "id_token": self._signed(identity, "JWT"),
        }

    def _signed(self, claims: dict[str, Any], kind: str) -> str:
        return jwt.encode({"alg": "ES256", "kid": self._key.kid, "typ": kind}, claims, self._key)

    def user_info(self, token: str) -> dict[str, Any]:
        """Return what the access token says of its person.

        Raises:
            GrantRefusedError: It is not one of ours.
        """
        try:
            claims = jwt.decode(token, self._key, algorithms=["ES256"]).claims
        except ValueError as error:  # every error of the library is one
            raise GrantRefusedError("invalid_token") from error
        if claims.get("aud") != self.settings.audience or claims.get("exp", 0) < self.now():
            raise GrantRefusedError("invalid_token")
        return {"sub": claims["sub"], **_about(self.person(claims["sub"]))}


def _about(person: StandIn) -> dict[str, Any]:
    return {
        "name": person.name,
        "email": person.email,
        "email_verified": True,
        "organisation": person.organisation,
        "groups": list(person.groups),
    }


def _keep(table: dict[str, Any], key: str, value: Any) -> None:
    while len(table) >= MOST_PENDING:
        del table[next(iter(table))]
    table[key] = value
