"""What happened while the database was away: endings and refusals, in a file that only grows, until they are in the ledger."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from sulku.clearance import Mandate, Refusal
from sulku.codec import plain, stamp, typed, unstamp
from sulku.crypto import seal
from sulku.errors import IntegrityError, StaleError, StoreUnavailableError, SulkuError
from sulku.events import Happened, from_plain, to_plain

VERSION: Final = 1
_KINDS: Final = {"refusal": Refusal, "mandate": Mandate}


@dataclass(frozen=True, slots=True)
class Late:
    """One change that waits for the database; ``name`` is its digest and makes repeating it harmless."""

    name: str
    authority: Refusal | Mandate
    happened: tuple[Happened, ...]
    at: datetime


class Spool:
    """An append-only file of JSON lines, each behind its SHA-256; a torn last line is one that nobody was told of."""

    def __init__(self, path: Path) -> None:
        """Use the file at ``path``; it appears when first needed, its folder now."""
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, authority: Refusal | Mandate, happened: Sequence[Happened], at: datetime) -> None:
        """Keep a change durably.

        Raises:
            StoreUnavailableError: The file cannot be written either.
        """
        document = {
            "v": VERSION,
            "kind": "refusal" if isinstance(authority, Refusal) else "mandate",
            "authority": plain(authority),
            "happened": [
                {"id": one.noun, "type": one.event.TYPE, "schema": one.event.SCHEMA, "body": to_plain(one.event)}
                for one in happened
            ],
            "at": stamp(at),
            "nonce": seal.token(16),  # two changes that look alike are two
        }
        data = orjson.dumps(document)
        try:
            with self._locked() as file:
                if torn := _torn(file):
                    os.ftruncate(file, os.fstat(file).st_size - torn)
                line = hashlib.sha256(data).hexdigest().encode() + b" " + data + b"\n"
                while line:
                    line = line[os.write(file, line) :]  # a full disk takes a part, then raises
                os.fsync(file)
        except OSError as error:
            raise StoreUnavailableError(f"neither the database nor the spool can be written: {error.strerror}") from error

    def replay(self, record: Callable[[Late], None]) -> int:
        """Hand each change to ``record``, in order, and empty the file once all are in; return how many.

        What cannot be recorded for good is set aside in a file ``….refused``, so that it does not hold up the rest.

        Raises:
            StoreUnavailableError: The database is still away; nothing is lost, what went in is known by its name.
        """
        if not self.path.exists() or not self.path.stat().st_size:
            return 0
        count = 0
        with self._locked() as file:
            for line in _lines(file):
                try:
                    record(_late(line))
                except (StaleError, StoreUnavailableError):
                    raise  # not now; the next replay begins here again
                except SulkuError as error:
                    self._set_aside(line, error)
                count += 1
            os.ftruncate(file, 0)
            os.fsync(file)
        return count

    def _set_aside(self, line: bytes, error: SulkuError) -> None:
        aside = self.path.with_name(self.path.name + ".refused")
        with aside.open("ab") as file:
            file.write(orjson.dumps({"code": error.code, "said": str(error), "line": line.decode(errors="replace")}) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[int]:
        new = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if new:
                folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
                os.fsync(folder)
                os.close(folder)
            yield file
        finally:
            os.close(file)


def _read(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _torn(file: int) -> int:
    """Return how many bytes at the end are a line that was never finished."""
    data = _read(file)
    return len(data) - (data.rfind(b"\n") + 1)


def _lines(file: int) -> Iterator[bytes]:
    data = _read(file)
    yield from data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]


def _late(line: bytes) -> Late:
    digest, _, document = line.partition(b" ")
    if hashlib.sha256(document).hexdigest().encode() != digest:
        raise IntegrityError("a spooled change is damaged")
    found: dict[str, Any] = orjson.loads(document)
    happened = tuple(Happened(one["id"], from_plain(one["type"], one["schema"], one["body"])) for one in found["happened"])
    name = f"spool:{hashlib.sha256(document).hexdigest()}"
    return Late(name, typed(_KINDS[found["kind"]], found["authority"]), happened, unstamp(found["at"]))
