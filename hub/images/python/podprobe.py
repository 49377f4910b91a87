"""A pod's probe: it tries to get out whenever the broker asks, before the workspace starts and beside it.

`prove` runs first and lets the workspace start only when the broker says that the proof is on record; `probe` runs beside
it, out of the person's reach, until the end. A release names the round that it follows: it is good for a round of this start that found nothing open, and for no other.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import podline
import podways

KEY = Path("/run/sulku/probe-key")


class Probe:
    """One start of the probe."""

    def __init__(self, role: str, port: int) -> None:
        """Listen; the key is read once."""
        self.line = podline.Line(podline.listen(port), KEY.read_bytes(), role)
        self.role = role
        self.round = ""
        self.kept: Any = None

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Do what one sealed line asks."""
        if body["do"] == "probe":
            attempts = podways.run(body["told"])
            digest = hashlib.sha256(json.dumps(attempts, sort_keys=True).encode()).hexdigest()
            self.round = digest if all(one["closed"] for one in attempts) else ""
            return {"attempts": attempts, "round": digest}
        if body["do"] == "release" and self.role == "prove":
            if not self.round or body["round"] != self.round:
                return {"refused": "no such round, or it found a way out"}
            self.line.over = True
            return {"released": True}
        if body["do"] == "keep" and self.role == "probe":
            self.kept = body["kept"]
        if body["do"] in {"keep", "kept"} and self.role == "probe":
            return {"kept": self.kept}
        return {"refused": "no such request"}


def main() -> int:
    """Serve until released (`prove`) or killed (`probe`)."""
    probe = Probe(sys.argv[1], int(sys.argv[2]))
    podline.leave_at_once()
    podline.silence()
    podways.behind()
    probe.line.run(probe.answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
