"""The root of the tree and its two families."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    pass


class SulkuError(Exception):
    """Root of the tree; never raised itself.

    Attributes:
        code: Stable, kebab-case, unique in the tree.
        status: The HTTP status that the API and the pages answer with.
        exit: The exit status of the command line: 2 usage, 3 refused, 4 not found, 5 conflict, 6 unavailable, 7 integrity,
            8 a permit's status cannot be told, 9 the status list is too old.
        fix: What the reader can do next, one sentence; ``remedy()`` may say it more exactly.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit: ClassVar[int] = 6
    fix: ClassVar[str] = "Tell the service desk, with the reference of this message."

    def remedy(self) -> str:
        """Say, in one sentence, what the reader can do next."""
        return self.fix


class RefusalError(SulkuError):
    """An expected no."""

    code = "refused"
    status = 403
    exit = 3


class FaultError(SulkuError):
    """An unexpected no."""

    code = "fault"
    status = 503
    exit = 6
