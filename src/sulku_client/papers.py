"""Files that commands read and write: JSON documents, signed papers, and keys to check them with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from sulku.errors import InvalidInputError, NotFoundError

Keys = Annotated[list[str] | None, typer.Option("--key", metavar="KEY", help="name+hash+base64 of a key that you trust; may be repeated.")]
Rings = Annotated[Path | None, typer.Option("--rings", metavar="FILE", help="keys.json of the installation, as a bundle holds it.")]
To = Annotated[Path, typer.Option("--to", metavar="PATH", help="Where to write it.")]


def read(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        NotFoundError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from None


def document(path: Path) -> Any:
    """Return the JSON document in a file; ``-`` is the standard input.

    Raises:
        NotFoundError: It cannot be read.
        InvalidInputError: It is not JSON.
    """
    data = typer.get_binary_stream("stdin").read() if str(path) == "-" else read(path)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"{path} is not JSON: {error}") from None


def write(path: Path, data: bytes) -> None:
    """Write a new file; an old one is never overwritten.

    Raises:
        InvalidInputError: There is a file already, or it cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise InvalidInputError(f"{path} exists already", fields=[("--to", "Name another file")]) from None
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from None
