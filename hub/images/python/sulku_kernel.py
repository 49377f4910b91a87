"""An IPython extension: `%tunnel` says how long is left and what is here; in good time, it says so by itself."""

# ruff: noqa: T201 -- a person reads what it prints
from __future__ import annotations

import json
import sys
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

TUNNEL = Path("/run/sulku/tunnel.json")
WARNINGS = (15, 5, 1)  # minutes before the deadline


def about() -> dict[str, Any]:
    """Return what the broker told us when the tunnel opened: deadline, permit, datasets and where they are, limits."""
    return dict(json.loads(TUNNEL.read_text(encoding="utf-8")))


def left() -> float:
    """Return the seconds until the deadline; it may be moved nearer, never further."""
    return (datetime.fromisoformat(about()["deadline"]) - datetime.now(UTC)).total_seconds()


def packages() -> list[str]:
    """Return the installed packages, as ``name==version``, sorted."""
    return sorted({f"{one.metadata['Name']}=={one.version}" for one in distributions()}, key=str.casefold)


def summary() -> str:
    """Return what ``%tunnel`` prints."""
    known, minutes = about(), max(0, int(left() // 60))
    data = "\n".join(f"  {name}: {path}" for name, path in known["datasets"].items()) or "  none"
    return (
        f"{known['title']} ({known['permit']})\n{minutes} minutes left: everything here stops then; files under ~ are "
        f"kept for your next tunnel.\nDatasets, read-only:\n{data}\nTo hand results in: sulku-outbox submit --help"
    )


def _warn() -> None:
    for minutes in WARNINGS:
        wait = left() - minutes * 60
        if wait < -30:
            continue
        time.sleep(max(0.0, wait))
        print(f"\nThis tunnel ends in {minutes} min. Save your notebooks now; they are kept.", file=sys.stderr)


def load_ipython_extension(shell: Any) -> None:
    """Register ``%tunnel`` and ``%packages`` and start the watch; a missing notice disturbs nobody's work."""
    try:
        about()
    except (OSError, ValueError):
        return
    shell.register_magic_function(lambda _: print(summary()), magic_name="tunnel")
    shell.register_magic_function(lambda _: print("\n".join(packages())), magic_name="packages")
    threading.Thread(target=_warn, daemon=True, name="tunnel-deadline").start()
