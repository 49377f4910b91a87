"""Who is asking: a sealed cookie after sign-in, or a bearer token; the directory is asked anew at each request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.adapters.oidc import Pending, RelyingParty, SignedIn
from broker.flows import people
from broker.settings import Settings, secret
from broker.web import problems
from sulku.codec import stamp, unstamp
from sulku.crypto import seal
from sulku.errors import (
    BadTokenError,
    BoundElsewhereError,
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
    SignInFailedError,
    SignInRequiredError,
    SulkuError,
)
from sulku.people import Actor, Role
from sulku.ports import Clock, Ports

ROLE_HEADER: Final = "sulku-role"  # which held role a bearer of a token acts in
PENDING_LIFE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Session:
    """What the cookie holds. ``at``, ``issued`` and ``until`` are stamps; ``role`` is empty until the person chooses one."""

    id: str
    subject: str
    mfa: bool
    at: str
    issued: str
    until: str
    role: str = ""

    def signed_in(self) -> SignedIn:
        """Return the sign-in that it stands for; without an e-mail address, so that a cookie binds nothing."""
        return SignedIn(self.subject, "", "", self.mfa, unstamp(self.at), unstamp(self.issued), unstamp(self.until))


class Sealer:
    """Seals small documents into cookie values: encrypted, signed, dated, each good for one purpose only."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        """Use 32 or more secret bytes.

        Raises:
            ConfigurationError: The key is too short.
        """
        if len(key) < 32:
            raise ConfigurationError("the session key needs at least 32 bytes")
        self._key = key
        self._clock = clock

    @classmethod
    def from_file(cls, path: Path, clock: Clock) -> Sealer:
        """Read the key from a file that only its owner may read.

        Raises:
            ConfigurationError: There is none, others may read it, or it is too short.
        """
        return cls(secret(path).encode(), clock)

    def _box(self, purpose: str) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(hashlib.blake2b(purpose.encode(), key=self._key[:64], digest_size=32).digest()))

    def seal(self, purpose: str, document: Mapping[str, Any]) -> str:
        """Return ``document`` sealed."""
        now = int(self._clock.now().timestamp())
        return self._box(purpose).encrypt_at_time(json.dumps(document).encode(), now).decode()

    def open(self, purpose: str, sealed: str, life: timedelta) -> dict[str, Any]:
        """Return the document.

        Raises:
            SignInRequiredError: It is not ours, for another purpose, or older than ``life``.
        """
        try:
            now = int(self._clock.now().timestamp())
            return dict(json.loads(self._box(purpose).decrypt_at_time(sealed.encode(), int(life.total_seconds()), now)))
        except (InvalidToken, ValueError, TypeError):
            raise SignInRequiredError("the sign-in has ended") from None


class Identity:
    """Turns cookies and tokens into actors."""

    def __init__(self, ports: Ports, relying: RelyingParty, sealer: Sealer, settings: Settings) -> None:
        """Keep what is needed; nothing is asked yet."""
        self.ports = ports
        self.relying = relying
        self.settings = settings
        self._sealer = sealer
        prefix = "__Host-" if settings.secure else ""
        self.cookie, self._pending_cookie = f"{prefix}sulku", f"{prefix}sulku-signing-in"
        self._life = timedelta(hours=settings.session_hours)

    @property
    def redirect_uri(self) -> str:
        """Where the issuer sends browsers back to."""
        return f"{self.settings.url.rstrip('/')}/signed-in"

    # --- at each request ----------------------------------------------------------------------------------------------

    def of(self, request: Request) -> Actor | None:
        """Return who sends ``request``; ``None`` if nobody claims to. Two looks into an index; a row is written at a first sign-in only.

        Raises:
            SignInRequiredError: The claim does not hold (any more): a bad token, an ended session or account.
            BoundElsewhereError: A token of another sign-in than the one that the person is bound to.
            InvalidInputError: The asked-for role is not one.
            IssuerUnavailableError: A token cannot be checked now.
            StoreUnavailableError: Nobody can say who may still act.
        """
        if (token := _bearer(request)) is not None:
            signed_in = self.relying.bearer(token)
            self._require_live(_name(token))
            return self.actor(signed_in, _role(request.headers.get(ROLE_HEADER, "")))
        sealed = request.cookies.get(self.cookie)
        return self._actor_of(self._session(sealed)) if sealed else None

    def _require_live(self, session: str) -> None:
        if self.ports.store.session_ended(session):
            raise SignInRequiredError("you signed out")

    def _session(self, sealed: str) -> Session:
        try:
            session = Session(**self._sealer.open("session", sealed, self._life))
        except TypeError:  # sealed by an older version
            raise SignInRequiredError("the sign-in has ended") from None
        if self.ports.clock.now() >= unstamp(session.until):
            raise SignInRequiredError("the sign-in has ended")
        self._require_live(session.id)
        return session

    def _actor_of(self, session: Session) -> Actor:
        try:
            return self.actor(session.signed_in(), _role(session.role))
        except NotFoundError:  # the role was taken away meanwhile
            return self.actor(session.signed_in(), None)

    def actor(self, signed_in: SignedIn, role: Role | None) -> Actor:
        """Return the actor whose sign-in this is; a person's first one is bound to them.

        Args:
            role: One that they hold; ``None`` takes the first.

        Raises:
            SignInRequiredError: Not in the directory, released by an operator, or the account has ended.
            BoundElsewhereError: The person of that e-mail address signs in with another account.
            NotFoundError: They do not hold that role.
        """
        person = people.sign_in(self.ports, signed_in.subject, signed_in.email, signed_in.issued)
        return people.actor(person, role=role, mfa=signed_in.mfa, signed_in=signed_in.at)

    def roles(self, actor: Actor) -> tuple[Role, ...]:
        """Return every role that ``actor`` may choose from."""
        return tuple(self.ports.store.peek([actor.id])[actor.id].roles)

    # --- signing in and out -------------------------------------------------------------------------------------------

    def leave(self, response_to: str, after: str) -> tuple[str, str]:
        """Return the issuer's address for a browser and the sealed cookie that it must bring back.

        Args:
            response_to: Our address that the issuer answers to.
            after: Where the person wanted to go; a path of ours.
        """
        address, pending = self.relying.leave(response_to)
        return address, self._sealer.seal("pending", {**asdict(pending), "after": local_path(after)})

    def arrive(self, request: Request) -> tuple[Session, str]:
        """Return the new session and where its person wanted to go.

        Raises:
            SignInFailedError: The issuer's answer cannot be relied on, or the person is not in the directory.
            BoundElsewhereError: The person signs in with another account.
            IssuerUnavailableError: The issuer does not answer.
        """
        try:
            kept = self._sealer.open("pending", request.cookies.get(self._pending_cookie, ""), PENDING_LIFE)
        except SignInRequiredError:
            raise SignInFailedError("this browser did not begin the sign-in, or took longer than ten minutes") from None
        after = local_path(str(kept.pop("after", "/")))
        signed_in = self.relying.arrive(Pending(**kept), dict(request.query_params), self.redirect_uri)
        now = self.ports.clock.now()
        try:
            actor = self.actor(replace(signed_in, issued=now), None)  # the nonce says that it was given out for this very visit
        except BoundElsewhereError:
            raise
        except SignInRequiredError as error:
            raise SignInFailedError(str(error)) from None
        at = signed_in.at or now
        until = min(now, at) + self._life  # however long the issuer remembers, ours ends with the sign-in's own age
        return Session(seal.token(16), signed_in.subject, signed_in.mfa, stamp(at), stamp(now), stamp(until), actor.role.value), after

    def switch(self, request: Request, role: str) -> Session:
        """Return the session acting in another held role.

        Raises:
            SignInRequiredError: There is no session.
            NotFoundError: The person does not hold that role.
        """
        session = self._session(request.cookies.get(self.cookie, ""))
        wanted = _role(role)
        self.actor(session.signed_in(), wanted)
        return replace(session, role=wanted.value if wanted else "")

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session or token of ``request``, for every process and for good, and the cookie in the browser.

        Raises:
            StoreUnavailableError: It could not be written down; they are still signed in.
        """
        now, token = self.ports.clock.now(), _bearer(request)
        with suppress(SignInRequiredError):  # it had ended already
            if token is not None:
                self.ports.store.end_session(_name(token), self.relying.bearer(token).until, now)
                return
            session = self._session(request.cookies.get(self.cookie, ""))
            self.ports.store.end_session(session.id, unstamp(session.until), now)
        self._set(response, self.cookie, "", 0)

    def keep(self, response: Response, session: Session) -> None:
        """Set the session's cookie, and drop the one of the sign-in."""
        left = unstamp(session.until) - self.ports.clock.now()
        self._set(response, self.cookie, self._sealer.seal("session", asdict(session)), max(0, int(left.total_seconds())))
        self._set(response, self._pending_cookie, "", 0)

    def keep_pending(self, response: Response, sealed: str) -> None:
        """Set the cookie that lives while the browser is at the issuer."""
        self._set(response, self._pending_cookie, sealed, int(PENDING_LIFE.total_seconds()))

    def _set(self, response: Response, name: str, value: str, age: int) -> None:
        response.set_cookie(name, value, max_age=age, path="/", secure=self.settings.secure, httponly=True, samesite="lax")


