"""The nouns as one table: for each prefix its record, how it begins and how it evolves, for everything that is generic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

from sulku import applications, datasets, erasure, ids, mounts, outputs, people, permits, releases, tunnels
from sulku.events import Erased, Event


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything at once: the target of searches, lists and exports. Nothing ever changes it."""

    id: str
    version: int = 0


Snapshot = (
    people.Person
    | datasets.Dataset
    | applications.Application
    | permits.Permit
    | tunnels.Tunnel
    | mounts.Mount
    | outputs.Output
    | releases.Release
    | Whole
)


@dataclass(frozen=True, slots=True)
class Noun:
    """How one noun lives: ``record(id)`` begins it, ``evolve`` folds an event in."""

    name: str
    plural: str
    record: Callable[[str], Any]
    evolve: Callable[[Any, Any], Any]


def _erasable(evolve: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return ``evolve`` for records whose texts may be erased."""
    return lambda record, happened: erasure.evolve(record) if isinstance(happened, Erased) else evolve(record, happened)


TABLE: Final = {
    "usr": Noun("person", "people", people.Person, _erasable(people.evolve)),
    "dst": Noun("dataset", "datasets", datasets.Dataset, datasets.evolve),
    "app": Noun("application", "applications", applications.Application, _erasable(applications.evolve)),
    "per": Noun("permit", "permits", permits.Permit, permits.evolve),
    "tun": Noun("tunnel", "tunnels", tunnels.Tunnel, _erasable(tunnels.evolve)),
    "mnt": Noun("mount", "mounts", mounts.Mount, mounts.evolve),
    "out": Noun("output", "outputs", outputs.Output, _erasable(outputs.evolve)),
    "rel": Noun("release", "releases", releases.Release, _erasable(releases.evolve)),
    "led": Noun("ledger", "ledger", Whole, lambda whole, _: whole),
}


def of(identifier: str) -> Noun:
    """Return the noun that ``identifier`` names.

    Raises:
        InvalidInputError: It is not an identifier of ours.
    """
    return TABLE[ids.parse(identifier)[:3]]


def begin(identifier: str) -> Any:
    """Return the record ``identifier`` before anything has happened to it (version 0)."""
    return of(identifier).record(identifier)


def replay(identifier: str, history: Iterable[Event]) -> Any:
    """Rebuild a record from its history."""
    return reduce(of(identifier).evolve, history, begin(identifier))
