"""Erasing the texts about a record that is over, on a legal ground: on record, once, and never an entry of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from broker.flows.act import Intent, act, command
from broker.flows.see import about_self
from sulku import erasure, ids, releases
from sulku.applications import Application
from sulku.clearance import Clearance
from sulku.errors import NotFoundError
from sulku.events import Erased, Happened
from sulku.people import Actor
from sulku.ports import Facts, Ports
from sulku.records import Erasure, Held
from sulku.releases import Release


def erase(ports: Ports, by: Actor, record: str, ground: str) -> Erasure:
    """Erase every private text about ``record``, and the decisions that show one; may be repeated, and then does nothing.

    A release takes its files' names and findings with it, those of every round.

    Raises:
        DeniedError: Only operators may, and nobody what names themselves.
        NotFoundError: There is no such record.
        RuleError: Texts of such a record are not erased, or somebody still needs them.
        InvalidInputError: No legal ground is named.
        StaleError: Something was written about it meanwhile; try again.
    """
    target = ids.parse(record)
    erasure.require_erasable(target)
    said = erasure.ground(ground)
    files = _files(ports, target) if target.startswith("rel") else ()
    permit = _permit(ports, target)
    about = {**about_self(by), **({"permit": permit} if permit else {}), **{f"output.{n}": one for n, one in enumerate(files)}}
    taken: list[Held] = []

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        del at
        if not facts[target].version:
            raise NotFoundError(f"there is no {ids.noun(target)} {target}")
        erasure.require_over(facts[target], facts[permit] if permit else None)
        taken[:] = [one for one in ports.archive.held([target, *files]) if one.texts or one.decisions]
        return [Happened(one.record, Erased(one.kinds, one.texts, one.decisions, said)) for one in taken]

    receipt = act(ports, Intent(by, erasure.ACTION, target, command("erase", ground=said), about), decide)
    return Erasure(target, sum(one.texts for one in taken), sum(one.decisions for one in taken), receipt.entries)


def _permit(ports: Ports, target: str) -> str:
    known = ports.store.peek([target])[target]
    return known.permit if isinstance(known, Application) else ""


def _files(ports: Ports, release: str) -> tuple[str, ...]:
    """Return the files of every round of ``release`` that no other release still holds."""
    rounds = [one.items for one in ports.archive.history(release) if isinstance(one, releases.Submitted)]
    named = dict.fromkeys(item.output for items in rounds for item in items)
    return tuple(one for one in named if all(_closed(other) for other in ports.store.find("rel", output=one)))


def _closed(release: Release) -> bool:
    return release.state in erasure.ERASABLE["rel"]
