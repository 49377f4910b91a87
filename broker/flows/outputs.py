"""Freezing a file out of a tunnel, having it checked and rebuilt in isolation, and showing what was made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from broker.flows.act import Intent, act, command
from broker.flows.see import show
from broker.flows.tunnels import GATEWAY, WORKER
from sulku import ids, outputs, releases
from sulku.clearance import Clearance
from sulku.codec import Plain
from sulku.disclosure.files import safe_name
from sulku.errors import InvalidInputError, NotFoundError, RuleError, StaleError
from sulku.events import Happened
from sulku.outputs import Output
from sulku.people import Actor
from sulku.ports import Facts, Inspector, Ports
from sulku.tunnels import State as TunnelState
from sulku.tunnels import Tunnel


def freeze(ports: Ports, tunnel: str, submission: str, name: str, data: bytes, declared: dict[str, Plain]) -> Output:
    """Keep the bytes of a file that the gateway pulled from ``tunnel``, as they are, for ever.

    Raises:
        UnsafeNameError: The name is not a plain file name.
        InvalidInputError: The file is empty or larger than ``MAX_BYTES``.
        RuleError: The tunnel is not open, or has too many files in this submission.
    """
    name = safe_name(name)
    if not 0 < len(data) <= outputs.MAX_BYTES:
        raise InvalidInputError(f"{name} has {len(data)} bytes", fields=[(name, f"1 to {outputs.MAX_BYTES} bytes")])
    known: Tunnel = ports.store.peek([tunnel])[tunnel]
    sha256 = ports.blobs.put(data)
    if (frozen := _frozen(ports, tunnel, submission, name)) is not None:
        return _same(frozen, sha256)  # a gateway that did not hear our answer asks again
    target = ids.new("out")

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        now: Tunnel = facts[tunnel]
        if now.state is not TunnelState.OPEN:
            raise RuleError("tunnel-not-open", f"the tunnel is {now.state}")
        if _frozen(ports, tunnel, submission, name) is not None:  # the tunnel's row is locked: nobody else freezes one now
            raise StaleError(f"{name} was frozen meanwhile")
        frozen = outputs.Frozen(tunnel, now.permit, now.person, submission, name, len(data), sha256, declared, at)
        return [Happened(target, frozen)]

    about = {"tunnel": tunnel, "permit": known.permit}
    wanted = command("freeze", submission=submission, sha256=sha256, size=len(data))
    try:
        receipt = act(ports, Intent(GATEWAY, "output.freeze", target, wanted, about), decide)
    except StaleError:
        if (frozen := _frozen(ports, tunnel, submission, name)) is None:
            raise
        return _same(frozen, sha256)  # another gateway pulled it at the same moment
    return receipt.facts[target]  # type: ignore[no-any-return]


def _frozen(ports: Ports, tunnel: str, submission: str, name: str) -> Output | None:
    """Return the file of that name in the submission, if it is frozen already.

    Raises:
        RuleError: It is not, and the submission has as many files as it may.
    """
    earlier: list[Output] = ports.store.find("out", tunnel=tunnel, submission=submission)
    found = next((one for one in earlier if one.name == name), None)
    if found is None and len(earlier) >= outputs.MAX_FILES:
        raise RuleError("too-many-files", f"a submission has at most {outputs.MAX_FILES} files", "Send fewer files at a time.")
    return found


def _same(frozen: Output, sha256: str) -> Output:
    if frozen.sha256 != sha256:
        raise RuleError("changed-file", f"{frozen.name} was frozen with other bytes", "Submit it anew; a submission never changes.")
    return frozen


def inspect(ports: Ports, inspector: Inspector, profile: Mapping[str, Plain], output: str) -> Output:
    """Run the automatic checks on a frozen output and keep what it was rebuilt to; may be repeated.

    Raises:
        InspectionUnavailableError: It could not be inspected in isolation; it stays frozen.
    """
    known: Output = ports.store.peek([output])[output]
    if known.state is not outputs.State.FROZEN:
        return known
    seen = inspector.inspect(known.name, ports.blobs.get(known.sha256), dict(known.declared or {}), dict(profile))
    rebuilt = ports.blobs.put(seen.rebuilt) if seen.rebuilt else ""
    findings = tuple(finding.document() for finding in seen.findings)
    blocked = seen.blocked or not rebuilt
    event = outputs.Inspected(
        kind=seen.kind,
        media=seen.media_type,
        rebuilt=rebuilt,
        rebuilt_name=seen.rebuilt_name,
        findings=findings,
        summary=_without_floats({**seen.summary, "text": seen.text}),
        blocked=blocked,
        profile=str(profile.get("name", "")),
    )
    holding = _holding(ports, output)

    def decide(facts: Facts, *_: object) -> Sequence[Happened]:
        outputs.MACHINE.after(facts[output].state, outputs.Move.INSPECT)
        if _holding(ports, output) != holding:  # submitted meanwhile; the effect is done again and then sees it
            raise StaleError(f"{output} was submitted while it was being inspected")
        follow = [Happened(one, releases.ItemRebuilt(output, rebuilt, blocked)) for one in holding]
        return [Happened(output, event), *follow]

    about = {f"release.{n}": one for n, one in enumerate(holding)}
    receipt = act(ports, Intent(WORKER, "output.inspect", output, command("inspect", rebuilt=rebuilt), about), decide)
    return receipt.facts[output]  # type: ignore[no-any-return]


def _holding(ports: Ports, output: str) -> list[str]:
    """Return the releases under review that hold ``output``."""
    return [one.id for one in ports.store.find("rel", state="submitted", output=output)]


def _without_floats(summary: dict[str, Any]) -> dict[str, Plain]:
    return json.loads(json.dumps(summary), parse_float=str)  # type: ignore[no-any-return]


def preview(ports: Ports, by: Actor, output: str) -> tuple[Output, bytes]:
    """Return an output and the bytes that it was rebuilt to, for those who may see them; the reading is recorded.

    Raises:
        NotFoundError: There is none that the reader may see, or nothing could be rebuilt from it.
        IntegrityError: The bytes are not those that were reviewed.
    """
    target = ids.parse(output, "out")
    known: Output = ports.store.peek([target])[target]
    about = {"permit": known.permit} if known.permit else {}
    seen: Output = show(ports, by, "output.view", target, **about)
    if not seen.rebuilt:
        raise NotFoundError(f"nothing could be rebuilt from {seen.name}")
    return seen, ports.blobs.get(seen.rebuilt)


def listing(ports: Ports, by: Actor, release: str) -> list[Output]:
    """Return the outputs of a release, in its order, for whoever may see the release."""
    known: releases.Release = show(ports, by, "release.view", ids.parse(release, "rel"))
    facts = ports.store.peek([item.output for item in known.items])
    return [facts[item.output] for item in known.items]
