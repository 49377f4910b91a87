"""The pages: ``routers`` for ``create_app``, ``problem_page`` for its errors, ``STATIC`` its files, ``with_previews`` around it."""

from __future__ import annotations

from fastapi import APIRouter

from broker.web.pages import applications, applying, audit, directory, erasing, permits, public, queue, releases, tunnels
from broker.web.pages.previews import with_previews
from broker.web.pages.render import HERE, problem_page

STATIC = HERE / "static"


def routers() -> tuple[APIRouter, ...]:
    """Return the routes of every page."""
    modules = (public, applying, applications, permits, tunnels, releases, queue, audit, directory, erasing)
    return tuple(module.router for module in modules)


__all__ = ["STATIC", "problem_page", "routers", "with_previews"]
