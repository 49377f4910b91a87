"""A researcher's own pages: my work, and writing an application section by section."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.convertors import StringConvertor, register_url_convertor

from broker.flows import applications, colleagues, datasets, notices, people, permits, releases, tunnels
from broker.web import views
from broker.web.pages import render, sentences
from broker.web.pages.asks import Act, By, Form, Sent, World, history, key, require, same
from broker.web.views import Moment, Task
from sulku import forms
from sulku.applications import Application, State
from sulku.codec import plain
from sulku.datasets import State as DatasetState
from sulku.errors import InvalidInputError, NotFoundError
from sulku.people import Actor
from sulku.ports import Ports
from sulku.records import Notice

WRITING: Final = {State.DRAFT, State.RETURNED}
SECTIONS: Final = {
    "project": ("Project", "Title, purpose, legal basis", ("title", "purpose", "basis")),
    "people": ("People", "Who else will see the data", ("people",)),
    "data": ("Data", "Datasets and variables", ("datasets",)),
    "setting": ("Setting", "From when to when", ("starts", "ends")),
    "outputs": ("Outputs", "What you expect to take out", ("outputs",)),
}


After = Annotated[str, Query(alias="next")]


class _Section(StringConvertor):
    regex = "|".join(SECTIONS)


register_url_convertor("section", _Section())
router = APIRouter()


@router.get("/work")
def work(request: Request, ports: World, by: By) -> Response:
    """Show everything of the researcher's, with who acts next."""
    view = views.Work(
        applications=applications.listing(ports, by),
        permits=permits.listing(ports, by),
        tunnels=tunnels.listing(ports, by),
        releases=releases.listing(ports, by),
        notices=told(notices.listing(ports, by)),
    )
    return render.page(request, view)


def told(listed: list[Notice]) -> tuple[Moment, ...]:
    """Return notices as lines of a timeline."""
    place = sentences.PLACES
    return tuple(
        Moment(one.at, sentences.TITLES.get(one.what, one.what), "", f"{place[one.about[:3]]}{one.about}" if one.about[:3] in place else "")
        for one in listed[:5]
    )


@router.post("/applications")
def begin(ports: World, by: By, sent: Form, dataset: str = "") -> Response:
    """Begin an application, for a dataset if one is named."""
    latest = datasets.view(ports, by, dataset).editions[-1:] if dataset else ()
    wanted = [{"dataset": dataset, "version": one.version, "variables": []} for one in latest]
    receipt = applications.draft(ports, by, {"datasets": wanted}, key=sent.key)
    made = next(identifier for identifier in receipt.facts if identifier.startswith("app_"))
    return render.to(f"/applications/{made}")


def task_list(request: Request, ports: Ports, by: Actor, known: Application) -> Response:
    """Show an application that is being written, section by section."""
    wrong = {_section(field) for field, _ in problems(known)}
    tasks = tuple(
        Task(title, f"/applications/{known.id}/{name}", _status(known, name, wrong), hint) for name, (title, hint, _) in SECTIONS.items()
    )
    left = len(wrong)
    against = (f"{left} of {len(tasks)} sections are not complete. You, or anybody on it, can complete them.",) if left else ()
    acts = (
        Act("Check answers and send", f"/applications/{known.id}/check", against=against),
        Act("Withdraw", f"/applications/{known.id}/withdraw", "plain"),
    )
    return render.page(request, views.TaskList(known, tasks, acts, history(ports, by, known)))


def problems(known: Application) -> tuple[tuple[str, str], ...]:
    """Return what is missing in an application, as (field, problem); empty if it can be sent."""
    try:
        forms.require_complete(known.form)
    except InvalidInputError as error:
        return tuple(error.fields)
    return ()


def _section(field: str) -> str:
    return next((name for name, (_, _, fields) in SECTIONS.items() if field.partition("[")[0] in fields), "project")


def _status(known: Application, name: str, wrong: set[str]) -> str:
    if name not in wrong:
        return "Completed"
    return "In progress" if any(getattr(known.form, field) for field in SECTIONS[name][2]) else "Not started"


def writing(ports: Ports, by: Actor, application: str) -> Application:
    """Return an application that can still be written.

    Raises:
        NotFoundError: There is none, or it was sent.
    """
    known = applications.view(ports, by, application)
    if known.state not in WRITING:
        raise NotFoundError("the answers cannot be changed now: the application was sent")
    return known


@router.get("/applications/{application}/check")
def check(request: Request, ports: World, by: By, application: str) -> Response:
    """Show all answers, and what is missing, before they are sent."""
    known = writing(ports, by, application)
    return render.page(request, checked(ports, by, known, problems(known)))


def checked(ports: Ports, by: Actor, known: Application, errors: tuple[tuple[str, str], ...] = ()) -> views.CheckAnswers:
    """Return the page of all answers."""
    every = {one.id: one for one in datasets.listing(ports, by)}
    return views.CheckAnswers(known, people.names(ports), every, key(), errors)


@router.get("/applications/{application}/{name:section}")
def section(request: Request, ports: World, by: By, application: str, name: str, after: After = "") -> Response:
    """Ask the questions of one section."""
    known = writing(ports, by, application)
    return render.page(request, _asked(ports, by, known, name, {**plain(known.form), "add": ""}, after))


