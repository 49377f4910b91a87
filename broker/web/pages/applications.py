"""An application as its readers see it, and what stewards and applicants do about it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.flows import applications, datasets, people
from broker.web import views
from broker.web.pages import applying, differences, render, words
from broker.web.pages.asks import Act, By, Form, World, history, key, same
from broker.web.views import Step
from sulku.applications import Application, State, Verdict
from sulku.datasets import Dataset
from sulku.datasets import State as DatasetState
from sulku.errors import InvalidInputError
from sulku.people import Actor, Role
from sulku.ports import Ports

router = APIRouter()


@router.get("/applications/{application}")
def view(request: Request, ports: World, by: By, application: str) -> Response:
    """Show an application: to its people as a task list while they write it, else as it was sent."""
    known = applications.view(ports, by, application)
    if by.role is Role.RESEARCHER and known.state in applying.WRITING:
        return applying.task_list(request, ports, by, known)
    return render.page(request, _shown(ports, by, known))


def _shown(ports: Ports, by: Actor, known: Application, given: dict[str, str] | None = None) -> views.ApplicationPage:
    every = {one.id: one for one in datasets.listing(ports, by)}
    names = people.names(ports)
    steward = by.role is Role.STEWARD
    against = (
        {action: words.sentences(codes) for action, codes in applications.may(ports, by, known.id).items()}
        if by.role is not Role.AUDITOR
        else {}
    )
    if steward and by.id in {one.by for one in known.judgements}:
        against["application.judge"] = words.sentences(["judged-already"])
    changes = applications.changes(ports, known)
    own = (Act("Withdraw", f"/applications/{known.id}/withdraw", "plain", against=against.get("application.withdraw", ())),)
    return views.ApplicationPage(
        application=known,
        names=names,
        datasets=every,
        steward=steward,
        against=against,
        checks=_checks(known, names, every) if steward else (),
        acts=own if by.id == known.applicant and known.state is State.SUBMITTED else (),
        since=changes.since,
        asked=changes.points,
        changed=differences.of_answers(changes.answers, names, every),
        history=history(ports, by, known),
        key=key(),
        given={"me": by.id, **(given or {})},
    )


def _checks(known: Application, names: dict[str, str], every: dict[str, Dataset]) -> tuple[Step, ...]:
    """Return what can be checked without judgement: people, datasets, answers."""
    strangers = [person for person in (known.applicant, *known.form.people) if person not in names]
    gone = [one.dataset for one in known.form.datasets if every[one.dataset].state is not DatasetState.LISTED]
    missing = applying.problems(known)
    special = [every[one.dataset].title for one in known.form.datasets if every[one.dataset].sensitivity == "special"]
    return (
        Step("Everybody on it is in the directory", "failed" if strangers else "done", ", ".join(strangers)),
        Step("Every dataset is available", "failed" if gone else "done", ", ".join(gone)),
        Step("Every question is answered", "failed" if missing else "done", "; ".join(text for _, text in missing)),
        Step("Sensitivity", "done", f"Special category: {', '.join(special)}" if special else "No special category"),
    )


def _did(request: Request, ports: Ports, by: Actor, known: Application, sent: Any, flow: Any) -> Response:
    """Do one thing from the decision card; what is wrong with the form is shown in it."""
    try:
        same(known, sent)
        flow()
    except InvalidInputError as error:
        return render.again(request, _shown(ports, by, known, sent.all), error)
    return render.to(f"/applications/{known.id}")


@router.post("/applications/{application}/judge")
def judge(request: Request, ports: World, by: By, application: str, sent: Form) -> Response:
    """Approve or refuse, as one of two."""
    known = applications.view(ports, by, application)

    def flow() -> None:
        if sent["verdict"] not in set(Verdict):
            raise InvalidInputError("no verdict", fields=[("verdict", "Choose a verdict")])
        applications.judge(ports, by, application, Verdict(sent["verdict"]), sent["reason"], sent.key)

    return _did(request, ports, by, known, sent, flow)


@router.post("/applications/{application}/return")
def return_(request: Request, ports: World, by: By, application: str, sent: Form) -> Response:
    """Ask the applicant to correct points."""
    known = applications.view(ports, by, application)
    return _did(request, ports, by, known, sent, lambda: applications.return_(ports, by, application, sent.lines("points"), sent.key))


@router.post("/applications/{application}/retract")
def retract(request: Request, ports: World, by: By, application: str, sent: Form) -> Response:
    """Take one's own verdict back."""
    known = applications.view(ports, by, application)
    return _did(request, ports, by, known, sent, lambda: applications.retract(ports, by, application))


@router.post("/applications/{application}/declare")
def declare(request: Request, ports: World, by: By, application: str, sent: Form) -> Response:
    """Step aside for good."""
    known = applications.view(ports, by, application)
    return _did(request, ports, by, known, sent, lambda: applications.declare(ports, by, application, sent["reason"]))


@router.get("/applications/{application}/withdraw")
def withdrawing(request: Request, ports: World, by: By, application: str) -> Response:
    """Ask whether to take it back."""
    known = applications.view(ports, by, application)
    view = views.Confirm(
        title="Withdraw this application?",
        consequence=("It is closed for good; the stewards see that you withdrew it.", "To apply again you begin a new one."),
        button="Withdraw the application",
        action=f"/applications/{application}/withdraw",
        back=f"/applications/{application}",
        version=known.version,
        command=f"sulku applications withdraw {application}",
    )
    return render.page(request, view)


@router.post("/applications/{application}/withdraw")
def withdraw(ports: World, by: By, application: str, sent: Form) -> Response:
    """Take it back."""
    same(applications.view(ports, by, application), sent)
    applications.withdraw(ports, by, application)
    return render.to(f"/applications/{application}")
