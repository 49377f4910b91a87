"""Hand results in for review, from inside the tunnel; they are fetched from ``~/outbox`` and answered there.

In a notebook:  ``import sulku_outbox; sulku_outbox.submit(["table.csv"], title="Deaths", context="…")``
In a shell:     ``sulku-outbox submit table.csv fig.png --title … --context … [--manifest m.json]``; ``… status``

Nothing that is not reviewed leaves; this client decides nothing and can promise nothing. Standard library only.
"""

# ruff: noqa: T201 -- a person reads what it prints
from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,98}[A-Za-z0-9]")
KINDS = ("frequency table", "statistics", "model", "plot", "text")
SUFFIXES = (".csv", ".tsv", ".txt", ".md", ".png", ".jpg", ".jpeg")
MOST_FILES, MOST_BYTES = 50, 8 * 2**20
RESERVED = {"manifest.json", "receipt.json"}


class SubmissionError(ValueError):
    """What you asked to submit cannot be submitted; nothing was handed in."""


@dataclass(frozen=True)
class Submission:
    """One set of files under review, or on its way there.

    Attributes:
        name: Its folder under ``~/outbox``.
        state: ``waiting`` (not fetched yet), ``submitted`` (``release`` names the review) or ``refused``.
        answer: What the broker wrote back; empty while waiting.
    """

    name: str
    state: str
    answer: dict[str, Any]

    def __str__(self) -> str:
        """Return one line for a person."""
        if self.state == "submitted":
            return f"{self.name}: under review as {self.answer.get('release')}"
        if self.state == "refused":
            why = self.answer.get("refused", {})
            return f"{self.name}: refused ({why.get('code')}): {why.get('detail')} {why.get('remedy', '')}".strip()
        return f"{self.name}: waiting to be fetched"


def outbox() -> Path:
    """Return the folder that is read from outside; made if missing."""
    folder = Path.home() / "outbox"
    folder.mkdir(exist_ok=True)
    return folder


def submit(
    files: Sequence[str | os.PathLike[str]],
    *,
    title: str,
    context: str = "",
    manifest: Mapping[str, Any] | None = None,
    answers: str = "",
) -> Submission:
    """Hand ``files`` in as one submission and return it, waiting.

    Args:
        files: CSV, text, PNG or JPEG; at most 50, each at most 8 MiB. They are copied: later changes do not count.
        title: One line for the reviewers.
        context: What the files show and how they were made; say how many persons are behind the numbers.
        manifest: What is known of the files: ``{"files": [{"name": "table.csv", "kind": "frequency table",
            "columns": {"n": "count"}, "persons": "n"}]}``. What is not declared is checked most strictly.
        answers: The release (``rel_…``) that was returned to you and that these files correct; empty for a new one.

    Raises:
        SubmissionError: A file cannot be submitted; it says which and why.
    """
    paths = [Path(file) for file in files]
    entries = _entries(paths, manifest or {})
    if not title.strip():
        raise SubmissionError("give a title: the reviewers see it first")
    name = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(3)
    draft = outbox() / f".{name}"  # hidden folders are not fetched
    draft.mkdir()
    try:
        for path in paths:
            shutil.copyfile(path, draft / path.name)
        told = {"title": title.strip(), "context": context.strip(), "files": entries, **({"release": answers} if answers else {})}
        text = json.dumps(told, indent=1)
        (draft / "manifest.json").write_text(text, encoding="utf-8")
        draft.rename(outbox() / name)  # all of it appears at once
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise SubmissionError(f"the files could not be copied: {error}") from error
    return Submission(name, "waiting", {})


def _entries(paths: Sequence[Path], manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the manifest's entry of each file, after refusing what could never be accepted."""
    if not 0 < len(paths) <= MOST_FILES:
        raise SubmissionError(f"submit 1 to {MOST_FILES} files, not {len(paths)}")
    if len({path.name.casefold() for path in paths}) != len(paths):
        raise SubmissionError("two files have the same name")
    for path in paths:
        _require_plain(path)
    declared = {str(entry.get("name")): dict(entry) for entry in manifest.get("files", ())}
    if unknown := sorted(set(declared) - {path.name for path in paths}):
        raise SubmissionError(f"the manifest describes {unknown[0]}, which is not submitted")
    for name, entry in declared.items():
        if entry.get("kind", KINDS[0]) not in KINDS:
            raise SubmissionError(f"{name}: the kind is one of {', '.join(KINDS)}")
    return [{"name": path.name, **declared.get(path.name, {})} for path in paths]


def _require_plain(path: Path) -> None:
    """Refuse what is not an ordinary, reviewable file; the same is checked again outside."""
    if path.is_symlink() or not path.is_file():
        raise SubmissionError(f"{path}: not an ordinary file")
    if path.name in RESERVED or not NAME.fullmatch(path.name):
        raise SubmissionError(f"{path.name}: use letters, digits, spaces, dots, hyphens and underscores in the name")
    if path.suffix.lower() not in SUFFIXES:
        raise SubmissionError(f"{path.name}: only {', '.join(SUFFIXES)} can be reviewed")
    if not 0 < path.stat().st_size <= MOST_BYTES:
        raise SubmissionError(f"{path.name}: 1 byte to {MOST_BYTES // 2**20} MiB can be submitted")


def status(name: str | None = None) -> list[Submission]:
    """Return your submissions, newest first, or the one called ``name``."""
    found = []
    for folder in sorted(outbox().iterdir(), reverse=True):
        if folder.name.startswith(".") or not (folder / "manifest.json").is_file() or name not in {None, folder.name}:
            continue
        try:
            answer = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            answer = {}
        state = "refused" if "refused" in answer else "submitted" if "release" in answer else "waiting"
        found.append(Submission(folder.name, state, answer))
    return found


def wait(submission: Submission, seconds: float = 60) -> Submission:
    """Return ``submission`` once it is answered, or as it stands after ``seconds``."""
    for _ in range(int(seconds * 5)):
        found = status(submission.name)
        if found and found[0].state != "waiting":
            return found[0]
        time.sleep(0.2)
    return submission


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if done, 2 if refused here, 3 if the broker refused it."""
    parser = argparse.ArgumentParser(prog="sulku-outbox", description="Hand results in for review.")
    commands = parser.add_subparsers(dest="command", required=True)
    hand_in = commands.add_parser("submit", help="hand files in as one submission")
    hand_in.add_argument("files", nargs="+")
    hand_in.add_argument("--title", required=True, help="one line for the reviewers")
    hand_in.add_argument("--context", default="", help="what they show, how they were made, how many persons")
    hand_in.add_argument("--answers", default="", metavar="RELEASE", help="the returned release that these files correct")
    hand_in.add_argument("--manifest", type=Path, help="JSON: what is known of each file")
    hand_in.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for the answer")
    commands.add_parser("status", help="list your submissions and what became of them")
    asked = parser.parse_args(arguments)
    if asked.command == "status":
        print("\n".join(map(str, status())) or "nothing was handed in yet")
        return 0
    try:
        described = json.loads(asked.manifest.read_text(encoding="utf-8")) if asked.manifest else {}
        done = submit(asked.files, title=asked.title, context=asked.context, manifest=described, answers=asked.answers)
    except (SubmissionError, OSError, ValueError) as error:
        print(f"nothing was handed in: {error}", file=sys.stderr)
        return 2
    done = wait(done, asked.wait) if asked.wait else done
    print(done)
    return 3 if done.state == "refused" else 0


if __name__ == "__main__":
    sys.exit(main())
