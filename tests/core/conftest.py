"""Settings of the core's tests: no deadlines, since the machines are shared and no test is about time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("sulku", deadline=None)
settings.load_profile("sulku")
