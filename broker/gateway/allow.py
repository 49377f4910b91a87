"""What a browser may ask of a workspace: an allow-list of method, canonical path and query keys.

Whatever is not written in the one canonical way is refused before anything is matched, so no two spellings of a path
can mean different things to the gateway and to the workspace. A path that is not in the table does not exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from sulku.errors import NotAllowedError, PathRefusedError

LONGEST = 2048  # characters of a request target
PLAIN: Final = re.compile(r"/[A-Za-z0-9/_.~!*'()@:+,=&$?%-]*")
STAMP: Final = re.compile(r"[0-9]{10,16}")  # JupyterLab adds the time as a bare key, to get past caches
COMPONENT_SAFE: Final = "-_.!~*'()"  # what encodeURIComponent leaves alone, besides letters and digits
Query = tuple[tuple[str, str], ...]


class Kind(StrEnum):
    """Who answers."""

    PAGE = "page"  # the gateway: JupyterLab's page, built from the trusted copy
    ASSET = "asset"  # the gateway: a file of the trusted copy
    LOCAL = "local"  # the gateway: small answers that need no workspace
    CONTENTS = "contents"  # the workspace, filtered by type, format and size
    RELAY = "relay"  # the workspace, as JSON
    EVENTS = "events"  # the gateway: an events socket on which nothing happens
    CHANNELS = "channels"  # the workspace: a kernel's messages, filtered by type


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table; ``name`` tells the rows apart in tests, metrics and reports."""

    kind: Kind
    methods: frozenset[str]
    path: re.Pattern[str]
    keys: frozenset[str]
    name: str


# A name in the contents API: percent-escaped as encodeURIComponent does, never hidden, never climbing.
_PARTS: Final = {
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "path": r"[^/.][^/]*(?:/[^/.][^/]*)*",
    "plugin": r"@?[a-z0-9][a-z0-9_-]*(?:/[a-z0-9][a-z0-9_-]*)?:[A-Za-z0-9_.-]+",
    "word": r"[A-Za-z0-9_-]{1,64}",
    "file": r"(?!.*\.\.)[A-Za-z0-9@_-][A-Za-z0-9@_./-]*",
}


def _rule(kind: Kind, methods: str, path: str, keys: str = "") -> Rule:
    pattern = "".join(_PARTS[piece[1:-1]] if piece.startswith("{") else re.escape(piece) for piece in re.split(r"(\{[a-z]+\})", path))
    return Rule(kind, frozenset(methods.split()), re.compile(pattern), frozenset(keys.split()), path)


TABLE: Final = (
    _rule(Kind.PAGE, "GET", "/lab", "reset"),
    _rule(Kind.PAGE, "GET", "/lab/tree/{path}", "reset"),
    _rule(Kind.PAGE, "GET", "/lab/workspaces/{word}", "reset"),
    _rule(Kind.PAGE, "GET", "/lab/workspaces/{word}/tree/{path}", "reset"),
    _rule(Kind.ASSET, "GET", "/static/{file}", "v"),
    _rule(Kind.ASSET, "GET", "/lab/extensions/{file}", "v"),
    _rule(Kind.ASSET, "GET", "/lab/api/themes/{file}"),
    _rule(Kind.ASSET, "GET", "/kernelspecs/{word}/{file}"),
    _rule(Kind.LOCAL, "GET", "/api/me", "permissions"),
    _rule(Kind.LOCAL, "GET", "/api/kernelspecs"),
    _rule(Kind.LOCAL, "GET", "/api/nbconvert"),
    _rule(Kind.LOCAL, "GET", "/lab/api/translations"),
    _rule(Kind.LOCAL, "GET", "/lab/api/translations/{word}"),
    _rule(Kind.LOCAL, "GET", "/lab/api/settings", "ids_only"),
    _rule(Kind.LOCAL, "GET PUT", "/lab/api/settings/{plugin}"),
    _rule(Kind.LOCAL, "GET", "/lab/api/workspaces"),
    _rule(Kind.LOCAL, "GET PUT DELETE", "/lab/api/workspaces/{word}"),
    _rule(Kind.EVENTS, "GET", "/api/events/subscribe"),
    _rule(Kind.RELAY, "GET POST", "/api/kernels"),
    _rule(Kind.RELAY, "GET DELETE", "/api/kernels/{uuid}"),
    _rule(Kind.RELAY, "POST", "/api/kernels/{uuid}/interrupt"),
    _rule(Kind.RELAY, "POST", "/api/kernels/{uuid}/restart"),
    _rule(Kind.CHANNELS, "GET", "/api/kernels/{uuid}/channels", "session_id"),
    _rule(Kind.RELAY, "GET POST", "/api/sessions"),
    _rule(Kind.RELAY, "GET PATCH DELETE", "/api/sessions/{uuid}"),
    _rule(Kind.RELAY, "GET POST", "/api/contents/{path}/checkpoints"),
    _rule(Kind.RELAY, "POST DELETE", "/api/contents/{path}/checkpoints/{word}"),
    _rule(Kind.RELAY, "POST", "/api/contents/{path}/trust"),
    _rule(Kind.CONTENTS, "GET POST", "/api/contents", "type content format hash contentProviderId"),
    _rule(Kind.CONTENTS, "GET PUT POST PATCH DELETE", "/api/contents/{path}", "type content format hash contentProviderId"),
)

