"""The application form as data: what is asked, what counts as an answer, and every problem with a draft at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from sulku.codec import Plain, typed
from sulku.errors import InvalidInputError
from sulku.texts import clean

MAX_PEOPLE: Final = 20
MAX_DATASETS: Final = 20
MAX_YEARS: Final = 5


@dataclass(frozen=True, slots=True)
class Question:
    """One free-text question: its field, wording, why it is asked, and the least and most characters of an answer."""

    field: str
    label: str
    why: str
    least: int
    most: int


QUESTIONS: Final = (
    Question("title", "Title of the project", "It is shown in the public register.", 5, 200),
    Question("purpose", "What will you find out, and who benefits?", "The register shows it; a permit is for one purpose.", 20, 4000),
    Question("basis", "Legal basis", "Stewards check it against the law that governs each dataset.", 3, 500),
    Question("outputs", "What results do you expect to take out?", "Reviewers compare what you submit with what you planned.", 5, 2000),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One dataset version that is asked for; ``variables`` empty means none, never all."""

    dataset: str
    version: str
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """The answers. ``starts`` and ``ends`` are calendar dates (ISO), both inclusive; ``people`` are ids besides the applicant."""

    title: str = ""
    purpose: str = ""
    basis: str = ""
    outputs: str = ""
    people: tuple[str, ...] = ()
    datasets: tuple[Wanted, ...] = ()
    starts: str = ""
    ends: str = ""


def read(answers: Mapping[str, Plain]) -> Form:
    """Return a draft from untrusted answers; it may be incomplete but is safe to keep.

    Raises:
        InvalidInputError: A field is unknown, of the wrong type, too long or unsafe; ``fields`` names each.
    """
    form = typed(Form, dict(answers))
    problems = []
    for question in QUESTIONS:
        try:
            clean(getattr(form, question.field), most=question.most, lines=question.field != "title")
        except InvalidInputError as error:
            problems.append((question.field, str(error)))
    if len(form.people) > MAX_PEOPLE:
        problems.append(("people", f"at most {MAX_PEOPLE} people"))
    if len(form.datasets) > MAX_DATASETS or any(len(wanted.variables) > 500 for wanted in form.datasets):
        problems.append(("datasets", f"at most {MAX_DATASETS} datasets of 500 variables each"))
    if problems:
        raise InvalidInputError("the answers cannot be kept", fields=problems)
    return form


def require_complete(form: Form) -> None:
    """Require that ``form`` can be sent to the stewards.

    Raises:
        InvalidInputError: Something is missing; ``fields`` names each problem, in the order of the form.
    """
    problems = [
        (question.field, f"{question.label}: give at least {question.least} characters")
        for question in QUESTIONS
        if len(getattr(form, question.field).strip()) < question.least
    ]
    if not form.datasets:
        problems.append(("datasets", "Choose at least one dataset"))
    problems += [
        (f"datasets[{n}].variables", "Choose at least one variable") for n, wanted in enumerate(form.datasets) if not wanted.variables
    ]
    if len({wanted.dataset for wanted in form.datasets}) < len(form.datasets):
        problems.append(("datasets", "Each dataset once, in one version"))
    problems += _dates(form)
    if problems:
        raise InvalidInputError("the application is not complete", fields=problems)


def _dates(form: Form) -> list[tuple[str, str]]:
    if not all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) for text in (form.starts, form.ends)):
        return [("starts", "Give both dates as year-month-day")]
    try:
        starts, ends = date.fromisoformat(form.starts), date.fromisoformat(form.ends)
    except ValueError:
        return [("starts", "One of the dates is not in the calendar")]
    if ends < starts:
        return [("ends", "The last day is before the first")]
    if (ends - starts).days > 366 * MAX_YEARS:
        return [("ends", f"At most {MAX_YEARS} years")]
    return []
