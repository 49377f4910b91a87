"""Which characters may leave, and the one form in which they do: a hidden character is a channel, or a lie to the reader."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Control, format (which holds direction marks, zero-width and tag characters), surrogates, private use, unassigned,
# line and paragraph separators.
_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Assigned "letters", "marks" and "symbols" that draw nothing: grapheme joiner, Hangul and Khmer fillers, Mongolian and
# other variation selectors, blank braille. Ranges from the Unicode property Default_Ignorable_Code_Point.
_BLANK: Final = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0x1D159, 0x1D159),
    (0xE0100, 0xE01EF),
)
MAX_MARKS: Final = 2  # combining marks on one letter; real languages written with precomposed letters need no more


def forbidden(character: str) -> bool:
    """Say whether ``character`` may not leave: it is invisible, changes direction, or is a digit outside ASCII."""
    if " " <= character <= "~":
        return False
    point, category = ord(character), unicodedata.category(character)
    if category in _CATEGORIES or any(low <= point <= high for low, high in _BLANK):
        return True
    return category == "Nd"  # a second alphabet for numbers would pass every numeric check


def named(character: str) -> str:
    """Return the character's code point and name, for a message."""
    return f"U+{ord(character):04X} ({unicodedata.name(character, 'without a name').lower()})"


def clean(text: str) -> str:
    """Return one line of text in its one form: NFC, every kind of space a plain one, single, none outside."""
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        return re.sub(" {2,}", " ", text).strip(" ")
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    return unicodedata.normalize("NFC", re.sub(" {2,}", " ", spaced).strip(" "))


def offence(text: str) -> str:
    """Return what is wrong with a cleaned line, in words; empty if nothing is."""
    if text.isascii() and text.isprintable():
        return ""
    marks = 0
    for position, character in enumerate(text):
        if forbidden(character):
            return f"it holds the character {named(character)}"
        marks = marks + 1 if unicodedata.category(character) in {"Mn", "Me", "Mc"} else 0
        if marks > MAX_MARKS or (marks and position == 0):
            return "it holds stacked or loose accents"
    return ""
