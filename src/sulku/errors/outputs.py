"""Outputs that cannot be read, and an inspector that cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sulku.errors.asked import InvalidInputError
from sulku.errors.base import FaultError, RefusalError

if TYPE_CHECKING:
    from sulku.disclosure.findings import Finding


class UnreadableTableError(InvalidInputError):
    """A file is not a plain, strict table; ``findings`` names each problem and its place."""

    code = "unreadable-table"
    fix = "Write one header row and one plain cell under each heading, in UTF-8, then submit again."

    def __init__(self, message: str, *, findings: Sequence[Finding]) -> None:
        """Keep the findings, each of severity block."""
        super().__init__(message)
        self.findings = tuple(findings)


class UnreadableTextError(UnreadableTableError):
    """A file is not plain text; ``findings`` names the problem and its place."""

    code = "unreadable-text"
    fix = "Save it as plain UTF-8 text without control or invisible characters, then submit again."


class UnreadableImageError(InvalidInputError):
    """A file is not a plain still image, or is too large to decode."""

    code = "unreadable-image"
    fix = "Save the figure again as an ordinary PNG or JPEG, at most 20 megapixels."


class NothingRebuiltError(RefusalError):
    """An output was refused by its inspection, so there is nothing that could leave."""

    code = "nothing-rebuilt"
    status = 409
    exit = 5
    fix = "Read the findings, correct the file inside the tunnel, and submit it again."


class InspectionUnavailableError(FaultError):
    """The isolated reader of outputs cannot be started; outputs are never read unisolated."""

    code = "inspection-unavailable"
    fix = "Nothing was released or lost; the output waits. Operators: `sulku-broker doctor` says what isolation lacks."