def _asked(ports: Ports, by: Actor, known: Application, name: str, given: dict[str, Any], next_: str = "") -> views.Section:
    listed = [one for one in datasets.listing(ports, by) if one.state is DatasetState.LISTED] if name == "data" else []
    if name == "data" and given["datasets"] and not isinstance(given["datasets"][0], str):
        given["datasets"] = [one["dataset"] for one in given["datasets"]]
    titles = {"project": "About the project", "data": "Which data?", "setting": "When?", "outputs": "What will come out?"}
    return views.Section(known, name, titles.get(name, SECTIONS[name][0]), given, people.names(ports), listed, next_)


@router.post("/applications/{application}/{name:section}")
def save(request: Request, ports: World, by: By, application: str, name: str, sent: Form) -> Response:
    """Save the answers of one section, and go on."""
    known = writing(ports, by, application)
    try:
        same(known, sent)
        changed = _answers(ports, by, known, name, sent)
        applications.draft(ports, by, {**plain(known.form), **changed}, application)
    except InvalidInputError as error:
        typed = {
            **plain(known.form),
            **sent.all,
            "people": sent.every("person"),
            "add": sent["people"],
            "datasets": list(sent.every("dataset")),
        }
        return render.again(request, _asked(ports, by, known, name, typed, sent["next"]), error)
    return render.to(_after(application, name, changed, sent["next"]))


def _after(application: str, name: str, changed: dict[str, Any], next_: str) -> str:
    unset = next((one["dataset"] for one in changed.get("datasets", ()) if not one["variables"]), "")
    if name == "data" and unset:
        return f"/applications/{application}/data/{unset}"
    return f"/applications/{application}/check" if next_ == "check" else f"/applications/{application}"


def _answers(ports: Ports, by: Actor, known: Application, name: str, sent: Sent) -> dict[str, Any]:
    if name == "people":
        return {"people": list(dict.fromkeys((*sent.every("person"), *_named(ports, by, sent))))}
    if name == "data":
        before = {one.dataset: plain(one) for one in known.form.datasets}
        latest = {one.id: one.editions[-1].version for one in datasets.listing(ports, by) if one.editions}
        chosen = [one for one in sent.every("dataset") if one in latest]
        return {"datasets": [before.get(one) or {"dataset": one, "version": latest[one], "variables": []} for one in chosen]}
    return {field: sent[field] for field in SECTIONS[name][2]}


def _named(ports: Ports, by: Actor, sent: Sent) -> list[str]:
    found, unknown = [], []
    for line in sent.lines("people")[: forms.MAX_PEOPLE]:
        try:
            found.append(colleagues.named(ports, by, line))
        except NotFoundError as error:
            unknown.append(str(error))
    if unknown:
        said = "; ".join(unknown) + ". Ask an operator to register them first"
        raise InvalidInputError(said, fields=[("people", said[:1].upper() + said[1:])])
    return found


@router.get("/applications/{application}/data/{dataset}")
def variables(request: Request, ports: World, by: By, application: str, dataset: str) -> Response:
    """Ask which columns of one dataset."""
    return render.page(request, _columns(ports, by, writing(ports, by, application), dataset))


def _columns(ports: Ports, by: Actor, known: Application, dataset: str) -> views.Variables:
    wanted = next((one for one in known.form.datasets if one.dataset == dataset), None)
    if wanted is None:
        raise NotFoundError("this dataset is not in the application")
    catalogued = datasets.view(ports, by, dataset)
    edition = next((one for one in catalogued.editions if one.version == wanted.version), catalogued.editions[-1])
    return views.Variables(known, catalogued, edition, wanted.variables)


@router.post("/applications/{application}/data/{dataset}")
def choose(request: Request, ports: World, by: By, application: str, dataset: str, sent: Form) -> Response:
    """Save which columns of one dataset, and go on to the next that has none."""
    known = writing(ports, by, application)
    page = _columns(ports, by, known, dataset)
    chosen = [one.name for one in page.edition.variables if one.name in sent.every("variable")]
    wanted = [{**plain(one), "variables": chosen} if one.dataset == dataset else plain(one) for one in known.form.datasets]
    try:
        same(known, sent)
        require(chosen, "variables", "Choose at least one variable")
        applications.draft(ports, by, {**plain(known.form), "datasets": wanted}, application)
    except InvalidInputError as error:
        return render.again(request, page, error)
    return render.to(_after(application, "data", {"datasets": wanted}, ""))


@router.post("/applications/{application}/submit")
def submit(request: Request, ports: World, by: By, application: str, sent: Form) -> Response:
    """Send the application to the stewards."""
    known = applications.view(ports, by, application)
    try:
        if known.state in WRITING:
            same(known, sent)
        applications.submit(ports, by, application, sent.key)
    except InvalidInputError as error:
        return render.again(request, checked(ports, by, known), error)
    return render.to(f"/applications/{application}/sent")


@router.get("/applications/{application}/sent")
def confirmation(request: Request, ports: World, by: By, application: str) -> Response:
    """Confirm that it was sent, and say what happens next."""
    return render.page(request, views.Sent(applications.view(ports, by, application)))
