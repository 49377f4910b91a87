"""Sealed lines to a pod's programs: the broker's side of `hub/images/python/podline.py`."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Callable
from typing import Any, Final

from sulku.errors import WorkspaceUnavailableError

Reach = Callable[[str, int, bytes, float], bytes]  # host, port, line, seconds → the line that came back
_LONGEST: Final = 1 << 20


def direct(host: str, port: int, line: bytes, seconds: float) -> bytes:
    """Ask by a connection of our own; OSError if it does not come about."""
    with socket.create_connection((host, port), min(seconds, 3)) as caller:
        caller.settimeout(seconds)
        caller.sendall(line)
        with caller.makefile("rb") as lines:
            return lines.readline(_LONGEST)


def seal(key: bytes, kind: str, boot: str, challenge: str, body: dict[str, Any]) -> str:
    """Return the seal of a line (hexadecimal HMAC-SHA256); ``kind`` is ``request`` or ``answer``."""
    text = json.dumps([kind, boot, challenge, body], sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Line:
    """A conversation with one start of one program in a pod.

    Attributes:
        host: Its address.
        boot: The nonce of that start; an answer of another start does not fit.
        role: What the program says it is.
    """

    def __init__(self, host: str, port: int, key: str, reach: Reach = direct) -> None:
        """Ask who is there.

        Raises:
            WorkspaceUnavailableError: Nobody answers.
        """
        self.host = host
        self._where, self._key, self._reach = (host, port), key.encode(), reach
        hello = self._send({"do": "hello"}, 5)
        self.boot, self.role, self._challenge = str(hello.get("boot")), str(hello.get("role")), str(hello.get("challenge"))

    def ask(self, body: dict[str, Any], seconds: float = 30) -> dict[str, Any]:
        """Return the answer to ``body``, after checking its seal.

        Raises:
            WorkspaceUnavailableError: No answer, or not from the program that was asked.
        """
        challenge = self._challenge
        answer = self._send({"challenge": challenge, "body": body, "mac": seal(self._key, "request", self.boot, challenge, body)}, seconds)
        told = answer.get("body")
        if not isinstance(told, dict) or not hmac.compare_digest(seal(self._key, "answer", self.boot, challenge, told), str(answer.get("mac"))):
            raise WorkspaceUnavailableError("what answers in the pod is not our program")
        self._challenge = str(answer.get("challenge"))
        return told

    def _send(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            answer = json.loads(self._reach(*self._where, json.dumps(message).encode() + b"\n", seconds))
        except (OSError, ValueError) as error:
            raise WorkspaceUnavailableError(f"the pod does not answer: {error}"[:200]) from error
        if not isinstance(answer, dict):
            raise WorkspaceUnavailableError("the pod talks nonsense")
        return answer
