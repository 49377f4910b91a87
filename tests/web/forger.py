"""An issuer that a test holds by the hand: it signs whatever it is told to, with whichever key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.web.rig import listen, served


def key() -> ECKey:
    """Return a fresh key with an id."""
    made = ECKey.generate_key("P-256")
    made.ensure_kid()
    return made


@dataclass
class Forger:
    """What the issuer publishes and answers; tests change it between requests."""

    address: str
    keys: list[ECKey] = field(default_factory=lambda: [key()])
    published: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    user_info: dict[str, Any] = field(default_factory=dict)
    key_reads: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    def claims(self, now: int, **more: Any) -> dict[str, Any]:
        """Return the claims of an honest token."""
        honest = {"iss": self.address, "sub": "1", "aud": "sulku", "iat": now, "exp": now + 300, "auth_time": now, "amr": ["pwd", "otp"]}
        return {**honest, "email": "aino@example.org", "email_verified": True, **more}

    def sign(self, claims: dict[str, Any], with_: ECKey | OctKey | None = None, **header: Any) -> str:
        """Return a token."""
        chosen = with_ or self.keys[0]
        full = {"alg": "ES256", "kid": chosen.kid, **header}
        return jwt.encode(full, claims, chosen, algorithms=[full["alg"]])

    def app(self) -> Starlette:
        """Return the application."""

        async def discovery(_: Request) -> JSONResponse:
            at = self.address
            own = {"issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token", "jwks_uri": f"{at}/keys"}
            return JSONResponse({**own, "userinfo_endpoint": f"{at}/userinfo", **self.published})

        async def keys(_: Request) -> JSONResponse:
            self.key_reads += 1
            return JSONResponse(KeySet(list(self.keys)).as_dict(private=False))

        async def token(request: Request) -> JSONResponse:
            self.asked.append(dict(await request.form()))
            return JSONResponse(self.answer, self.status)

        async def user_info(_: Request) -> JSONResponse:
            return JSONResponse(self.user_info)

        paths = (("/.well-known/openid-configuration", discovery), ("/keys", keys), ("/userinfo", user_info))
        return Starlette(routes=[*(Route(path, do) for path, do in paths), Route("/token", token, methods=["POST"])])


@contextmanager
def forging() -> Iterator[Forger]:
    """Run such an issuer until the block ends."""
    at = listen()
    forger = Forger(f"http://127.0.0.1:{at.getsockname()[1]}")
    with served(forger.app(), at):
        yield forger
