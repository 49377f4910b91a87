"""One cell and its answer: through the gateway, against straight to the workspace's socket, two kernels of one tunnel."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from broker import wiring
from tests.bench.figures import Row, Samples, fsync, written
from tests.bench.site import Site
from tests.stories.person import Lab

CELLS = 150
WARM = 20
PAUSE = 0.03  # seconds before each cell, so that what follows one is not counted in the next
GOAL = 0.005  # seconds more


def run(site: Site) -> Iterator[Row]:
    """Run ``1`` in turn in either kernel. A round trip begins with the request and ends with the kernel's ``idle``."""
    ada = site.who("ada")
    tunnel = site.open(ada)
    try:
        ours, direct = asyncio.run(_compare(site, site.enter(ada, tunnel)))
        disk = fsync(site.at.state)
    finally:
        site.shut(ada, tunnel)
    more = ours.median - direct.median
    yield Row(
        "kernel round trip, p50 / direct",
        written(ours.median, "s"),
        written(direct.median, "s"),
        f"+{written(more, 's')}",
        f"≤ +{written(GOAL, 's')}",
        more <= GOAL,
    )
    late = ours.at(0.99) - direct.at(0.99)
    yield Row("   p99", written(ours.at(0.99), "s"), written(direct.at(0.99), "s"), f"+{written(late, 's')}")
    yield Row("   in which the cell is synced to disk before it runs", written(disk.median, "s"))


async def _compare(site: Site, lab: Lab) -> tuple[Samples, Samples]:
    async with lab.connected() as (through, _), _direct(site, lab.tunnel) as straight:
        ours, direct = [], []
        for number in range(WARM + CELLS):
            for socket, times in ((through, ours), (straight, direct)):
                await asyncio.sleep(PAUSE)
                seconds = await asyncio.wait_for(_cell(socket), 30)
                if number >= WARM:
                    times.append(seconds)
    return Samples(tuple(ours)), Samples(tuple(direct))


@asynccontextmanager
async def _direct(site: Site, tunnel: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a second kernel's channels past the gateway, as only the broker's own host can."""
    wired = wiring.wire(site.at.settings)
    path, token = str(wired.sandbox.socket_path(tunnel)), wired.workspace_token(tunnel)
    headers = {"Authorization": f"token {token}"}
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=path), headers=headers) as http:
        async with http.post("http://localhost/api/kernels", json={"name": "python3"}) as answer:
            assert answer.status == 201, await answer.text()
            kernel = (await answer.json())["id"]
        url = f"http://localhost/api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}"
        async with http.ws_connect(url, max_msg_size=0) as socket:
            yield socket


async def _cell(socket: aiohttp.ClientWebSocketResponse) -> float:
    name = uuid.uuid4().hex
    content: dict[str, Any] = {
        "code": "1", "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True,
    }  # fmt: skip
    header = {"msg_id": name, "msg_type": "execute_request", "username": "", "session": "bench", "version": "5.3", "date": ""}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}
    began = time.perf_counter()
    await socket.send_json(request)
    while True:
        said = json.loads((await socket.receive()).data)
        if said["parent_header"].get("msg_id") == name and said["content"].get("execution_state") == "idle":
            return time.perf_counter() - began
