"""HTTP that has one meaning: whatever two readers could take apart differently is refused, and its connection closed.

The parser refuses most of it: two lengths, a length and chunks, folded lines, bare line feeds, spaces before colons. Here
goes what it would still understand and no browser needs. Nothing that it cannot read says who sent it: it is counted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from sulku.errors import FaultError, RequestRefusedError, SulkuError

NEVER: Final = ("Transfer-Encoding", "Content-Encoding", "Expect")
LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,11}")
LINGER: Final = 0.3  # seconds in which what is on its way is still read, or a reset would overtake the answer
BODILESS: Final = frozenset({"GET", "HEAD", "DELETE"})
log = logging.getLogger("sulku.gateway")


def require_plain(request: web.BaseRequest) -> None:
    """Check how ``request`` is framed.

    Raises:
        RequestRefusedError: It has chunks, a coding, an expectation, a length that is written oddly, a body where none is
            needed, or wants another protocol than websockets.
    """
    for name in NEVER:
        if name in request.headers:
            raise RequestRefusedError(f"the request has {name}")
    length = request.headers.get("Content-Length", "0")
    if not LENGTH.fullmatch(length) or (length != "0" and request.method in BODILESS):
        raise RequestRefusedError("the request has a length that it should not have")
    if request.headers.get("Upgrade", "websocket").lower() != "websocket":
        raise RequestRefusedError("the request wants another protocol")


class Server(web.Server):
    """Has what cannot be read answered by ``refuse`` as everything else is: with a code, and the headers of all answers."""

    def __init__(self, handler: Callable[[web.BaseRequest], Any], refuse: Callable[[SulkuError], web.Response]) -> None:
        """Keep both."""
        super().__init__(handler, access_log=None, auto_decompress=False)  # no coding is taken, so none is undone
        self.refuse = refuse

    def __call__(self) -> web.RequestHandler:
        """Return what handles one connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)


def hang_up(request: web.BaseRequest, response: web.Response) -> None:
    """Have the connection closed after ``response``, without waiting for more of ``request`` than is on its way."""
    response.force_close()
    if isinstance(request.protocol, _Connection):
        request.protocol.hurry()


class _Connection(web.RequestHandler):
    def hurry(self) -> None:
        self._lingering_time = LINGER

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None  # noqa: ARG002
    ) -> web.StreamResponse:
        """Return a refusal, after which the connection is closed; what was wrong exactly is not repeated.

        Raises:
            ConnectionError: Nobody is there who could be answered, or an answer had begun.
        """
        manager: Any = self._manager
        gone = manager is None or self.transport is None
        if status >= 500 and not (gone and isinstance(exc, ConnectionError)):
            log.error("a request failed", exc_info=exc)
        if gone or request.writer.output_size > 0:
            raise ConnectionError("nobody waits for an answer, or one had begun")
        error = FaultError("this failed") if status >= 500 else RequestRefusedError("the request cannot be read in one way alone")
        response: web.Response = manager.refuse(error)
        response.force_close()
        return response
