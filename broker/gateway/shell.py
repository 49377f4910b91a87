"""The shell: a page of another origin that frames one tunnel, shows its deadline and budget, and holds no secret."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from aiohttp import web

from broker.gateway import answers
from broker.gateway.settings import Settings
from sulku import ids
from sulku.errors import InvalidInputError, NotFoundError

STATIC: Final = Path(__file__).parent / "static"
KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def label_of(path: str) -> str:
    """Return the host label in the path of a shell page, ``/t-…/``.

    Raises:
        NotFoundError: It is not such a path.
    """
    try:
        label = path.strip("/")
        ids.from_label(label)
    except InvalidInputError as error:
        raise NotFoundError("there is no such page") from error
    if path != f"/{label}/":
        raise NotFoundError("there is no such page")
    return label


def static(path: str) -> web.Response:
    """Return one of the gateway's own files, ``/.sulku/static/…``; they need no session.

    Raises:
        NotFoundError: There is no such file.
    """
    name = path.removeprefix("/.sulku/static/")
    if name not in {"gateway.css", "gateway.svg", "shell.js"}:
        raise NotFoundError("there is no such file")
    file = STATIC / name
    return web.Response(text=file.read_text(), content_type=KINDS[file.suffix], charset="utf-8")


def page(settings: Settings, label: str) -> web.Response:
    """Return the shell of the tunnel with host label ``label``.

    It says nothing that its address does not say: title, deadline and budget are fetched from the tunnel's origin by a
    browser that has entered it.
    """
    tunnel, origin = ids.from_label(label), settings.origin(label)
    home = f"{settings.broker_url}/tunnels/{tunnel}"
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tunnel · sulku</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="/.sulku/static/gateway.svg">
<link rel="stylesheet" href="/.sulku/static/gateway.css"><script src="/.sulku/static/shell.js" defer></script></head>
<body class="shell" data-origin="{escape(origin)}" data-home="{escape(home)}">
<header>
<a class="skip" href="#workspace">Skip to the workspace</a>
<h1 id="title">Tunnel <span class="label">{escape(label)}</span></h1>
<dl>
<div><dt>Time left</dt><dd><time id="left">…</time></dd></div>
<div><dt>Screen budget left</dt><dd id="budget">…</dd></div>
</dl>
<nav aria-label="Tunnel"><a href="{escape(home)}#extend" rel="noreferrer">Ask for more</a>
<a href="{escape(origin)}/.sulku/enter" id="again">Enter again</a>
<a href="{escape(origin)}/.sulku/leave">Leave</a></nav>
<p id="notice" role="status" hidden></p>
</header>
<main id="workspace"><iframe title="Workspace" src="{escape(origin)}/lab"
 sandbox="allow-scripts allow-same-origin allow-forms allow-modals" referrerpolicy="no-referrer"></iframe></main>
</body></html>"""
    return web.Response(text=text, content_type="text/html")


def left(settings: Settings, tunnel: str) -> web.Response:
    """Return the page after leaving: the tunnel stays open, this browser forgets it."""
    home = escape(f"{settings.broker_url}/tunnels/{tunnel}")
    body = (
        "<p>Your work is kept and the tunnel stays open until its deadline. "
        "What is running goes on; come back through the broker.</p>"
        f'<p><a href="{home}" target="_top" rel="noreferrer">Go to the tunnel\'s page</a></p>'
    )
    answer = answers.page("You have left the tunnel", body)
    answer.headers["Clear-Site-Data"] = answers.CLEAR
    return answer
