"""How the broker talks to a pod's programs: one line each way, sealed with a key that nobody else inside has.

  in   {"do": "hello"}                                  out  {"boot": nonce, "role": name, "challenge": …}
  in   {"challenge": …, "body": {…}, "mac": …}          out  {"body": {…}, "mac": …, "challenge": the next one}

The seal covers the nonce of this start and a challenge that is good once, so that no line can be used again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import select
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

Body = dict[str, Any]
LONGEST = 256 * 1024  # bytes of one line
SECONDS = 5.0  # that a caller may take for its line
MOST = 256  # challenges that are open at a time
CALLERS = threading.Semaphore(8)


def seal(key: bytes, kind: str, boot: str, challenge: str, body: Body) -> str:
    """Return the seal of a line (hexadecimal HMAC-SHA256); ``kind`` is ``request`` or ``answer``."""
    text = json.dumps([kind, boot, challenge, body], sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Line:
    """A listener that answers sealed lines, one at a time, until ``answer`` says that it is over."""

    def __init__(self, listener: socket.socket, key: bytes, role: str) -> None:
        """Take a listening socket."""
        self.listener, self.key, self.role = listener, key, role
        self.boot = secrets.token_hex(16)
        self._open: dict[str, None] = {}  # challenges that were given and not used, oldest first
        self.over = False
        self._woken, self._wake = socket.socketpair()
        self._turn = threading.Lock()
        self._giving = threading.Lock()

    def run(self, answer: Callable[[Body], Body]) -> None:
        """Serve until ``over``; what is not sealed gets nothing but the hello."""
        self.listener.settimeout(1)
        while self._woken not in (ready := select.select([self.listener, self._woken], [], [])[0]):
            try:
                caller, _ = ready[0].accept()
            except OSError:
                continue  # who has gone again
            if CALLERS.acquire(blocking=False):
                threading.Thread(target=self._attend, args=(caller, answer), daemon=True).start()
            else:
                caller.close()
        self._woken.close()
        self._wake.close()

    def _attend(self, caller: socket.socket, answer: Callable[[Body], Body]) -> None:
        told: Body = {}
        try:
            with caller:
                caller.settimeout(SECONDS)
                told = self._reply(json.loads(caller.makefile("rb").readline(LONGEST)), answer)
                caller.sendall(json.dumps(told).encode() + b"\n")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # a stranger, or a broker that is gone: it will ask again
        finally:
            CALLERS.release()
            if self.over and "body" in told:  # by what we were asked; and the answer is sent
                self.stop()

    def stop(self) -> None:
        """Serve no more."""
        self.over = True
        with contextlib.suppress(OSError):  # it has ended already
            self._wake.send(b".")

    def _reply(self, request: Body, answer: Callable[[Body], Body]) -> Body:
        if request.get("do") == "hello":
            return {"boot": self.boot, "role": self.role, "challenge": self._challenge()}
        body, challenge = request["body"], str(request["challenge"])
        if not hmac.compare_digest(seal(self.key, "request", self.boot, challenge, body), str(request["mac"])):
            raise ValueError("not sealed")
        with self._turn:
            del self._open[challenge]
            told = answer(body)
        return {"body": told, "mac": seal(self.key, "answer", self.boot, challenge, told), "challenge": self._challenge()}

    def _challenge(self) -> str:
        """Return a fresh challenge; of those that were never used, the oldest are forgotten."""
        fresh = secrets.token_hex(16)
        with self._giving:
            self._open[fresh] = None
            for old in list(self._open)[:-MOST]:
                del self._open[old]
        return fresh


def listen(port: int) -> socket.socket:
    """Return a socket that listens on ``port`` of the pod's addresses."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))  # noqa: S104 the pod's own network, which only the gateway may enter
    listener.listen(16)
    return listener


def leave_at_once() -> None:
    """Have this program end when it is told to: the first of a container would else be waited for, and then killed all the same."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def silence() -> None:
    """Have nothing that this process or its children say come into the container's log, which administrators and log stores keep."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
