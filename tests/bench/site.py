"""One whole installation for everything that needs tunnels, with a permit, started when it is first needed."""

from __future__ import annotations

import json
import time
from typing import Any

from broker.adapters.cage import inhabitants
from sulku import ids
from tests.bench import figures
from tests.stories.installation import Installation
from tests.stories.person import Lab, Person
from tests.stories.story import Story

PATIENCE = 120.0
LOOK = 0.05  # seconds between looks at a tunnel that opens


class Site:
    """An installation in which Ada, Aki, Eva and Ilo hold a permit to two datasets."""

    def __init__(self) -> None:
        self._installation: Installation | None = None

    @property
    def at(self) -> Installation:
        """The installation, running."""
        if self._installation is None:
            self._installation = Installation().__enter__()
            self.story = Story(self._installation)
            self.story.catalogue()
            self.story.apply()
        return self._installation

    def close(self) -> None:
        """End all of it."""
        if self._installation is not None:
            self._installation.__exit__(None, None, None)

    def who(self, name: str) -> Person:
        """Return somebody, signed in."""
        _ = self.at
        return self.story.who(name)

    def open(self, person: Person, minutes: int = 30) -> str:
        """Have ``person`` open a tunnel; returns its id as soon as people may enter."""
        tunnel = str(person.post("/tunnels", {"permit": self.story.permit, "minutes": minutes})["id"])
        until = time.monotonic() + PATIENCE
        while (found := person.get(f"/tunnels/{tunnel}"))["state"] != "open":
            if found["state"] in {"closing", "closed"} or time.monotonic() > until:
                raise RuntimeError(f"{tunnel} did not open: {found}\n{self.at.running.tail('broker')}")
            time.sleep(LOOK)
        return tunnel

    def shut(self, person: Person, tunnel: str) -> None:
        """Have ``person`` close it; returns when nothing of it is left."""
        person.post(f"/tunnels/{tunnel}/close")
        person.wait(f"/tunnels/{tunnel}", "state", "closed", seconds=PATIENCE)

    def spent(self, tunnel: str = "") -> float:
        """Return the processor time, in seconds, of our servers, and of all that a tunnel consists of."""
        running = [self.at.running.processes[name].pid for name in ("broker", "gateway", "hub")]
        if tunnel:
            known = json.loads((self.at.state / "run" / ids.label(tunnel) / "namespaces.json").read_text())
            running += [known["supervisor"], *inhabitants(known["pid-namespace"])]
        return figures.spent(*running)

    def enter(self, person: Person, tunnel: str) -> Lab:
        """Return the inside of a tunnel, with a kernel started."""
        person.sign_in()
        lab = person.enter(tunnel)
        lab.start()
        return lab

    def entries(self, **where: Any) -> list[dict[str, Any]]:
        """Return entries of the ledger, as the auditor sees them."""
        asked = "&".join(f"{name}={value}" for name, value in where.items())
        return list(self.who("tove").get(f"/ledger/entries?{asked}&most=200")["entries"])
