"""What our own hub can do: the real hub and a real gateway, towards a broker that answers at once; what a tunnel costs elsewhere is not in it.

The broker asks the hub only when a tunnel stands (ADR 0012), so the rate of openings is the lesser of this and the worker's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from broker.adapters.hub import JupyterHub
from sulku.links import Address
from sulku.tunnels import Tunnel
from tests.cluster.scale.ground import processor, resident
from tests.cluster.scale.measure import each
from tests.hub.rig import serving


def measure(number: int, threads: int) -> dict[str, Any]:
    """Have the hub asked for so many servers, by the broker's own client and so many threads, each followed until it is ready; then end them."""
    with tempfile.TemporaryDirectory(prefix="hub") as folder, serving(Path(folder)) as hub:
        opened = [hub.broker.open(Path(folder) / "workspace.sock", "token") for _ in range(number)]
        tunnels = [Tunnel(id=one.id, person=one.person) for one in opened]
        pid = hub.process.pid

        def timed(do: Callable[[JupyterHub, Tunnel], None]) -> tuple[float, float]:
            spent, began = processor(pid), time.monotonic()
            with closing(JupyterHub(Address(str(hub.socket)), "broker-at-the-hub")) as client:
                each(threads, lambda tunnel: do(client, tunnel), tunnels)
            return time.monotonic() - began, processor(pid) - spent

        before = resident(pid)
        (started, start), memory = timed(JupyterHub.start), resident(pid)
        stopped, stop = timed(JupyterHub.stop)
        return {
            "servers": number, "threads": threads, "started_per_second": number / started, "stopped_per_second": number / stopped,
            "processor_start": start * 1000 / number, "processor_stop": stop * 1000 / number, "memory_before": before, "memory": memory,
        }  # fmt: skip
