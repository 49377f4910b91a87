"""The datasets' bytes: taken in once, checked, never changed; given out as folders narrowed to a permit's variables.

On disk, under ``folder``: ``datasets/<id>/<version>/<file>.csv`` as taken in, and ``views/<key>/…`` as narrowed, where
the key is a digest of exactly what a grant opens. Sealed storage (Crypt4GH and a FUSE mount) will fit the same port.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from broker.adapters.keys import write
from sulku.datasets import MAX_FILES, Edition, File, Revise, Variable, require_sound
from sulku.disclosure.files import safe_name
from sulku.errors import IntegrityError, InvalidInputError, NotFoundError, UnsafeFileError
from sulku.permits import Grant
from sulku.plan import Volume

PROOF: Final = ".json"  # beside a view, outside what is mounted: the digests of its files


class FileVault:
    """Datasets in files. Implements ``sulku.ports.Vault``."""

    def __init__(self, folder: Path) -> None:
        """Keep everything under ``folder`` (made if missing, closed to others)."""
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def take_in(self, dataset: str, version: str, source: Path, *, person_key: str, labels: dict[str, str] | None = None) -> Edition:
        """Copy a folder of CSV files in as a new, immutable version and describe it.

        Raises:
            UnsafeFileError: A link, a device, a folder, or a name that climbs.
            InvalidInputError: No file, not CSV, no rows, a ragged row, two columns of one name, no column ``person_key``
                to count persons by, or names that the catalogue could not keep (``datasets.require_sound``).
        """
        target = self._version(dataset, version)
        if target.exists():
            raise InvalidInputError(f"version {version} is here already and never changes")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            files, variables, persons = [], dict[str, Variable](), set[str]()
            for name, descriptor in _ordinary(source):
                with os.fdopen(descriptor, "rb") as reader, (part / name).open("wb") as writer:
                    shutil.copyfileobj(reader, writer)
                described, columns, found = _describe(part / name, name, person_key, labels or {})
                files.append(described)
                variables |= {one.name: _wider(variables.get(one.name, one), one) for one in columns}
                persons |= found
                (part / name).chmod(0o444)
            edition = Edition(version, digest(tuple(files)), tuple(files), tuple(variables.values()), len(persons), person_key)
            require_sound(Revise(edition))
            part.chmod(0o555)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return edition

    def materialise(self, grant: Grant) -> Volume:
        """Return a folder with exactly what ``grant`` opens; made once, checked each time.

        Raises:
            NotFoundError: The version was never taken in.
            IntegrityError: The files are not those that were catalogued.
        """
        opened = json.dumps([grant.dataset, grant.version, grant.digest, list(grant.variables)])
        view = self._folder / "views" / hashlib.sha256(opened.encode()).hexdigest()
        proof = view.with_suffix(PROOF)
        if not view.exists():
            self._narrow(grant, view, proof)
        if {path.name: _sha256(path) for path in view.iterdir()} != json.loads(proof.read_text()):
            raise IntegrityError(f"{grant.name} {grant.version} is not what was made of the catalogued files")
        return Volume(grant.name, str(view))

    def _narrow(self, grant: Grant, view: Path, proof: Path) -> None:
        source = self._version(grant.dataset, grant.version)
        if not source.is_dir():
            raise NotFoundError(f"dataset {grant.name} {grant.version} was never taken in here")
        files = tuple(File(path.name, path.stat().st_size, 0, _sha256(path)) for path in sorted(source.iterdir()))
        if digest(files) != grant.digest:
            raise IntegrityError(f"{grant.name} {grant.version} is not what was catalogued")
        view.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=view.parent))
        for file in files:
            _project(source / file.name, part / file.name, grant.variables)
        part.chmod(0o555)
        write(proof, json.dumps({path.name: _sha256(path) for path in sorted(part.iterdir())}).encode())
        try:
            part.rename(view)
        except OSError:  # another made the same view at the same moment
            part.chmod(0o700)
            shutil.rmtree(part)
            if not view.exists():
                raise

    def _version(self, dataset: str, version: str) -> Path:
        return self._folder / "datasets" / safe_name(dataset) / safe_name(version)


def digest(files: tuple[File, ...]) -> str:
    """Return SHA-256 (hex) over the names and digests of ``files``, in order of name."""
    lines = (f"{file.name} {file.sha256}\n" for file in sorted(files, key=lambda file: file.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _ordinary(source: Path) -> Iterator[tuple[str, int]]:
    """Yield each file's name and an open descriptor; nothing is followed, and what is opened is what was checked."""
    try:
        folder = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise InvalidInputError(f"{source} is not a folder that can be read: {error.strerror}") from None
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  # a descriptor has no path
        if not 0 < len(names) <= MAX_FILES:
            raise InvalidInputError(f"{len(names)} files; 1 to {MAX_FILES} make a dataset")
        for name in names:
            try:
                descriptor = os.open(safe_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            except OSError:
                raise UnsafeFileError(f"{name!r} is a link or cannot be read") from None
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                os.close(descriptor)
                raise UnsafeFileError(f"{name!r} is not an ordinary file with one name")
            yield name, descriptor
    finally:
        os.close(folder)


def _describe(path: Path, name: str, person_key: str, labels: dict[str, str]) -> tuple[File, list[Variable], set[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as text:
            rows = csv.reader(text, strict=True)
            header = next(rows, [])
            kinds = dict.fromkeys(header, "integer")
            persons, count = set[str](), 0
            if person_key not in header:
                raise InvalidInputError(f"{name} has no column {person_key!r}, by which persons are counted")
            if len(set(header)) != len(header):
                raise InvalidInputError(f"{name} has two columns of one name")
            key = header.index(person_key)
            for row in rows:
                if len(row) != len(header):
                    raise InvalidInputError(f"{name}, row {count + 2}: {len(row)} values under {len(header)} names")
                persons.add(row[key])
                count += 1
                for column, value in zip(header, row, strict=True):
                    kinds[column] = _kind(kinds[column], value)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{name} is not CSV in UTF-8: {error}") from None
    if not count:
        raise InvalidInputError(f"{name} has no rows")
    variables = [Variable(column, kinds[column], labels.get(column, "")) for column in header]
    return File(name, path.stat().st_size, count, _sha256(path)), variables, persons


def _kind(so_far: str, value: str) -> str:
    """Return the narrowest of integer, number, text that holds everything seen so far; empty fits all."""
    if not value or so_far == "text":
        return so_far
    if so_far == "integer" and value.lstrip("-").isdigit():
        return so_far
    try:
        float(value)
    except ValueError:
        return "text"
    return "number"


def _wider(one: Variable, other: Variable) -> Variable:
    """Return a column that several files have, of the narrowest kind that holds what is in all of them."""
    if one.kind == other.kind:
        return one
    return replace(one, kind="number" if {one.kind, other.kind} == {"integer", "number"} else "text")


def _project(source: Path, target: Path, variables: tuple[str, ...]) -> None:
    with source.open(newline="", encoding="utf-8") as reader, target.open("w", newline="", encoding="utf-8") as writer:
        rows = csv.DictReader(reader)
        kept = [name for name in rows.fieldnames or () if name in variables]
        out = csv.DictWriter(writer, kept, extrasaction="ignore", lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
    target.chmod(0o444)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
