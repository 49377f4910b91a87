"""Helpers of the disclosure tests: the shipped profiles, tables from text, findings as short tuples; and real counts.

The counts are of the public flchain study (7,874 persons; Dispenzieri et al. 2012), by age band and sex.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sulku.disclosure import manifest, profiles, tables
from sulku.disclosure.check import check_table, check_together
from sulku.disclosure.findings import Finding, Severity

FILE = Path(__file__).parents[2] / "policies" / "data" / "disclosure.json"
SHIPPED: dict[str, Any] = json.loads(FILE.read_text())["profiles"]
DEFAULT = profiles.parse(SHIPPED["default"])
STRICT = profiles.parse(SHIPPED["strict"])

BY_AGE = "age_band,F,M\n50–59,1647,1510\n60–69,1214,1115\n70–79,949,674\n80+,540,225\n"
BY_CHAPTER = "chapter,F,M\nBlood,1,3\nCirculatory,388,357\nCongenital,0,3\nDigestive,36,30\nInfectious,23,9\nNeoplasms,282,285\n"
OLS_LIKE = "No. Observations:                6524\nDf Residuals:                    6517\nDf Model:                           6\n"
PEOPLE: dict[str, Any] = {"kind": "frequency table", "persons": "cells"}


def check(text: str, profile: profiles.Profile = DEFAULT, **said: Any) -> tuple[Finding, ...]:
    """Check a CSV under a manifest entry."""
    return check_table(tables.parse(text.encode(), profile.digits), manifest.parse(said), profile)


def together(*files: tuple[str, str], **said: Any) -> tuple[Finding, ...]:
    """Compare CSVs (name, text)."""
    read = [(name, tables.parse(text.encode()), manifest.parse(said)) for name, text in files]
    return check_together(read, DEFAULT)


def at(findings: tuple[Finding, ...], code: str) -> list[tuple[str, str]]:
    """Return the places (row, column) of the findings with ``code``."""
    return [(one.where.row_name, one.where.column_name) for one in findings if one.code == code]


def serious(findings: tuple[Finding, ...]) -> list[str]:
    """Return the codes of everything that a person has to act on."""
    return [one.code.value for one in findings if one.severity is not Severity.NOTE]
