"""Releases: what comes of an author's files, and the review desk of the stewards."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.flows import people, releases
from broker.web import views
from broker.web.api.asking import file
from broker.web.pages import previews, render, words
from broker.web.pages.asks import Act, By, Form, Sent, World, history, key, require, same
from sulku.errors import InvalidInputError
from sulku.people import Actor, Role
from sulku.ports import Ports
from sulku.releases import Mark, Reason, Release, State, Verdict

router = APIRouter()


@router.get("/releases/{release}")
def view(request: Request, ports: World, by: By, release: str) -> Response:
    """Show a release: to stewards as a desk, to others as it stands."""
    known = releases.view(ports, by, release)
    if by.role is Role.STEWARD:
        return render.page(request, _desk(request, ports, by, known))
    files = previews.files(request, ports, by, known)
    return render.page(request, views.ReleasePage(known, people.names(ports), files, _acts(known, by), history(ports, by, known)))


def _acts(known: Release, by: Actor) -> tuple[Act, ...]:
    if by.id == known.author and known.state in {State.SUBMITTED, State.RETURNED}:
        return (Act("Withdraw this release", f"/releases/{known.id}/withdraw", "plain"),)
    return ()


def _desk(request: Request, ports: Ports, by: Actor, known: Release, given: dict[str, str] | None = None) -> views.ReviewPage:
    earlier = [one for one in releases.listing(ports, by, permit=known.permit) if one.state is State.RELEASED and one.id != known.id]
    return views.ReviewPage(
        release=known,
        names=people.names(ports),
        files=previews.files(request, ports, by, known),
        against={action: words.sentences(codes) for action, codes in releases.may(ports, by, known.id).items()},
        mine=by.id in {review.by for review in known.reviews},
        earlier=earlier,
        changes=releases.changes(ports, known),
        reasons=tuple(words.CHANGE_REASONS.items()),
        key=key(),
        given=given or {},
        history=history(ports, by, known),
    )


@router.post("/releases/{release}/judge")
def judge(request: Request, ports: World, by: By, release: str, sent: Form) -> Response:
    """Give a verdict on every file."""
    known = releases.view(ports, by, release)
    try:
        releases.judge(ports, by, release, _marks(known, sent), sent.key)
    except InvalidInputError as error:
        return render.again(request, _desk(request, ports, by, known, sent.all), error)
    return render.to(f"/releases/{release}")


def _marks(known: Release, sent: Sent) -> tuple[Mark, ...]:
    """Return the marks in a form, each bound to the digest that the reviewer looked at.

    Raises:
        InvalidInputError: A file has no verdict, or a change no reason; every such file is named.
    """
    marks, wrong = [], []
    for item in known.items:
        verdict, reason = sent[f"verdict-{item.output}"], sent[f"reason-{item.output}"]
        if verdict not in set(Verdict):
            wrong.append((f"verdict-{item.output}", f"Give a verdict on {item.name}"))
        elif verdict == Verdict.CHANGE and reason not in set(Reason):
            wrong.append((f"verdict-{item.output}", f"Choose why {item.name} needs a change"))
        else:
            why = Reason(reason) if verdict == Verdict.CHANGE else None
            marks.append(Mark(item.output, sent[f"rebuilt-{item.output}"], Verdict(verdict), why, sent[f"comment-{item.output}"]))
    if wrong:
        raise InvalidInputError("some files are not judged", fields=wrong)
    return tuple(marks)


@router.post("/releases/{release}/retract")
def retract(ports: World, by: By, release: str, sent: Form) -> Response:
    """Take one's own verdict back."""
    same(releases.view(ports, by, release), sent)
    releases.retract(ports, by, release)
    return render.to(f"/releases/{release}")


