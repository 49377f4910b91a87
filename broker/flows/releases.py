"""Review and delivery: what is judged is what was rebuilt, what leaves is what was judged, with a signed manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from broker.flows.act import Intent, act, command
from broker.flows.applications import against
from broker.flows.see import about_self, scoped, show
from broker.flows.tunnels import GATEWAY, WORKER
from sulku import ids, outputs, releases, rounds
from sulku.clearance import Clearance
from sulku.codec import Plain, stamp
from sulku.crypto import seal, sign
from sulku.errors import DeniedError, IntegrityError, NotFoundError, RuleError, StaleError
from sulku.events import Happened
from sulku.ledger import canonical
from sulku.outputs import Output
from sulku.people import Actor, Role
from sulku.ports import Facts, Inspector, Ports, Receipt
from sulku.releases import Item, Release, State
from sulku.texts import clean
from sulku.tunnels import Tunnel

TRIES = 5  # to submit while the outputs' inspections are being recorded
MOVES = {
    "release.judge": releases.Move.JUDGE,
    "release.retract": releases.Move.RETRACT,
    "release.consolidate": releases.Move.APPROVE,
    "release.withdraw": releases.Move.WITHDRAW,
}


def submit(
    ports: Ports, tunnel: str, title: str, context: str, frozen: tuple[str, ...], release: str | None = None, key: str | None = None
) -> Release:
    """Put frozen outputs of ``tunnel`` under review, for its person; ``release`` answers a return, ``key`` makes it repeatable.

    Raises:
        RuleError: An output is of another tunnel, or the release is another person's or not returned.
        InvalidInputError: No title, or no outputs.
    """
    known: Tunnel = ports.store.peek([tunnel])[tunnel]
    target = ids.parse(release, "rel") if release else ids.new("rel")
    wanted = releases.Submit(clean(title, most=200, lines=False), clean(context), tuple(map(ids.parse, frozen)))
    if len(wanted.title) < 3 or not wanted.outputs:
        raise RuleError("nothing-submitted", "a submission needs a title and at least one file", "Give --title and name the files.")
    about = {"tunnel": tunnel, "permit": known.permit, "author": known.person}
    about |= {f"output.{n}": output for n, output in enumerate(wanted.outputs)}

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        before: Release = facts[target]
        releases.MACHINE.after(before.state, releases.Move.SUBMIT)
        if before.version and (before.author != known.person or before.permit != known.permit):
            raise RuleError("not-yours", f"{target} is not a release of this person under this permit")
        items = tuple(_item(facts[output], tunnel) for output in wanted.outputs)
        paper = facts[known.permit].paper
        submitted = releases.Submitted(
            author=known.person,
            people=paper.people,
            organisation=paper.organisation,
            permit=known.permit,
            tunnel=tunnel,
            title=wanted.title,
            context=wanted.context,
            items=items,
            digest=releases.digest(items),
            round=before.round + 1,
            at=at,
        )
        return [Happened(target, submitted)]

    intent = Intent(GATEWAY, wanted.ACTION, target, wanted, about, key)
    for _ in range(TRIES):
        with contextlib.suppress(StaleError):  # an output's inspection was recorded meanwhile: look again
            return _made(act(ports, intent, decide))
    return _made(act(ports, intent, decide))


def _made(receipt: Receipt) -> Release:
    return next(record for record in receipt.facts.values() if isinstance(record, Release))


def _item(output: Output, tunnel: str) -> Item:
    if output.tunnel != tunnel:
        raise RuleError("other-tunnel", f"{output.id} was not frozen out of this tunnel")
    done = output.state is not outputs.State.FROZEN
    return Item(output.id, output.name, output.sha256, output.rebuilt, output.blocked if done else None)


def compare(ports: Ports, inspector: Inspector, profile: Mapping[str, Plain], release: str) -> Release:
    """Look at the tables of a release together, in isolation, and keep what they give away of each other; may be repeated.

    Raises:
        InspectionUnavailableError: They could not be compared in isolation; nobody can judge until they are.
    """
    known: Release = ports.store.peek([release])[release]
    wanted = releases.digest(known.items)
    if known.state is not State.SUBMITTED or known.compared == wanted or any(item.blocked is None for item in known.items):
        return known
    found: list[Output] = [ports.store.peek([item.output])[item.output] for item in known.items]
    tables = [(one.rebuilt_name, ports.blobs.get(one.rebuilt), one.declared or {}) for one in found if one.rebuilt and one.kind == "csv"]
    findings = tuple(finding.document() for finding in inspector.compare(tables, profile))

    def decide(facts: Facts, *_: object) -> Sequence[Happened]:
        if releases.digest(facts[release].items) != wanted:
            raise StaleError(f"{release} has changed since its files were compared")
        return [Happened(release, releases.Compared(wanted, findings))]

    intent = Intent(WORKER, "release.compare", release, command("compare", digest=wanted))
    return act(ports, intent, decide).facts[release]  # type: ignore[no-any-return]


def judge(ports: Ports, by: Actor, release: str, marks: tuple[releases.Mark, ...], key: str | None = None) -> Receipt:
    """Give the asker's verdict on every file; nobody else sees it until the quorum is in."""
    return _do(ports, by, release, releases.Judge(marks), key)


