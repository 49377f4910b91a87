"""Free text from people: normal form, no invisible characters, a length."""

from __future__ import annotations

import unicodedata

from sulku.errors import InvalidInputError, UnsafeNameError


def clean(text: str, *, most: int = 4000, lines: bool = True) -> str:
    """Return ``text`` in NFC without outer space, if it is safe to show.

    Raises:
        UnsafeNameError: It holds control characters (other than line breaks, if ``lines``), direction marks or unassigned code points.
        InvalidInputError: It is longer than ``most`` characters.
    """
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"} and not (lines and character in "\n\t"):
            raise UnsafeNameError(f"the text holds the invisible character U+{ord(character):04X}")
    if len(text) > most:
        raise InvalidInputError(f"the text has {len(text)} characters; the most is {most}")
    return text
