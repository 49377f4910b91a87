"""The guards of a cluster as data: what of them matters, its digest, and where what is there departs from what was installed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sulku.events import Event, event
from sulku.ledger.canonical import canonical
from sulku.manifests import Manifest

__all__ = ["WATCHED", "Departed", "Departure", "Look", "compare", "digest", "essence", "mark", "touched", "watched"]

# Kinds that hold a tunnel closed, and those that say what the worker may do; all of them are the whole cluster's.
WATCHED: Final = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterRole", "ClusterRoleBinding", "RuntimeClass")
_AGGREGATING: Final = "rbac.authorization.k8s.io/"  # labels that hand a role's rules to another role


@dataclass(frozen=True, slots=True)
class Departure:
    """One guard that is not as it was installed.

    Attributes:
        how: ``missing``, ``changed``, ``unreadable`` where we are not allowed to look any more, or ``touched``: it is as it was,
            but somebody has changed it or made it anew since the last look.
        where: Paths of the fields that differ, such as ``spec.failurePolicy``; empty if it is not there.
    """

    kind: str
    name: str
    how: str
    where: tuple[str, ...] = ()


@event("ledger.guard-departed", stateless=True)
@dataclass(frozen=True, slots=True)
class Departed(Event):
    """A guard of the cluster was found not to be as it was installed; the fields are those of a ``Departure``."""

    kind: str
    name: str
    how: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at all guards found.

    Attributes:
        departures: None means that all is well.
        marks: (kind, name) → what changes with each change of the guard, for the next look to compare.
    """

    departures: tuple[Departure, ...]
    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)


def watched(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """Return those of ``manifests`` that are guards, by kind and name."""
    found = [one for one in manifests if one["kind"] in WATCHED]
    return tuple(sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"])))


def essence(manifest: Manifest) -> Manifest:
    """Return what of an object has an effect: not what the server or Helm notes about it."""
    labels = manifest["metadata"].get("labels") or {}
    about = {"name": manifest["metadata"]["name"], "labels": {key: value for key, value in labels.items() if key.startswith(_AGGREGATING)}}
    return {**{key: value for key, value in manifest.items() if key not in {"metadata", "status"}}, "metadata": about}


def digest(manifests: Iterable[Manifest]) -> str:
    """Return the SHA-256 in hexadecimal digits of the guards among ``manifests``, whatever their order.

    Raises:
        NotCanonicalError: One holds a value that has no single byte form.
    """
    return hashlib.sha256(canonical([essence(one) for one in watched(manifests)])).hexdigest()


def compare(installed: Manifest, found: Manifest | None) -> Departure | None:
    """Return how the guard that was ``found`` departs from the one ``installed``, ``None`` if it does not."""
    kind, name = installed["kind"], installed["metadata"]["name"]
    if found is None:
        return Departure(kind, name, "missing")
    where = tuple(sorted(set(_differences(essence(installed), essence(found), ""))))
    return Departure(kind, name, "changed", where) if where else None


def mark(found: Manifest) -> str:
    """Return what is another text after each change of the object that counts, even one that was taken back."""
    about = found["metadata"]
    return f"{about['uid']} {about.get('generation') or about['resourceVersion']}"


def touched(before: Look, after: Look) -> tuple[Departure, ...]:
    """Return each guard that was changed and changed back, or removed and made anew, between two looks."""
    both = before.marks.keys() & after.marks.keys()
    return tuple(Departure(*key, "touched") for key in sorted(both) if before.marks[key] != after.marks[key])


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{path}[{place}]")
    elif one != other or type(one) is not type(other):
        yield path
