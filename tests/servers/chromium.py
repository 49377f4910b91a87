"""Debian's Chromium for the tests that look at pages, which waits as long as a machine that others use needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, expect, sync_playwright

WAIT: Final = 30_000  # milliseconds until something expected of a page is missing


@contextmanager
def running(*arguments: str) -> Iterator[Browser]:
    """Start a browser with more arguments, and end it; its event loop ends with it."""
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", *arguments])
        yield browser
        browser.close()
