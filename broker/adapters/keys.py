"""The broker's signing keys as files of mode 0600, and the ring of public keys that verifies what they signed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

from sulku.crypto import sign
from sulku.crypto.keys import Keyring, SigningKey
from sulku.errors import ConfigurationError
from sulku.ledger import checkpoint
from sulku.ledger.keyrings import follow, publish

RING: Final = "keyrings.jsonl"  # one signed ring a line, oldest first


class FileKeys:
    """One installation's keys in ``folder``; the newest signs, all verify. Implements ``sulku.ports.Signer``.

    Attributes:
        key: The key that signs now.
        rings: Every ring ever published, oldest first; each is signed by the key before and the key after a change.
    """

    def __init__(self, folder: Path) -> None:
        """Open the keys; their name, given when the first was made, names the installation in every signature.

        Raises:
            ConfigurationError: There are none, or others than their owner may read them.
        """
        try:
            self.rings = [line.encode() for line in (folder / RING).read_text().splitlines()]
        except FileNotFoundError:
            raise ConfigurationError(f"there are no keys in {folder}; `sulku-broker init` makes them") from None
        self.ring, _ = follow(self.rings)
        current = next(one.key for one in reversed(self.ring.keys) if one.until is None)
        path = folder / f"{current.id.hex()}.pem"
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} must be readable by its owner alone (mode 0600)")
        self.key = SigningKey.load(current.name, path.read_bytes())

    @classmethod
    def make(cls, folder: Path, origin: str, at: datetime) -> FileKeys:
        """Draw the first key of the installation ``origin``, or its next one: the present key is retired and still verifies."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = cls(folder) if (folder / RING).exists() else None
        key = SigningKey.generate(before.key.name if before else origin)
        write(folder / f"{key.public.id.hex()}.pem", key.pem())
        ring = before.ring.retire(before.key.public, at) if before else Keyring()
        signers = [before.key, key] if before else [key]
        rings = [*(before.rings if before else []), publish(ring.add(key.public, at), at, *signers)]
        write(folder / RING, b"\n".join(rings) + b"\n")
        return cls(folder)

    def sign(self, payload_type: str, payload: bytes) -> str:
        """Return a DSSE envelope (JSON text) over ``payload``."""
        return sign.sign(payload_type, payload, self.key).decode()

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """Return the signed note of a checkpoint of the ledger."""
        return checkpoint.make(checkpoint.Checkpoint(self.key.name, size, root), self.key)


def secret(path: Path, text: str) -> str:
    """Return what is in the secret file ``path``, making it of ``text`` (mode 0600) if it is not there.

    Of several processes that begin at once one makes it, and all return the same.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            write(path, text.encode(), over=False)
    return path.read_text().strip()


def write(path: Path, data: bytes, *, over: bool = True) -> None:
    """Write ``data`` to ``path``, whole and durably, never readable by others.

    Raises:
        FileExistsError: It is there, and may not be written ``over``.
    """
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if over:
            Path(part).replace(path)
        else:
            path.hardlink_to(part)
    finally:
        Path(part).unlink(missing_ok=True)
