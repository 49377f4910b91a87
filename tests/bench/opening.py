"""Opening a tunnel, against a plain JupyterHub that spawns the same server in the open."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from tests.bench.figures import Row, Samples, timed
from tests.bench.plain import Plain
from tests.bench.site import Site

ROUNDS = 5
GOAL = 1.15


def run(site: Site) -> Iterator[Row]:
    """Open, spawn and start in turn. Ours begins with the request for a tunnel and ends when people may enter."""
    ada = site.who("ada")
    with Plain(site.at.settings) as plain:
        _, first = timed(lambda: site.shut(ada, site.open(ada)))  # makes her home, narrows the datasets; warms both sides
        plain.stop(plain.start())
        ours, spawned, alone, stages, work = [], [], [], [], []
        for _ in range(ROUNDS):
            idle = site.spent()
            tunnel, seconds = timed(lambda: site.open(ada))
            used = site.spent(tunnel) - idle
            ours.append(seconds)
            stages.append(_stages(site, tunnel))
            site.shut(ada, tunnel)
            idle = plain.spent()
            server, seconds = timed(plain.start)
            work.append((used, plain.spent() - idle))
            spawned.append(seconds)
            plain.stop(server)
            alone.append(plain.alone())
    mine, theirs, bare = (Samples(tuple(one)) for one in (ours, spawned, alone))
    ratio = mine.median / theirs.median
    yield Row("tunnel opening / plain JupyterHub spawn", str(mine), str(theirs), f"{ratio:.2f}×", f"≤ {GOAL}×", ratio <= GOAL)
    busy, other = (Samples(tuple(one)) for one in zip(*work, strict=True))
    yield Row("   processor time of all its parts", str(busy), str(other), f"{busy.median / other.median:.2f}×")
    yield Row("   the same server with no hub at all", "", str(bare), f"{mine.median / bare.median:.2f}×")
    for name, values in zip(
        ("asked → proved closed", "proved → data recorded", "recorded → people may enter"), zip(*stages, strict=True), strict=True
    ):
        yield Row(f"   {name}", str(Samples(values)))
    yield Row("   the very first, with a home to make, and its end", str(Samples((first,))))


def _stages(site: Site, tunnel: str) -> tuple[float, ...]:
    """Return the seconds between what the ledger has of an opening."""
    found = {one["type"]: _at(one) for one in site.entries(record=tunnel)}
    attached = max(_at(one) for one in site.entries(type="mount.attached"))
    times = (found["tunnel.requested"], found["tunnel.closure-proved"], attached, found["tunnel.opened"])
    return tuple((later - earlier).total_seconds() for earlier, later in pairwise(times))


def _at(entry: dict[str, str]) -> datetime:
    return datetime.fromisoformat(entry["at"])
