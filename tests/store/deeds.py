"""What the tests of the store do again and again: people, records, and changes under a clearance."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.flows.effects import effects_of
from broker.store import beside
from broker.store.store import SqlStore
from sulku import applications, forms, ids, mounts, people, permits, tunnels
from sulku.clearance import Clearance, Mandate
from sulku.events import Erased, Event, Happened
from sulku.people import Actor, Role
from sulku.ports import Receipt
from tests.fakes import policy

AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
AINO = Actor("usr_a000000000000000", Role.RESEARCHER, organisation="thl")
SAGA = Actor("usr_s000000000000000", Role.STEWARD)
TUOMO = Actor("usr_t000000000000000", Role.STEWARD)
WORKER = people.service("worker")
DATASET = "dst_d000000000000000"


def cleared(store: SqlStore, by: Actor, target: str, *also: str, at: datetime = AT, action: str = "some.thing") -> Clearance:
    """Ask the policy that says yes, about records as they stand now."""
    seen = store.peek([target, *also])
    return policy.clearance(by, action, target, seen.values(), at)


def do(
    store: SqlStore,
    by: Actor,
    target: str,
    *happened: Event,
    also: Iterable[str] = (),
    at: datetime = AT,
    key: str | None = None,
) -> Receipt:
    """Record events of one record under a clearance that saw it."""
    with store.begin(cleared(store, by, target, *also, at=at), at=at, key=key) as unit:
        unit.lock([target, *also])
        return unit.record([Happened(target, one) for one in happened], effects_of)


def person(store: SqlStore, identifier: str, *roles: Role, subject: str = "", name: str = "Aino Aho") -> str:
    happened = people.Registered(name, "aino@example.org", "thl", (), roles, subject, None)
    do(store, people.service("setup"), identifier, happened)
    return identifier


def requested(person_id: str = AINO.id, permit: str = "per_p000000000000000", deadline: datetime | None = None) -> tunnels.Requested:
    return tunnels.Requested(permit, 1, person_id, 60, AT, deadline or AT + timedelta(hours=1), 1000, "dec_d000000000000000")


def tunnel(store: SqlStore, *further: Event, by: Actor = AINO, at: datetime = AT, **fields: Any) -> str:
    """Begin a tunnel and let ``further`` happen to it."""
    identifier = ids.new("tun")
    do(store, by, identifier, requested(**fields), at=at)
    for each in further:
        do(store, WORKER, identifier, each, at=at)
    return identifier


def form(people_: tuple[str, ...] = (), dataset: str = DATASET) -> forms.Form:
    return forms.Form(title="Falls among the old", purpose="To see who falls", people=people_, datasets=(forms.Wanted(dataset, "1", ("age",)),))


def submitted(store: SqlStore, *further: Event, by: Actor = AINO, at: datetime = AT, **fields: Any) -> str:
    """Begin an application, submit it, and let ``further`` happen to it."""
    identifier = ids.new("app")
    answers = form(**fields)
    do(store, by, identifier, applications.Drafted(by.id, by.organisation, answers), applications.Submitted(answers, 1, at), at=at)
    for each in further:
        do(store, SAGA, identifier, each, at=at)
    return identifier


def grant(dataset: str = DATASET) -> permits.Grant:
    return permits.Grant(dataset, "falls", "1", "0" * 64, ("age",), "special")


def permit(store: SqlStore, *persons: str, dataset: str = DATASET, ends: datetime | None = None, envelope: str = "{}", sha256: str = "") -> str:
    """Issue a permit; not signed, as nothing here checks that."""
    identifier = ids.new("per")
    paper = permits.Document(
        permits.SCHEMA, identifier, 1, "app_a000000000000000", "Falls", "To see", "thl", persons, (grant(dataset),),
        AT, ends or AT + timedelta(days=30), permits.Limits(), "default", (SAGA.id, TUOMO.id), AT, "",
    )  # fmt: skip
    do(store, SAGA, identifier, permits.Issued(paper, envelope, sha256 or "0" * 64, 1, paper.application))
    return identifier


def mount(store: SqlStore, tunnel_id: str, dataset: str = DATASET) -> str:
    identifier = ids.new("mnt")
    do(store, WORKER, identifier, mounts.Attached(tunnel_id, grant(dataset), AT), also=[tunnel_id])
    return identifier


def mandate(target: str) -> Mandate:
    return Mandate(WORKER, "tunnel.close", target, "dec_d000000000000000")


def closing() -> tunnels.Closing:
    return tunnels.Closing(tunnels.Cause.DEADLINE, AT)


def end(store: SqlStore, target: str, *happened: Event, at: datetime = AT) -> Receipt:
    """Record endings of one record under its opening decision."""
    with store.begin(mandate(target), at=at) as unit:
        unit.lock([target])
        return unit.record([Happened(target, one) for one in happened], effects_of)


def erase(store: SqlStore, target: str, at: datetime = AT) -> Receipt:
    """Erase what stands beside the ledger about ``target``, on record."""
    (held,) = beside.held(store.database, [target])
    return do(store, SAGA, target, Erased(held.kinds, held.texts, held.decisions, "GDPR Art. 17"), at=at)


def everything(store: SqlStore) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, to compare a before with an after."""
    from sqlalchemy import select

    from broker.store.tables import METADATA

    with store.database.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in METADATA.sorted_tables
        }