def _bearer(request: Request) -> str | None:
    """Return the token that ``request`` carries.

    Raises:
        BadTokenError: It claims to be somebody in another way.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme and scheme.lower() != "bearer":
        raise BadTokenError("only bearer tokens are taken")
    return token.strip() if scheme else None


def _name(token: str) -> str:
    """Return what a token is remembered by: the digest of what its signature covers. A signature itself has several spellings."""
    return seal.digest(token.rpartition(".")[0])


def _role(text: str) -> Role | None:
    if not text:
        return None
    try:
        role = Role(text)
    except ValueError:
        role = Role.PUBLIC
    if role in {Role.PUBLIC, Role.SERVICE}:
        raise InvalidInputError("there is no such role", fields=[("role", "researcher, steward, auditor or operator")])
    return role


def local_path(text: str) -> str:
    """Return ``text`` if it is a path of ours, else ``/``: nobody is sent elsewhere by a link to our sign-in."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if plain and text.startswith("/") and not text.startswith("//") and len(text) <= 2000 else "/"


class Recognise:
    """Sets ``request.state.actor`` before any handler runs; a claim that does not hold is refused by the API, forgotten by pages."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        """Wrap ``app``."""
        self.app = app
        self.identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Recognise, then pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        request.state.actor, request.state.roles = None, ()
        headers = Headers(scope=scope)
        if "authorization" in headers or self.identity.cookie in request.cookies:
            try:
                request.state.actor = actor = await run_in_threadpool(self.identity.of, request)
                request.state.roles = await run_in_threadpool(self.identity.roles, actor) if actor else ()
            except SulkuError as error:
                request.state.ended = error
                if request.url.path.startswith("/api/") or not isinstance(error, SignInRequiredError):
                    await problems.answer(request, error)(scope, receive, send)
                    return
        await self.app(scope, receive, send)
