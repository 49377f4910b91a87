"""Findings put together: numbers for policy, and a text for the reviewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sulku.disclosure.findings import Finding, Severity

_HEADINGS = {
    Severity.BLOCK: "Forbids release",
    Severity.REVIEW: "Needs an answer",
    Severity.NOTE: "For your information",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """How many findings of each kind there are; ``codes`` counts them by code."""

    blocked: bool
    blocks: int
    reviews: int
    notes: int
    codes: dict[str, int]


def summarise(findings: Sequence[Finding]) -> Summary:
    """Return the numbers; an output is blocked by one finding that blocks."""
    grave = Counter(finding.severity for finding in findings)
    codes = Counter(finding.code.value for finding in findings)
    blocks = grave[Severity.BLOCK]
    return Summary(blocks > 0, blocks, grave[Severity.REVIEW], grave[Severity.NOTE], dict(sorted(codes.items())))


def written(findings: Sequence[Finding]) -> str:
    """Return the findings as plain text, gravest first; one line says so if there are none."""
    if not findings:
        return "The automatic checks found nothing. They do not see everything: judge the output yourself.\n"
    lines = []
    for severity, heading in _HEADINGS.items():
        chosen = [finding for finding in findings if finding.severity is severity]
        if chosen:
            lines += [f"{heading} ({len(chosen)})", *(f"- {one.message} {one.advice}" for one in chosen), ""]
    return "\n".join(lines).rstrip("\n") + "\n"
