"""A record as a row: its snapshot as JSON, beside the facts that lists and queues look for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

import orjson
from sqlalchemy import ColumnClause, Connection, Select, bindparam, delete, insert, literal_column, select, update

from broker.store.tables import NAMED, NOUNS
from sulku import applications, datasets, ids, mounts, nouns, outputs, people, permits, releases, tunnels
from sulku.codec import Plain, plain, stamp, typed
from sulku.errors import InvalidInputError, StaleError

_BY_ID: Final = {
    (prefix, lock): query.with_for_update() if lock else query
    for prefix, table in NOUNS.items()
    for query in [select(table.c.id, table.c.body).where(table.c.id.in_(bindparam("ids", expanding=True))).order_by(table.c.id)]
    for lock in (False, True)
}
Named = frozenset[tuple[str, str]]  # pairs of part and value
_EMPTY: Final[ColumnClause[str]] = literal_column("''")


def _person(one: people.Person) -> tuple[dict[str, str], Named]:
    named = {("role", role.value) for role in one.roles} | {("group", group) for group in one.groups}
    return {"subject": one.subject, "organisation": one.organisation, "email": people.folded(one.email)}, frozenset(named)


def _dataset(one: datasets.Dataset) -> tuple[dict[str, str], Named]:
    return {"name": one.name, "controller": one.controller}, frozenset(("person", each) for each in one.controllers)


def _application(one: applications.Application) -> tuple[dict[str, str], Named]:
    named = {("person", each) for each in (one.applicant, *one.form.people)}
    named |= {("dataset", wanted.dataset) for wanted in one.form.datasets}
    named |= {("judge", judgement.by) for judgement in one.judgements} | {("conflict", each) for each in one.conflicts}
    return {"applicant": one.applicant, "organisation": one.organisation, "permit": one.permit}, frozenset(named)


def _permit(one: permits.Permit) -> tuple[dict[str, str], Named]:
    paper = one.document
    if paper is None:
        return {}, frozenset()
    named = {("person", each) for each in paper.people} | {("dataset", grant.dataset) for grant in paper.grants}
    facts = {"application": paper.application, "organisation": paper.organisation}
    return facts | {"starts": stamp(paper.starts), "ends": stamp(paper.ends)}, frozenset(named)


def _tunnel(one: tunnels.Tunnel) -> tuple[dict[str, str], Named]:
    deadline = stamp(one.deadline) if one.deadline else ""
    return {"permit": one.permit, "person": one.person, "deadline": deadline}, frozenset()


def _mount(one: mounts.Mount) -> tuple[dict[str, str], Named]:
    grant = one.grant
    return {"tunnel": one.tunnel, "dataset": grant.dataset if grant else "", "edition": grant.version if grant else ""}, frozenset()


def _output(one: outputs.Output) -> tuple[dict[str, str], Named]:
    return {"tunnel": one.tunnel, "permit": one.permit, "person": one.person, "submission": one.submission}, frozenset()


def _release(one: releases.Release) -> tuple[dict[str, str], Named]:
    named = {("person", each) for each in (one.author, *one.people)} | {("output", item.output) for item in one.items}
    named |= {("reviewer", review.by) for review in one.reviews}
    facts = {"author": one.author, "permit": one.permit, "tunnel": one.tunnel, "organisation": one.organisation}
    return facts, frozenset(named)


FACTS: Final[dict[str, Callable[[Any], tuple[dict[str, str], Named]]]] = {
    "usr": _person,
    "dst": _dataset,
    "app": _application,
    "per": _permit,
    "tun": _tunnel,
    "mnt": _mount,
    "out": _output,
    "rel": _release,
}
PARTS: Final = {
    "usr": {"role", "group"},
    "dst": {"person"},
    "app": {"person", "dataset", "judge", "conflict"},
    "per": {"person", "dataset"},
    "rel": {"person", "output", "reviewer"},
}


def belongs(record: Any, known: Mapping[str, Any]) -> tuple[str, str]:
    """Return the person and the permit that ``record`` belongs to, by which the ledger is searched; empty if none.

    Args:
        known: Records at hand; a mount belongs to whom its tunnel does.
    """
    match record:
        case people.Person():
            return record.id, ""
        case applications.Application():
            return record.applicant, record.permit
        case permits.Permit():
            return "", record.id
        case mounts.Mount():
            tunnel = known.get(record.tunnel)
            return (tunnel.person, tunnel.permit) if tunnel else ("", "")
        case tunnels.Tunnel() | outputs.Output():
            return record.person, record.permit
        case releases.Release():
            return record.author, record.permit
        case _:
            return "", ""


def load(connection: Connection, identifiers: Iterable[str], *, lock: bool = False) -> dict[str, Any]:
    """Return records by id; one that does not exist is as it begins, at version 0.

    Rows are locked in one order everywhere (noun, then id), so that two changes cannot wait for each other.

    Raises:
        InvalidInputError: Not an identifier of ours.
    """
    wanted = sorted({ids.parse(identifier) for identifier in identifiers})
    found = {identifier: nouns.begin(identifier) for identifier in wanted}
    for prefix in sorted({identifier[:3] for identifier in wanted} & NOUNS.keys()):
        mine = [identifier for identifier in wanted if identifier.startswith(prefix)]
        for row in connection.execute(_BY_ID[prefix, lock], {"ids": mine}):
            found[row.id] = _snapshot(prefix, row)
    return found


def save(connection: Connection, before: Any, after: Any, at: datetime) -> None:
    """Write ``after`` over ``before``.

    Raises:
        StaleError: The row is not what ``before`` was.
    """
    prefix = after.id[:3]
    table, (facts, named) = NOUNS[prefix], FACTS[prefix](after)
    values = {
        **facts,
        "version": after.version,
        "state": getattr(after, "state", ""),
        "body": orjson.dumps(plain(after)).decode(),
        "updated": stamp(at),
    }
    if before.version == 0:
        connection.execute(insert(table), {**values, "id": after.id, "created": stamp(at)})
        was: Named = frozenset()
    else:
        was = FACTS[prefix](before)[1]
        changed = update(table).where(table.c.id == after.id, table.c.version == before.version).values(values)
        if connection.execute(changed).rowcount != 1:
            raise StaleError(f"{after.id} has moved on")
    for part, value in sorted(was - named):
        one = (NAMED.c.record == after.id, NAMED.c.part == part, NAMED.c.value == value)
        connection.execute(delete(NAMED).where(*one))
    if new := sorted(named - was):
        connection.execute(insert(NAMED), [{"record": after.id, "part": part, "value": value} for part, value in new])


def query(noun: str, where: Mapping[str, Plain]) -> Select[tuple[str, str]]:
    """Return the query for the records of ``noun`` whose facts match, newest first. A list matches any of its values.

    Raises:
        InvalidInputError: There is no such noun or fact.
    """
    if noun not in NOUNS:
        raise InvalidInputError(f"there is no noun {noun!r}")
    table = NOUNS[noun]
    made = select(table.c.id, table.c.body).order_by(table.c.created.desc(), table.c.id.desc())
    for name, value in where.items():
        values = [plain(each) for each in value] if isinstance(value, (list, tuple, set, frozenset)) else [plain(value)]
        if name in PARTS.get(noun, ()):
            made = made.where(table.c.id.in_(select(NAMED.c.record).where(NAMED.c.part == name, NAMED.c.value.in_(values))))
        elif name in table.c and name not in {"body", "version"}:
            made = made.where(table.c[name].in_(values))
            if "" not in values:
                made = made.where(table.c[name] != _EMPTY)  # says nothing new, and lets an index of what is not empty be used
        else:
            raise InvalidInputError(f"{table.name} cannot be found by {name!r}")
    return made


def fetch(connection: Connection, noun: str, found: Select[tuple[str, str]]) -> list[Any]:
    """Return the snapshots that ``found``, a query as ``query`` makes them, selects."""
    return [_snapshot(noun, row) for row in connection.execute(found)]


def _snapshot(prefix: str, row: Any) -> Any:
    return _read(prefix, row.body)


@lru_cache(maxsize=1024)
def _read(prefix: str, body: str) -> Any:
    return typed(cast(type, nouns.TABLE[prefix].record), orjson.loads(body))
