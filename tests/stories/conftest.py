"""One installation for each setting that the story is told in."""

from __future__ import annotations
