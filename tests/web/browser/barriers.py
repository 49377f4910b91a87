"""What axe finds on a page in a browser. A page that is being left is not examined; the one that it leads to is."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Error, Page

_AXE: Final = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"
_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_FOUND: Final = """async tags => [
  (await axe.run({runOnly: tags, resultTypes: ['violations']})).violations.map(v => [v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))]),
  document.documentElement.scrollWidth <= innerWidth,
]"""
_TRIES: Final = 5  # pages that may follow each other: a sign-in is three


@cache
def _axe() -> str:
    assert _AXE.is_file(), "run `npm ci` first"
    return _AXE.read_text()


def barriers(page: Page) -> list[Any]:
    """Return the rules that a page breaks, each with pieces of the page; `sideways` stands for a page that is wider than its window."""
    for left in reversed(range(_TRIES)):
        page.wait_for_load_state()
        try:
            page.evaluate(_axe())
            found, fits = page.evaluate(_FOUND, _TAGS)
        except Error:  # it went elsewhere under the examiner
            if not left:
                raise
            continue
        return [*found, *([] if fits else ["sideways"])]
    raise AssertionError("the last try returns or raises")