@router.get("/releases/{release}/let-out")
def letting_out(request: Request, ports: World, by: By, release: str) -> Response:
    """Ask whether to let every file out."""
    known = releases.view(ports, by, release)
    names = ", ".join(item.name for item in known.items)
    view = views.Confirm(
        title="Let every file out?",
        consequence=(f"{names}: what leaves is what you both reviewed, rebuilt and signed.", "It cannot be called back."),
        button=f"Let out {render.plural(len(known.items), 'file')}",
        action=f"/releases/{release}/let-out",
        back=f"/releases/{release}",
        version=known.version,
        key=key(),
        tone="",
        command=f"sulku releases consolidate {release} --release",
    )
    return render.page(request, view)


@router.post("/releases/{release}/let-out")
def let_out(ports: World, by: By, release: str, sent: Form) -> Response:
    """Let every file out."""
    releases.consolidate(ports, by, release, let_out=True, key=_fresh(ports, by, release, sent))
    return render.to(f"/releases/{release}")


def _fresh(ports: Ports, by: Actor, release: str, sent: Sent) -> str | None:
    """Return the form's key once the page is known not to be stale; what is repeated may be."""
    known = releases.view(ports, by, release)
    if known.state is State.SUBMITTED:
        same(known, sent)
    return sent.key


@router.get("/releases/{release}/return")
def returning(request: Request, ports: World, by: By, release: str) -> Response:
    """Ask what to change, beginning with what both reviewers said."""
    known = releases.view(ports, by, release)
    return render.page(request, _return(known, {"reason": "\n".join(_said(known))}))


def _said(known: Release) -> list[str]:
    names = {item.output: item.name for item in known.items}
    marks = [mark for review in known.reviews for mark in review.marks if mark.reason]
    return [f"{names[mark.output]}: {words.CHANGE_REASONS[mark.reason].lower()}. {mark.comment}".strip() for mark in marks if mark.reason]


def _return(known: Release, given: dict[str, str]) -> views.Confirm:
    return views.Confirm(
        title="Return this release with points",
        consequence=("The researcher sees the points and the coded reasons, not who said what. They can answer with corrected files.",),
        button="Return to the researcher",
        action=f"/releases/{known.id}/return",
        back=f"/releases/{known.id}",
        tone="",
        reason="What to change",
        reason_hint="One point a line. Say it so that the researcher can act on it, and repeat no number that must not leave.",
        version=known.version,
        key=key(),
        given=given,
        command=f"sulku releases consolidate {known.id} --return --point …",
    )


@router.post("/releases/{release}/return")
def return_(request: Request, ports: World, by: By, release: str, sent: Form) -> Response:
    """Return it with points."""
    known = releases.view(ports, by, release)
    fresh = _fresh(ports, by, release, sent)
    try:
        require(sent.lines("reason"), "reason", "Say at least one thing to change")
        releases.consolidate(ports, by, release, let_out=False, points=sent.lines("reason"), key=fresh)
    except InvalidInputError as error:
        return render.again(request, _return(known, sent.all), error)
    return render.to(f"/releases/{release}")


@router.get("/releases/{release}/withdraw")
def withdrawing(request: Request, ports: World, by: By, release: str) -> Response:
    """Ask whether to take it back."""
    known = releases.view(ports, by, release)
    view = views.Confirm(
        title="Withdraw this release?",
        consequence=("The review ends and nothing of it leaves.", "The files stay in your workspace; you can submit them again."),
        button="Withdraw the release",
        action=f"/releases/{release}/withdraw",
        back=f"/releases/{release}",
        version=known.version,
        command=f"sulku releases withdraw {release}",
    )
    return render.page(request, view)


@router.post("/releases/{release}/withdraw")
def withdraw(ports: World, by: By, release: str, sent: Form) -> Response:
    """Take it back."""
    same(releases.view(ports, by, release), sent)
    releases.withdraw(ports, by, release)
    return render.to(f"/releases/{release}")


@router.get("/releases/{release}/files/{output}")
def fetch(ports: World, by: By, release: str, output: str) -> Response:
    """Return one released file; each fetch is recorded."""
    return file(*releases.fetch(ports, by, release, output))


@router.get("/releases/{release}/manifest")
def manifest(ports: World, by: By, release: str) -> Response:
    """Return the signed manifest."""
    return render.download(releases.manifest(ports, by, release), f"{release}.json")
