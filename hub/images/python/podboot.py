"""The workspace container's first program on Kubernetes: shows how its datasets are mounted, then serves JupyterLab.

It runs isolated (`python -I`), after the probe was told to let it start, and before any of the person's code. The broker
asks `mounted` and then `serve` over the workspace's own port; from then on the port is JupyterLab's, and the container's
log is closed: what a person's programs print is in their notebook and nowhere else.
"""

# ruff: noqa: PTH100, PTH120, PLC0415 -- what is imported when is the point
from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import podline
import podseal
import wsboot

TOKEN = Path("/run/sulku/token")


def mounted(names: list[str]) -> dict[str, Any]:
    """Return for each dataset what the kernel answers to a write, its mount's options, and its number of files."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    options = {row[4]: row[5] for row in rows}

    def about(name: str) -> dict[str, Any]:
        place = f"/data/{name}"
        files = sum(path.is_file() for path in Path(place).rglob("*"))
        return {"refused": wsboot.refusal(name), "options": options.get(place, ""), "files": files}

    return {name: about(name) for name in names}


def main() -> int:
    """Put the filter on, answer the broker's questions, then serve until killed."""
    podline.leave_at_once()
    podseal.seal()
    token = TOKEN.read_text()
    line = podline.Line(podline.listen(int(sys.argv[1])), token.encode(), "workspace")

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if body["do"] == "mounted":
            return {"mounted": mounted(body["names"])}
        if body["do"] == "serve":
            line.over = True
            return {"serving": True}
        return {"refused": "no such request"}

    asking = threading.Thread(target=line.run, args=(answer,), daemon=True)
    asking.start()
    import jupyter_server.serverapp  # noqa: F401 seconds that pass while the broker asks and records
    import jupyterlab.labapp  # noqa: F401

    asking.join()
    podline.silence()  # before anything of the home is read
    os.chdir(wsboot.HOME)
    wsboot.serve(token, line.listener, podline.leave_at_once)  # once more: JupyterLab has put its own in place
    return 0


if __name__ == "__main__":
    sys.exit(main())
