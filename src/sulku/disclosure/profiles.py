"""A threshold profile: the numbers that the checks apply, named and versioned, so that a finding can be explained later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sulku.codec import Plain, typed
from sulku.errors import ConfigurationError, InvalidInputError

ROUNDINGS: Final = frozenset({"midpoint-6"})


@dataclass(frozen=True, slots=True)
class Profile:
    """The limits; whole numbers only. Sources: the DwB and ESSnet rules of thumb (10 units, 10 degrees of freedom, 90 %).

    Attributes:
        name: Under which the profile is known.
        version: Counted from 1; recorded with every inspection.
        threshold: Least number of distinct persons behind a released number.
        degrees: Least residual degrees of freedom of a model.
        p_percent: Largest contributor must not be known by the second to within this share (p% rule).
        largest_percent: Most that one contributor may hold of a total ((1, k) rule).
        share_percent: Most that one cell may hold of its row or column.
        zeros_block: Whether an empty cell forbids release; otherwise it needs a reviewer.
        digits: Most significant digits of a number that is not a count.
        rows: More rows than this need a reviewer.
        rounding: Schemes of rounded counts that are accepted in place of the threshold.
    """

    name: str
    version: int
    threshold: int
    degrees: int
    p_percent: int
    largest_percent: int
    share_percent: int
    zeros_block: bool
    digits: int
    rows: int
    rounding: tuple[str, ...]


def parse(data: Plain) -> Profile:
    """Return the profile that ``data`` (one entry of ``policies/data/disclosure.json``) describes.

    Raises:
        ConfigurationError: A limit is missing, unknown, of the wrong type or outside its range.
    """
    try:
        profile = typed(Profile, data)
    except InvalidInputError as error:
        raise ConfigurationError(f"the disclosure profile is wrong: {error}") from error
    ranges = {
        "version": (1, 10**6),
        "threshold": (2, 10**4),
        "degrees": (1, 10**4),
        "p_percent": (1, 100),
        "largest_percent": (1, 100),
        "share_percent": (50, 100),
        "digits": (2, 12),
        "rows": (1, 5000),
    }
    wrong = [name for name, (low, high) in ranges.items() if not low <= getattr(profile, name) <= high]
    if wrong or not set(profile.rounding) <= ROUNDINGS:
        raise ConfigurationError(f"the disclosure profile is wrong: {', '.join(wrong) or 'rounding'} out of range")
    return profile
