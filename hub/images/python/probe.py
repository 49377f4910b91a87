"""The closure probe: every way out of the workspace that we know, tried from inside before anything secret is near.

Each way is a function that tries and returns what it got away with, or raises OSError (closed, and why). A way that
returns a true value is open. The supervisor tells where its canaries are and proves, in the same round, that they live.
"""

from __future__ import annotations

import errno

import ways_host
import ways_network
from ways import LOOKS, WAYS, Told

SOURCES = (ways_network, ways_host)  # importing them registers their ways


def attempt(name: str, told: Told) -> dict[str, object]:
    """Try one way and return its ``{"way", "closed", "how"}``; an error that is no refusal counts as open."""
    try:
        got = WAYS[name](told)
    except OSError as error:
        return {"way": name, "closed": name not in LOOKS, "how": errno.errorcode.get(error.errno or 0, str(error)[:80])}
    except Exception as error:  # noqa: BLE001 what we cannot try, we cannot call closed
        return {"way": name, "closed": False, "how": f"{type(error).__name__}: {error}"[:200]}
    return {"way": name, "closed": not got, "how": str(got)[:200] if got else "nothing found"}


def run(told: Told) -> list[dict[str, object]]:
    """Try every way and return one result each, in a fixed order."""
    return [attempt(name, told) for name in WAYS]
