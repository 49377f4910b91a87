"""What was asked is malformed."""

from __future__ import annotations

from collections.abc import Sequence

from sulku.errors.base import RefusalError


class InvalidInputError(RefusalError):
    """Something asked for is missing, too large or of the wrong kind."""

    code = "invalid-input"
    status = 422
    exit = 2
    fix = "Correct the named fields and send it again; nothing was saved or lost."

    def __init__(self, message: str, *, fields: Sequence[tuple[str, str]] = ()) -> None:
        """Keep ``fields``: pairs of (field path, what is wrong with it)."""
        super().__init__(message)
        self.fields = tuple(fields)


class UnsafeNameError(InvalidInputError):
    """A name holds control characters, direction marks, separators or nothing at all."""

    code = "unsafe-name"
    fix = "Use letters, digits, spaces, dots, hyphens and underscores; no control or direction marks."


class UnsafeFileError(InvalidInputError):
    """A file is a link, a device, climbs out of its folder or is not what its name says."""

    code = "unsafe-file"
    fix = "Send an ordinary file that lies inside the folder and is of an allowed kind."
