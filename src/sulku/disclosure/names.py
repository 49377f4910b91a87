"""What headings say of the numbers under them, in English and Finnish; a hint, for what the manifest leaves out."""

from __future__ import annotations

import re
from typing import Final

from sulku.disclosure.manifest import Role

_COUNT: Final = re.compile(
    r"(n|num|nobs|n[_ .].+|.+[_ .]n|.*(?:count|freq|frequency|visits|rows|records|events?|observed|at[_ .]?risk|cases"
    r"|deaths|censored|entered|cens|lkm|kpl|lukumäärä|kuolemat|tapaukset|tapauksia)s?)"
)
_PERSONS: Final = re.compile(r".*(?:persons?|patients?|people|subjects?|participants?|individuals?|henkilö(?:t|itä|ä)?|potilaat)")
_LABEL: Final = re.compile(
    r"(?:age|year|month|week|day|quarter|code|group|level|category|stage|grade|term|variable|region|sex|gender|band"
    r"|ikä|ikäryhmä|vuosi|kuukausi|viikko|koodi|ryhmä|alue|sukupuoli|luokka)(?:[_ .].*)?|.*[_ .](?:age|year|group|band|code|grade|level|stage)"
)
_OTHER: Final = (
    (Role.MIN, re.compile(r"min|minimum|minimi|.*[_ .]min|min[_ .].*|lowest|smallest")),
    (Role.MAX, re.compile(r"max|maximum|maksimi|.*[_ .]max|max[_ .].*|highest|range")),
    (
        Role.PERCENTILE,
        re.compile(
            r"p\d{1,2}|q[1-4]|\d{1,2}(?:\.\d)? ?%|median|mediaani|.*[_ .](?:median|p\d{1,2}|q[1-4])|iqr"
            r"|(?:quart|percent|dec)ile.*"
        ),
    ),
    (
        Role.DEGREES,
        re.compile(r"dd?of|df|df[_ .]?resid\w*|resid\w*[_ .]?(?:df|dof)|(?:residual )?degrees[_ .]of[_ .]freedom"),
    ),
    (
        Role.SHARE,
        re.compile(r"%|pct|percent(?:age)?|proportion|share|rate|osuus|.*[_ .](?:pct|percent|share|rate|%)|%[_ .].*"),
    ),
    (Role.MEAN, re.compile(r"mean|avg|average|keskiarvo|mean[_ .].*|.*[_ .](?:mean|avg)")),
    (Role.SPREAD, re.compile(r"sd|std|stdev|std[_ .]?dev\w*|variance|var|keskihajonta|(?:sd|std)[_ .].*|.*[_ .](?:sd|std)")),
    (Role.LARGEST, re.compile(r"largest|top[_ .]?1|largest[_ .].*")),
    (Role.SECOND, re.compile(r"second|top[_ .]?2|second[_ .].*")),
    (Role.SUM, re.compile(r"sum|summa|sum[_ .].*|.*[_ .]sum|total[_ .].+")),
    (
        Role.SURVIVAL,
        re.compile(r"s\(t\)|km|surv|survival|km[_ .].*|survival[_ .].*|.*[_ .]surv(?:ival)?|kaplan[_ .-]meier.*"),
    ),
    (Role.TIME, re.compile(r"t|time|timeline|duration|months?|days?|years?|weeks?|aika|time[_ .].*")),
    (
        Role.IDENTIFIER,
        re.compile(r"(?:person|patient|subject|study)?[_ .]?(?:id|pid|uid|uuid|identifier)|hetu|ssn|mrn|henkilötunnus|rowid"),
    ),
)
_TOTAL: Final = frozenset(
    {"total", "totals", "all", "sum", "overall", "margin", "grand total", "subtotal", "any", "both", "both sexes"}
    | {"yhteensä", "kaikki", "koko maa", "summa"}
)


def names_count(heading: str) -> bool:
    """Say whether ``heading`` is one that counts carry."""
    name = heading.casefold()
    return bool(_COUNT.fullmatch(name) or _PERSONS.fullmatch(name))


def names_label(heading: str) -> bool:
    """Say whether ``heading`` is one that groups carry, such as an age band or a code."""
    return bool(_LABEL.fullmatch(heading.casefold()))


def names_persons(heading: str) -> bool:
    """Say whether ``heading`` is one that counts of distinct persons carry."""
    return bool(_PERSONS.fullmatch(heading.casefold()))


def names_total(label: str) -> bool:
    """Say whether ``label`` marks the total of a row or column."""
    return label.casefold().strip(" ()*:") in _TOTAL


def guess(heading: str) -> Role | None:
    """Return the role that ``heading`` suggests, if any."""
    name = heading.casefold()
    if _PERSONS.fullmatch(name):
        return Role.PERSONS
    if _COUNT.fullmatch(name):
        return Role.COUNT
    return next((role for role, pattern in _OTHER if pattern.fullmatch(name)), None)