def retract(ports: Ports, by: Actor, release: str) -> Receipt:
    """Take the asker's own verdict back, before the consolidation."""
    return _do(ports, by, release, releases.Retract())


def consolidate(
    ports: Ports, by: Actor, release: str, *, let_out: bool, points: tuple[str, ...] = (), key: str | None = None
) -> Receipt:
    """Close the round: let every file out, or return the release with points."""
    return _do(ports, by, release, releases.Consolidate(let_out, points), key)


def withdraw(ports: Ports, by: Actor, release: str) -> Receipt:
    """Take a release back, as its author."""
    return _do(ports, by, release, releases.Withdraw())


def _about(ports: Ports, by: Actor, target: str) -> dict[str, str]:
    known: Release = ports.store.peek([target])[target]
    if not known.version:
        return about_self(by)
    people = {f"person.{n}": person for n, person in enumerate(known.people)}
    return {**about_self(by), "author": known.author, "permit": known.permit, **people}


def _do(ports: Ports, by: Actor, release: str, wanted: releases.Command, key: str | None = None) -> Receipt:
    target = ids.parse(release, "rel")
    intent = Intent(by, wanted.ACTION, target, wanted, _about(ports, by, target), key)
    return act(ports, intent, lambda facts, _, at: releases.decide(facts[target], wanted, by.id, at))


def deliver(ports: Ports, release: str) -> Release:
    """Check every rebuilt byte against what was judged, sign the manifest, and open the pick-up; may be repeated.

    Raises:
        IntegrityError: A file is not the one that was judged; nothing is delivered.
    """
    known: Release = ports.store.peek([release])[release]
    if known.state is not State.APPROVED:
        return known
    frozen: dict[str, Output] = ports.store.peek([item.output for item in known.items])
    files = [_judged(ports, item, frozen[item.output]) for item in known.items]

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        now: Release = facts[release]
        releases.MACHINE.after(now.state, releases.Move.DELIVER)
        payload = canonical.canonical(_manifest(now, files, at, ports.store.latest_checkpoint()))
        envelope = ports.signer.sign(sign.RELEASE, payload)
        leaving = tuple(item.output for item in now.items)
        delivered = releases.Delivered(envelope, seal.fingerprint(payload), leaving, at)
        return [Happened(release, delivered), *(Happened(output, outputs.Released(release)) for output in leaving)]

    about = {"permit": known.permit, **{f"output.{n}": item.output for n, item in enumerate(known.items)}}
    receipt = act(ports, Intent(WORKER, "release.deliver", release, command("deliver"), about), decide)
    return receipt.facts[release]  # type: ignore[no-any-return]


