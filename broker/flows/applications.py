"""What researchers and stewards do with applications; the verdict that makes the quorum issues the permit in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from broker.flows.act import Intent, act, clear
from broker.flows.see import about_self, scoped, show
from sulku import applications, datasets, forms, ids, permits, rounds
from sulku.applications import Application, Verdict
from sulku.clearance import Clearance
from sulku.codec import Plain
from sulku.crypto import seal, sign
from sulku.errors import DeniedError, IllegalMoveError
from sulku.events import Happened
from sulku.ledger import canonical
from sulku.people import Actor
from sulku.ports import Facts, Ports, Receipt

JUDGING = ("application.judge", "application.return", "application.declare", "application.retract")
OWN = ("application.draft", "application.submit", "application.withdraw")
MOVES = {
    "application.draft": applications.Move.EDIT,
    "application.submit": applications.Move.SUBMIT,
    "application.withdraw": applications.Move.WITHDRAW,
    "application.judge": applications.Move.JUDGE,
    "application.return": applications.Move.RETURN,
    "application.declare": applications.Move.DECLARE,
    "application.retract": applications.Move.RETRACT,
}


def draft(ports: Ports, by: Actor, answers: dict[str, Plain], application: str | None = None, key: str | None = None) -> Receipt:
    """Begin an application, or save its answers.

    Raises:
        InvalidInputError: An answer cannot be kept; ``fields`` names each.
    """
    target = ids.parse(application, "app") if application else ids.new("app")
    form = forms.read(answers)
    _ = [ids.parse(person, "usr") for person in form.people], [ids.parse(wanted.dataset, "dst") for wanted in form.datasets]
    return _do(ports, by, target, applications.Draft(form), form, key)


def submit(ports: Ports, by: Actor, application: str, key: str | None = None) -> Receipt:
    """Send an application to the stewards.

    Raises:
        InvalidInputError: It is not complete; ``fields`` names each problem.
    """
    return _do(ports, by, application, applications.Submit(), key=key)


def judge(ports: Ports, by: Actor, application: str, verdict: Verdict, reason: str = "", key: str | None = None) -> Receipt:
    """Approve or refuse as one of two; the second approval issues the permit, which the receipt then holds."""
    return _do(ports, by, application, applications.Judge(verdict, reason), key=key)


def retract(ports: Ports, by: Actor, application: str) -> Receipt:
    """Take the asker's own verdict back."""
    return _do(ports, by, application, applications.Retract())


def declare(ports: Ports, by: Actor, application: str, reason: str = "") -> Receipt:
    """Declare a conflict of interest, which cannot be undone."""
    return _do(ports, by, application, applications.Declare(reason))


def return_(ports: Ports, by: Actor, application: str, points: tuple[str, ...], key: str | None = None) -> Receipt:
    """Ask the applicant to correct points."""
    return _do(ports, by, application, applications.Return(points), key=key)


def withdraw(ports: Ports, by: Actor, application: str) -> Receipt:
    """Take an application back."""
    return _do(ports, by, application, applications.Withdraw())


def _about(ports: Ports, by: Actor, target: str, form: forms.Form | None = None) -> dict[str, str]:
    """Return what policy must see of an application: its people and datasets, for conflicts of interest."""
    known: Application = ports.store.peek([target])[target]
    form = form or known.form
    about = about_self(by)
    if known.applicant:
        about["applicant"] = known.applicant
    about |= {f"person.{n}": person for n, person in enumerate(form.people)}
    about |= {f"dataset.{n}": wanted.dataset for n, wanted in enumerate(form.datasets)}
    return about


def _do(
    ports: Ports, by: Actor, application: str, command: applications.Command, form: forms.Form | None = None, key: str | None = None
) -> Receipt:
    target = ids.parse(application, "app")
    intent = Intent(by, command.ACTION, target, command, _about(ports, by, target, form), key)
    permit = ids.new("per")

    def decide(facts: Facts, _: Clearance, at: datetime) -> tuple[Happened, ...]:
        now: Application = facts[target]
        if isinstance(command, (applications.Draft, applications.Submit)):
            for wanted in (form or now.form).datasets:
                datasets.require_available(facts[wanted.dataset], wanted)
        happened = applications.decide(now, command, by.id, by.organisation, permit, at)
        decided = next((one.event for one in happened if isinstance(one.event, applications.Decided)), None)
        if decided is not None and decided.permit:
            happened = (*happened, issue(ports, now, facts, decided, at))
        return happened

    return act(ports, intent, decide)


def issue(ports: Ports, application: Application, facts: Facts, decided: applications.Decided, at: datetime) -> Happened:
    """Write and sign the permit that an approval gives."""
    wanted = {one.dataset: facts[one.dataset] for one in application.form.datasets}
    document = permits.write(application, decided.permit, wanted, decided.by, at=at, checkpoint=ports.store.latest_checkpoint())
    payload = canonical.canonical(permits.payload(document))
    envelope = ports.signer.sign(sign.PERMIT, payload)
    return Happened(document.id, permits.Issued(document, envelope, seal.fingerprint(payload), document.revision, application.id))


def listing(ports: Ports, by: Actor, **where: Plain) -> list[Application]:
    """Return the applications that ``by`` may see, newest first; drafts only to their own people."""
    every = scoped(ports, by, "application.list")
    return [one for one in ports.store.find("app", **where) if _theirs(one, by) or (every and one.round)]


def _theirs(application: Application, by: Actor) -> bool:
    return by.id == application.applicant or by.id in application.form.people


def view(ports: Ports, by: Actor, application: str) -> Application:
    """Return one application.

    Raises:
        NotFoundError: There is none, or the reader may not know that there is.
    """
    target = ids.parse(application, "app")
    return show(ports, by, "application.view", target, **_about(ports, by, target))  # type: ignore[no-any-return]


def changes(ports: Ports, shown: Application) -> rounds.AnswersChanged:
    """Return what changed in an application since the round before. Takes the record: who holds it was cleared to see it."""
    return rounds.of_application(ports.archive.history(shown.id) if shown.round else (), shown)


def may(ports: Ports, by: Actor, application: str) -> dict[str, list[str]]:
    """Return, for each action of the asker's role, the reason codes against it; empty means open.

    Asks the very policy and table that guard the flows, so a page cannot disagree with them.
    """
    target = ids.parse(application, "app")
    known: Application = ports.store.peek([target])[target]
    about = _about(ports, by, target)
    actions = JUDGING if by.role.value == "steward" else OWN
    return {action: against(ports, Intent(by, action, target, {}, about), applications.MACHINE, known.state, MOVES[action]) for action in actions}


def against(ports: Ports, intent: Intent, machine: Any, state: Any, move: Any) -> list[str]:
    """Return the reason codes against an action now; empty means open. Asking is not trying: nothing is recorded."""
    try:
        machine.after(state, move)
    except IllegalMoveError:
        return ["illegal-move"]
    try:
        clear(ports, intent, trying=False)
    except DeniedError as error:
        return list(error.reasons)
    return []