VALUES: Final = {
    "reset": re.compile(r""),
    "v": re.compile(r"[0-9a-f]{1,64}"),
    "permissions": re.compile(r"[\w%.,:\"-]{0,512}"),
    "ids_only": re.compile(r"true|false"),
    "session_id": re.compile(r"[0-9A-Za-z-]{1,64}"),
    "type": re.compile(r"directory|notebook|file"),
    "content": re.compile(r"0|1"),
    "format": re.compile(r"text|json"),
    "hash": re.compile(r"0|1"),
    "contentProviderId": re.compile(r"undefined"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A request target that was taken apart and may be put together again without surprise."""

    rule: Rule
    path: str
    query: Query

    @property
    def name(self) -> str:
        """The last part of the path as the workspace will read it."""
        return unquote_to_bytes(self.path.rsplit("/", 1)[1]).decode()

    def rebuilt(self) -> str:
        """Return the target to send on: the canonical path and the known query keys."""
        query = "&".join(f"{key}={value}" for key, value in self.query)
        return f"{self.path}?{query}" if query else self.path


def canonical(target: str) -> tuple[str, str]:
    """Return path and query of a raw request target that is written in the one allowed way.

    Escapes are allowed only in the names of files, and only as ``encodeURIComponent`` writes them.

    Raises:
        PathRefusedError: Absolute form, fragments, backslashes, semicolons, control or non-ASCII characters, empty or
            dotted parts, or an escape that is needless, malformed, lower-case, or hides a separator.
    """
    if len(target) > LONGEST or not PLAIN.fullmatch(target) or target.count("?") > 1:
        raise PathRefusedError("the address holds characters that are never needed here")
    path, _, query = target.partition("?")
    names = path.startswith(("/api/contents/", "/lab/tree/", "/lab/workspaces/"))
    for part in path[1:].split("/") if path != "/" else ():
        if not part or part.startswith("."):
            raise PathRefusedError("the address has an empty, hidden or climbing part")
        if names:
            _require_canonical_name(part)
        elif "%" in part:
            raise PathRefusedError("the address has escapes where none are needed")
    return path, query


def _require_canonical_name(part: str) -> None:
    try:
        name = unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise PathRefusedError("the address has an escape that is not UTF-8") from error
    if quote(name, safe=COMPONENT_SAFE) != part or not name.isprintable() or set(name) & set("/\\%"):
        raise PathRefusedError("the address has an escape that is needless, malformed or hides something")


def decide(method: str, target: str) -> Target:
    """Return the row of the table that allows this request.

    Raises:
        PathRefusedError: The target is not canonical.
        NotAllowedError: No row allows it.
    """
    path, raw = canonical(target)
    rule = next((rule for rule in TABLE if method in rule.methods and rule.path.fullmatch(path)), None)
    if rule is None:
        raise NotAllowedError(f"{method} {path.split('/')[1] or '/'} is not on the allow-list")
    query: list[tuple[str, str]] = []
    for pair in raw.split("&") if raw else ():
        key, equals, value = pair.partition("=")
        if not equals and STAMP.fullmatch(key):
            continue
        allowed = key in rule.keys and key not in dict(query)
        if not allowed or not VALUES[key].fullmatch(value):
            raise NotAllowedError(f"the query key {key[:20]!r} with that value is not on the allow-list")
        query.append((key, value))
    return Target(rule, path, tuple(query))
