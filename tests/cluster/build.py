"""Everything that a cluster is made of, built once a machine: its programs one after the other, and beside them the images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.cluster import images, programs
from tests.cluster.programs import timed


def _images() -> None:
    timed("base image", images.base)
    for made in (images.pause, images.workspace, images.server, images.opa):
        timed(f"image {made.__name__}", made)
    for name in ("postgres", "redis"):
        timed(f"image {name}", partial(images.debian, name))


def main() -> None:
    """Build what is not there, and say how long each took; the first failure ends with what the compiler or buildah said."""
    with ThreadPoolExecutor(2) as pool:
        for lane in [pool.submit(programs.build), pool.submit(_images)]:
            lane.result()


if __name__ == "__main__":
    main()
