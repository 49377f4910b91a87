"""KubeSpawner without a hub, run by its own Python: ``bare.py NUMBER`` starts and stops so many, all at once, and prints the seconds of each."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from types import SimpleNamespace

from kubespawner import KubeSpawner
from traitlets.config import Config


def spawner(number: int) -> KubeSpawner:
    """Return the spawner of one person, as a hub would make it."""
    settings = Config()
    settings.KubeSpawner = Config(
        namespace=os.environ["SCALE_NAMESPACE"], image=os.environ["SCALE_IMAGE"], events_enabled=False, start_timeout=600,
        k8s_api_request_timeout=30, k8s_api_request_retry_timeout=300, delete_grace_period=1,
    )  # fmt: skip
    person = SimpleNamespace(name=f"bare{number}", id=number, url=f"/user/bare{number}/", escaped_name=f"bare{number}", server=None)
    made = KubeSpawner(config=settings, user=person, _mock=True)
    made.orm_spawner = SimpleNamespace(name="", state={}, server=None)
    made.api_token, made.oauth_client_id = "x" * 32, "unused"
    return made


async def main() -> None:
    """Start all, wait until each has its pod's address; stop all, wait until each is gone."""
    began = time.monotonic()
    all_of_them = [spawner(number) for number in range(int(sys.argv[1]))]
    await asyncio.gather(*(one.start() for one in all_of_them))
    started = time.monotonic()
    await asyncio.gather(*(one.stop() for one in all_of_them))
    print(json.dumps([started - began, time.monotonic() - started, time.process_time()]), flush=True)
    os._exit(0)  # its reflectors never end


asyncio.run(main())
