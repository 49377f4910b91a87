"""The worker's only way to a pod: one line there, one line back, bounded, and to nothing that is no pod.

The bytes are sealed between the worker and the pod's program; nothing here reads them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any, Final

from sulku import links
from sulku.errors import GateBusyError, InvalidInputError, WorkspaceUnavailableError
from sulku.links import Address, Network
from sulku.manifests import PROBE_PORT, WORKSPACE_PORT

PORTS: Final = frozenset({WORKSPACE_PORT, PROBE_PORT})
LONGEST: Final = 1 << 20  # bytes of a line, either way
LONGEST_SECONDS: Final = 60.0
CONNECT: Final = 3.0  # seconds of these that a connection may take
MOST: Final = 32  # at once


class Reach:
    """Speaks to pods for the worker."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        """Reach pods in ``networks`` alone; without any, none."""
        self._networks = networks
        self._free = MOST

    async def ask(self, asked: dict[str, Any]) -> bytes:
        """Return the line that a pod answers.

        Args:
            asked: ``address`` (``http://IP:PORT``), ``line`` (base64), ``seconds`` for all of it.

        Raises:
            InvalidInputError: It is too long, too slow or not base64.
            NotAPodError: The address is not one of a pod.
            GateBusyError: Too many are under way.
            WorkspaceUnavailableError: The pod does not answer with a whole line in time.
        """
        line, seconds = _line(asked["line"]), _seconds(asked["seconds"])
        address = links.pod(str(asked["address"]), self._networks, PORTS)
        if self._free < 1:
            raise GateBusyError(f"{MOST} pods are being spoken to")
        self._free -= 1
        try:
            async with asyncio.timeout(seconds):
                return await _once(address, line, min(seconds, CONNECT))
        except asyncio.LimitOverrunError as error:
            raise WorkspaceUnavailableError(f"the pod answered more than {LONGEST} bytes") from error
        except (OSError, EOFError) as error:  # a timeout is an OSError
            raise WorkspaceUnavailableError(f"the pod does not answer: {type(error).__name__}") from error
        finally:
            self._free += 1


async def _once(address: Address, line: bytes, patience: float) -> bytes:
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=LONGEST)
    try:
        writer.write(line)
        await writer.drain()
        return await reader.readuntil(b"\n")
    finally:
        writer.transport.abort()


def _line(text: object) -> bytes:
    if not isinstance(text, str) or len(text) > LONGEST * 4 // 3 + 4:
        raise InvalidInputError(f"line: base64 of at most {LONGEST} bytes", fields=[("line", "is no text, or too long")])
    try:
        line = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError("line: not base64", fields=[("line", "is not base64")]) from error
    if not 0 < len(line) <= LONGEST:
        raise InvalidInputError(f"line: 1 to {LONGEST} bytes", fields=[("line", "has no bytes, or too many")])
    return line


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= LONGEST_SECONDS:
        raise InvalidInputError(f"seconds: more than 0 and at most {LONGEST_SECONDS:g}", fields=[("seconds", "is out of range")])
    return float(value)
