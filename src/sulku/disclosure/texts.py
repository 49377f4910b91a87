"""Plain text and Markdown: the one form in which it leaves, and what to look for in it."""

from __future__ import annotations

import re
from typing import Final

from sulku.disclosure.characters import clean, offence
from sulku.disclosure.findings import Code, Finding, Severity, Where, found
from sulku.disclosure.identifiers import identity_codes
from sulku.disclosure.manifest import Kind, Manifest
from sulku.disclosure.profiles import Profile
from sulku.disclosure.statistics import check_model, low_degrees
from sulku.errors import UnreadableTextError

MAX_BYTES: Final = 256 * 2**10
MAX_LINES: Final = 5000
MAX_LINE: Final = 1000  # characters
MAX_TOKEN: Final = 100  # characters without a space; longer ones are codes, not words
ROWS_LIKE_TABLE: Final = 20

_DEGREES: Final = re.compile(
    r"(?i)(?:df resid(?:uals?)?|residual d(?:egrees )?(?:o)?f(?: freedom)?|degrees of freedom)[\s:=]{0,60}(-?\d{1,9})\b"
    r"|\bon (\d{1,9}) degrees of freedom"
)
_COUNTED: Final = re.compile(r"(?i)no\.? (?:of )?observations:?\s+(\d{1,9})\b")
_MODEL: Final = re.compile(r"(?i)df model:?\s+(\d{1,9})\b")
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?(?![\w.])", re.IGNORECASE)
_EXACT: Final = re.compile(r"\d\.\d{7,}|\d{16,}")
_ARROWS: Final = str.maketrans({"\t": "    "})


def rebuild(data: bytes) -> str:
    """Return the text in its one form: NFC, LF, plain spaces, no spaces at line ends, one line end at the end.

    Indentation is kept, because programs print tables with it; inner runs of spaces are kept for the same reason.

    Raises:
        UnreadableTextError: It is not UTF-8, is too long, or holds a character that may not leave; ``findings`` says where.
    """
    if len(data) > MAX_BYTES:
        raise _refusal(Code.TOO_LARGE, f"the text is larger than {MAX_BYTES // 2**10} KiB.")
    try:
        text = data.decode("utf-8-sig", "strict").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _refusal(Code.ENCODING, f"byte {error.start} is not UTF-8.") from None
    lines = text.translate(_ARROWS).split("\n")
    if len(lines) > MAX_LINES or max(map(len, lines)) > MAX_LINE:
        raise _refusal(Code.TOO_LARGE, f"the most is {MAX_LINES} lines of {MAX_LINE} characters.")
    made = []
    for number, line in enumerate(lines, start=1):
        # Word by word, so that the layout between words stays and each word gets its one form.
        words = [clean(word) for word in re.split(r"( +)", line)]
        gaps = re.findall(r" +", line)
        whole = "".join(word + (gaps[place // 2] if place % 2 else "") for place, word in enumerate(words)).rstrip(" ")
        if wrong := offence(clean(whole)):
            raise _refusal(Code.CHARACTER, f"{wrong}.", Where(line=number))
        made.append(whole)
    return "\n".join(made).strip("\n") + "\n"


def require_rebuilt(text: object) -> str:
    """Return ``text`` (not trusted) if it is what ``rebuild`` makes of it.

    Raises:
        UnreadableTextError: It is no text, or not in its one form.
    """
    if not isinstance(text, str) or rebuild(text.encode("utf-8", "surrogatepass")) != text:
        raise _refusal(Code.ENCODING, "the text is not in its rebuilt form.")
    return text


def _refusal(code: Code, message: str, where: Where | None = None) -> UnreadableTextError:
    return UnreadableTextError(message, findings=[found(code, Severity.BLOCK, message, where)])


def check_text(text: str, manifest: Manifest, profile: Profile) -> list[Finding]:
    """Find identity codes, encoded data, tables that escape the table checks, and models without freedom."""
    findings: list[Finding] = []
    tabular = 0
    for number, line in enumerate(text.split("\n"), start=1):
        where = Where(line=number)
        if identity_codes(line):
            findings.append(found(Code.IDENTIFIER, Severity.BLOCK, "it holds a personal identity code.", where))
        if any(len(word) > MAX_TOKEN and len(set(word)) > 8 for word in line.split(" ")):
            message = "it holds a long run of characters that may encode data."
            findings.append(found(Code.ENCODED_BLOB, Severity.REVIEW, message, where))
        if _EXACT.search(line):
            message = "it holds a number with more digits than a result needs."
            findings.append(found(Code.PRECISION, Severity.REVIEW, message, where))
        tabular += len(_NUMBER.findall(re.sub(r"[;|\t]", " ", line))) >= 3
    if tabular >= ROWS_LIKE_TABLE:
        findings.append(found(Code.TABLE_IN_TEXT, Severity.REVIEW, f"{tabular} lines look like rows of a table."))
    return [*findings, *_models(text, manifest, profile)]


def _models(text: str, manifest: Manifest, profile: Profile) -> list[Finding]:
    findings, seen = [], False
    for number, line in enumerate(text.split("\n"), start=1):
        for match in _DEGREES.finditer(line):
            value, seen = int(match[1] or match[2]), True
            if value < profile.degrees:
                findings.append(low_degrees(value, profile, Where(line=number)))
    counted, parameters = _COUNTED.search(text), _MODEL.search(text)
    if not seen and counted and parameters:
        value, seen = int(counted[1]) - int(parameters[1]) - 1, True
        findings += [low_degrees(value, profile)] if value < profile.degrees else []
    if not seen and (manifest.kind is Kind.MODEL or manifest.observations or manifest.dof >= 0):
        findings += check_model(manifest, profile)
    return findings
