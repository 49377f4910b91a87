"""Everything that a cluster is made of, built once a machine: its programs one after the other, and beside them the images."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from tests.cluster import images, programs

ORDER: Final = ("opa", *(name for name in programs.ALL if name != "opa"))  # other tests wait for it


def _timed(name: str, make: Callable[[], object]) -> None:
    began = time.monotonic()
    make()
    print(f"{name:<12} {time.monotonic() - began:6.1f} s", flush=True)


def _programs() -> None:
    for name in ORDER:
        _timed(name, partial(programs.folder, name))


def _images() -> None:
    _timed("base image", images.base)
    for made in (images.pause, images.workspace, images.server, images.opa):
        _timed(f"image {made.__name__}", made)
    for name in ("postgres", "redis"):
        _timed(f"image {name}", partial(images.debian, name))


def main() -> None:
    """Build what is not there, and say how long each took; the first failure ends with what the compiler or buildah said."""
    with ThreadPoolExecutor(2) as pool:
        for lane in [pool.submit(_programs), pool.submit(_images)]:
            lane.result()


if __name__ == "__main__":
    main()
