"""Finnish personal identity codes in text, however they are dressed up (decree 690/2022 for the century signs)."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Final

_CHECK: Final = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CENTURY: Final = {"+": 1800, **dict.fromkeys("-YXWVU", 1900), **dict.fromkeys("ABCDEF", 2000)}
_PATTERN: Final = re.compile(r"(?<!\d)(\d{2})(\d{2})(\d{2})([-+YXWVUABCDEF])(\d{3})([0-9A-Y])(?![0-9A-Z])")
_DASHES: Final = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\u00ad", "-"))


def normal(text: str) -> str:
    """Return ``text`` in upper case, with full-width forms and every dash made plain."""
    return unicodedata.normalize("NFKC", text).translate(_DASHES).upper()


def identity_codes(text: str) -> int:
    """Return how many personal identity codes ``text`` holds, also if they are broken up by spaces.

    A code counts if its date exists and its check character is right: remainder of the nine digits by 31.
    """
    plain = normal(text)
    joined = re.sub(r"[\s,;|\"']+", "", plain)
    return max(sum(map(_valid, _PATTERN.finditer(plain))), sum(map(_valid, _PATTERN.finditer(joined))))


def _valid(match: re.Match[str]) -> bool:
    day, month, year, century, number, check = match.groups()
    try:
        date(_CENTURY[century] + int(year), int(month), int(day))
    except ValueError:
        return False
    return _CHECK[int(day + month + year + number) % 31] == check and int(number) >= 2
