"""Reads ``policies/cases``: each case is a question to policy, as flows would put it, and the answer that it must get."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from broker.adapters import policy
from sulku import nouns
from sulku.clearance import Query
from sulku.codec import plain, typed
from sulku.decisions import policy_input
from sulku.people import PUBLIC, Actor, Role, service
from sulku.policies import Bundle

ROOT = Path(__file__).parents[2] / "policies"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
SIGNED_IN = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SERVICES = ("worker", "gateway", "hub", "clock", "setup", "sign-in")
ACTORS = ("public", "researcher", "steward", "auditor", "operator", *(f"service:{name}" for name in SERVICES))


@dataclass(frozen=True)
class Case:
    """``because`` is empty for a yes, which ``gives`` these obligations. ``changed``: not only put together from records."""

    name: str
    action: str
    query: Query
    document: dict[str, Any]
    because: tuple[str, ...]
    gives: dict[str, Any]
    changed: bool


@cache
def bundle() -> Bundle:
    return policy.read(ROOT)


@cache
def _raw(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cases" / f"{name}.yaml").read_text())


@cache
def specifications() -> dict[str, dict[str, Any]]:
    """Every action's part of the files, by action."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "cases").glob("*.yaml")):
        if path.stem != "records":
            assert not found.keys() & _raw(path.stem).keys()
            found |= _raw(path.stem)
    return found


def _ids(value: Any) -> Any:
    """Put ids for ``$names``."""
    match value:
        case str() if value.startswith("$"):
            return _raw("records")[value[1:]]["id"]
        case list():
            return [_ids(item) for item in value]
        case dict():
            return {key: _ids(item) for key, item in value.items()}
    return value


@cache
def record(name: str) -> Any:
    """One named record, as the core has it."""
    fields = _ids(_raw("records")[name])
    return typed(nouns.of(fields["id"]).record, fields)


def actor(name: str, role: str | None = None) -> Actor:
    if name == "public":
        return PUBLIC
    if name.startswith("service:"):
        return service(name.removeprefix("service:"))
    person = record(name)
    acting = Role(role) if role else person.roles[0]
    return Actor(person.id, acting, person.name, person.organisation, person.groups, signed_in=SIGNED_IN)


def question(action: str, spec: dict[str, Any], by: Actor | None = None) -> Query:
    """The question that ``spec`` describes; ``by`` asks it in place of who is named there."""
    by = by or actor(spec["by"], spec.get("as"))
    about = {part: record(name) for part, name in (spec.get("about") or {}).items()}
    facts = [record(spec["target"]), *about.values()]
    named = {part: each.id for part, each in about.items()}
    if by.id.startswith("usr_"):
        facts.append(next(one for one in people() if one.id == by.id))
        named = {"self": by.id, **named}
    seen = {each.id: plain(each) for each in facts}
    return Query(by, action, facts[0].id, _ids(spec.get("command") or {}), seen, named, NOW)


@cache
def people() -> tuple[Any, ...]:
    return tuple(record(name) for name, fields in _raw("records").items() if fields.get("id", "").startswith("usr_"))


def put(document: Any, path: str, value: Any) -> None:
    """Change one place of a document, in place; ``DELETE`` takes it away."""
    *way, last = path.split(".")
    for step in way:
        document = document[int(step) if isinstance(document, list) else step]
    key = int(last) if isinstance(document, list) else last
    if value == "DELETE":
        del document[key]
    else:
        document[key] = copy.deepcopy(value)


def _cases(action: str, spec: dict[str, Any]) -> Iterator[Case]:
    yes = [{}, *spec.get("allowed", ())]
    for number, one in enumerate([*yes, *spec.get("denied", ())]):
        query = question(action, spec | one)
        document = copy.deepcopy(policy_input(query))
        for path, value in one.get("change", {}).items():
            put(document, path, _ids(value))
        because = tuple(sorted(one.get("because", []) + one.get("also", [])))
        gives = {} if because else (spec | one)["gives"]
        name = f"{action}-{number}-{'+'.join(because) or 'yes'}"
        yield Case(name, action, query, document, because, gives, changed=bool(one.get("change")))


@cache
def every() -> tuple[Case, ...]:
    return tuple(case for action, spec in specifications().items() for case in _cases(action, spec))
