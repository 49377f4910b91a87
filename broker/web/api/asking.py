"""What every handler needs of a request: the ports, who asks, and the two headers that make repeating and racing safe."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Depends, Header, Path, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from broker.web.folding import FoldingStore, anonymous
from sulku.codec import Plain, plain
from sulku.errors import SignInRequiredError, StaleError
from sulku.ids import ALPHABET
from sulku.people import PUBLIC, Actor
from sulku.ports import Ports, Receipt

BEARER: Final = HTTPBearer(auto_error=False, description="An access token of the issuer, for the audience of this API.")
INERT: Final = "default-src 'none'; sandbox"  # for bytes that came out of a tunnel, even rebuilt


def world(request: Request) -> Ports:
    """Return what flows may use."""
    return request.app.state.ports  # type: ignore[no-any-return]


def signed_in(request: Request, _: Annotated[object, Security(BEARER)]) -> Actor:
    """Return who asks.

    Raises:
        SignInRequiredError: Nobody in particular; that somebody tried is counted.
    """
    by: Actor | None = request.state.actor
    if by is None:
        ports = world(request)
        if isinstance(ports.store, FoldingStore):
            anonymous(ports.store, ports.policy, "request.anonymous", ports.clock.now())
        raise SignInRequiredError("nobody is signed in")
    return by


def anyone(request: Request) -> Actor:
    """Return who asks, or the public."""
    return request.state.actor or PUBLIC


By = Annotated[Actor, Depends(signed_in)]
Anyone = Annotated[Actor, Depends(anyone)]
World = Annotated[Ports, Depends(world)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_-]{8,100}$",
        description="The same key with the same request gives the first answer again; with another request, a refusal.",
    ),
]
Expected = Annotated[
    str | None,
    Header(alias="If-Match", pattern=r'^"[0-9]{1,9}"$', description="The version (the ETag) that you looked at; refused if it moved on."),
]


def _reference(prefix: str, noun: str) -> object:
    return Path(pattern=f"^{prefix}_[{ALPHABET}]{{16}}$", description=f"Reference of the {noun}, `{prefix}_…`.")


ApplicationId = Annotated[str, _reference("app", "application")]
DatasetId = Annotated[str, _reference("dst", "dataset")]
OutputId = Annotated[str, _reference("out", "output")]
PermitId = Annotated[str, _reference("per", "permit")]
PersonId = Annotated[str, _reference("usr", "person")]
ReleaseId = Annotated[str, _reference("rel", "release")]
TunnelId = Annotated[str, _reference("tun", "tunnel")]


def expect(ports: Ports, identifier: str, expected: str | None) -> None:
    """Require that the record is still in the version that the asker looked at, if they said which.

    Raises:
        StaleError: Someone else acted first.
    """
    if expected is not None and f'"{ports.store.peek([identifier])[identifier].version}"' != expected:
        raise StaleError(f"{identifier} is not in version {expected} any more")


def one(record: object) -> Response:
    """Return one record, with its version as the ETag."""
    version = getattr(record, "version", None)
    return JSONResponse(plain(record), headers={"ETag": f'"{version}"'} if isinstance(version, int) else None)


def many(records: object) -> Response:
    """Return a list of records."""
    items: list[Plain] = plain(records)
    return JSONResponse({"items": items, "count": len(items)})


def done(receipt: Receipt, identifier: str, status: int = 200) -> Response:
    """Return what a change gave: the record as it stands, and where in the ledger the change is."""
    record = receipt.facts[identifier]
    body = {"record": plain(record), "entries": list(receipt.entries), "repeated": receipt.repeated}
    return JSONResponse(body, status, headers={"ETag": f'"{record.version}"'})


def made(receipt: Receipt, prefix: str, by: Actor) -> Response:
    """Return a new record of the noun ``prefix``."""
    fresh = [one for one in receipt.facts if one.startswith(prefix) and (one != by.id)]
    return done(receipt, fresh[0] if fresh else by.id, 201)


def file(name: str, media: str, data: bytes) -> Response:
    """Return bytes to be saved, never shown as a page of ours."""
    plain_name = "".join(letter if (letter.isascii() and letter.isalnum()) or letter in "._-" else "_" for letter in name)
    disposition = f"attachment; filename=\"{plain_name}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(data, media_type=media, headers={"Content-Disposition": disposition, "Content-Security-Policy": INERT})