def _judged(ports: Ports, item: Item, output: Output) -> dict[str, Plain]:
    if output.rebuilt != item.rebuilt or output.sha256 != item.frozen or output.blocked:
        raise IntegrityError(f"{item.output} is not the file that was judged")
    size = len(ports.blobs.get(item.rebuilt))
    return {"output": item.output, "name": output.rebuilt_name, "media": output.media, "sha256": item.rebuilt, "bytes": size}


def _manifest(release: Release, files: list[dict[str, Plain]], at: datetime, checkpoint: str) -> dict[str, Plain]:
    return {
        "schema": releases.SCHEMA,
        "id": release.id,
        "round": release.round,
        "permit": release.permit,
        "title": release.title,
        "author": release.author,
        "approved_by": list(release.decided_by),
        "digest": releases.digest(release.items),
        "files": files,
        "delivered": stamp(at),
        "checkpoint": checkpoint,
    }


def fetch(ports: Ports, by: Actor, release: str, output: str) -> tuple[str, str, bytes]:
    """Return one released file: its name, its media type, its bytes; each fetch is recorded.

    Raises:
        NotFoundError: There is none that the asker may have.
        RuleError: It is not released yet.
    """
    target = ids.parse(release, "rel")
    wanted = command("fetch", output=ids.parse(output, "out"))
    intent = Intent(by, "release.fetch", target, wanted, {**_about(ports, by, target), "output": output})

    def decide(facts: Facts, *_: object) -> Sequence[Happened]:
        now: Release = facts[target]
        if now.state is not State.RELEASED:
            raise RuleError("not-released", f"the release is {now.state}", "You are told when it can be fetched.")
        item = next((item for item in now.items if item.output == output), None)
        if item is None:
            raise RuleError("not-in-release", f"{output} is not in this release")
        return [Happened(target, releases.Fetched(by.id, output, item.rebuilt))]

    try:
        receipt = act(ports, intent, decide)
    except DeniedError as error:
        raise NotFoundError(f"there is no release {target} that you may fetch") from error
    file: Output = receipt.facts[output]
    return file.rebuilt_name, file.media, ports.blobs.get(file.rebuilt)


def listing(ports: Ports, by: Actor, **where: Plain) -> list[Release]:
    """Return the releases that ``by`` may see, blinded, newest first."""
    every = scoped(ports, by, "release.list")
    return [_blind(one, by) for one in ports.store.find("rel", **where) if every or by.id == one.author or by.id in one.people]


def view(ports: Ports, by: Actor, release: str) -> Release:
    """Return one release, blinded for the reader.

    Raises:
        NotFoundError: There is none, or the reader may not know that there is.
    """
    target = ids.parse(release, "rel")
    return _blind(show(ports, by, "release.view", target, **{k: v for k, v in _about(ports, by, target).items() if k != "self"}), by)


def changes(ports: Ports, shown: Release) -> rounds.FilesChanged:
    """Return what became of a release's files since the round before. Takes the record: who holds it was cleared to see it."""
    return rounds.of_release(ports.archive.history(shown.id) if shown.round > 1 else (), shown)


def manifest(ports: Ports, by: Actor, release: str) -> str:
    """Return the signed manifest (a DSSE envelope, JSON text) of a delivered release.

    Raises:
        NotFoundError: There is none that the asker may see, or it is not delivered.
    """
    seen = view(ports, by, release)
    if not seen.envelope:
        raise NotFoundError(f"{release} has not been delivered")
    return seen.envelope


def _blind(release: Release, by: Actor) -> Release:
    return releases.blind(release, by.id, reviewer=by.role in {Role.STEWARD, Role.AUDITOR})


def may(ports: Ports, by: Actor, release: str) -> dict[str, list[str]]:
    """Return, for each action, the reason codes against it; empty means open."""
    target = ids.parse(release, "rel")
    known: Release = ports.store.peek([target])[target]
    about = _about(ports, by, target)
    return {action: against(ports, Intent(by, action, target, {}, about), releases.MACHINE, known.state, move) for action, move in MOVES.items()}
