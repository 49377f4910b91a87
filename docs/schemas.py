"""JSON Schemas (2020-12) of the papers that leave sulku, made from the dataclasses that write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, get_args, get_origin, get_type_hints

from sulku import permits, releases
from sulku.ids import ALPHABET
from sulku.permits import Document

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MOMENT: Final = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$", "description": "UTC, milliseconds."}


def _reference(prefix: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{prefix}_[{ALPHABET}]{{16}}$"}


def _people() -> dict[str, Any]:
    return {"type": "array", "items": _reference("usr"), "uniqueItems": True}


DIGEST: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256, hexadecimal."}
CHECKPOINT: Final = {
    "type": "string",
    "description": "The ledger's latest checkpoint then, a signed note (C2SP tlog-checkpoint); empty if none was signed yet.",
}


@dataclass(frozen=True, slots=True)
class ReleasedFile:
    """One file of a release, as it left."""

    output: str
    name: str
    media: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ReleaseManifest:
    """The signed manifest of a release: exactly these files were judged, and have left.

    Attributes:
        round: Of review; above 1 if the release was returned before.
        approved_by: The reviewers who found every file safe, by id.
        digest: Over the files as they were judged; the ledger's ``release.approved`` record holds the same.
    """

    schema: str
    id: str
    round: int
    permit: str
    title: str
    author: str
    approved_by: tuple[str, ...]
    digest: str
    files: tuple[ReleasedFile, ...]
    delivered: datetime
    checkpoint: str


def permit() -> dict[str, Any]:
    """Return the schema of a permit, the payload of its envelope."""
    special = {
        "schema": {"const": permits.SCHEMA},
        "id": _reference("per"),
        "revision": {"type": "integer", "minimum": 1},
        "application": _reference("app"),
        "people": {**_people(), "minItems": 1, "description": "Who may open tunnels, the applicant first."},
        "approved_by": {**_people(), "minItems": 2},
        "dataset": _reference("dst"),
        "digest": DIGEST,
        "checkpoint": CHECKPOINT,
    }
    return _whole("permit", "A sulku permit", Document, special)


def release() -> dict[str, Any]:
    """Return the schema of a release manifest, the payload of its envelope."""
    special = {
        "schema": {"const": releases.SCHEMA},
        "id": _reference("rel"),
        "round": {"type": "integer", "minimum": 1},
        "permit": _reference("per"),
        "author": _reference("usr"),
        "approved_by": {**_people(), "minItems": releases.QUORUM},
        "digest": {"type": "string"},
        "output": _reference("out"),
        "sha256": DIGEST,
        "checkpoint": CHECKPOINT,
    }
    return _whole("release", "A sulku release manifest", ReleaseManifest, special)


def _whole(name: str, title: str, kind: type, special: dict[str, Any]) -> dict[str, Any]:
    head = {"$schema": DIALECT, "$id": f"urn:sulku:schema:{name}:1", "title": title}
    return head | _schema(kind, special)


def _schema(kind: Any, special: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; a field named in ``special`` has that one instead, wherever it stands."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints, told = get_type_hints(kind), _told(kind)
        properties = {}
        for field in fields(kind):
            found = special.get(field.name) or _schema(hints[field.name], special)
            properties[field.name] = {**found, **({"description": told[field.name]} if field.name in told else {})}
        summary = (kind.__doc__ or "").split("\n\n")[0].split("(JSON")[0].strip().rstrip(".") + "."
        return {
            "description": " ".join(summary.replace("``", "`").split()),
            "type": "object",
            "properties": properties,
            "required": [field.name for field in fields(kind)],
            "additionalProperties": False,
        }
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _schema(get_args(kind)[0], special)}
    if kind is datetime:
        return dict(MOMENT)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [one.value for one in kind]}
    return {"type": {str: "string", int: "integer", bool: "boolean"}[kind]}


def _told(kind: type) -> dict[str, str]:
    """Return what a docstring's section *Attributes* says of each field."""
    _, _, section = (kind.__doc__ or "").partition("Attributes:\n")
    rows = re.findall(r"^\s+(\w+): (.+(?:\n\s{12,}.+)*)", section, re.MULTILINE)
    return {name: " ".join(text.replace("``SCHEMA``.", "").replace("``", "`").split()) for name, text in rows if name != "schema"}
