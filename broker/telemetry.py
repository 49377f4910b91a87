"""What our parts write about themselves: one JSON object a line on standard error, with what went wrong and never with what it held."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog


def configure(stream: Any = None) -> None:
    """Set the form of every line from here on, of libraries' logging too.

    A traceback names files and lines. The values of variables stay out: among them are tokens, keys and what people wrote.

    Args:
        stream: Where to write; standard error if none is given.
    """
    target = stream or sys.stderr
    last: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    common: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_traced),
    ]
    structlog.configure(
        processors=[*common, last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=[_plainly, last]))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _traced(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """Return a traceback as text.

    Python 3.11 counts the depth of its parser once for all threads (CPython issue 106905), and parses lines to mark the place in them:
    when two threads tell of a failure at once, one may get a `SystemError`, and would tell of nothing.
    """
    try:
        return "".join(traceback.format_exception(*exc_info)).rstrip()
    except SystemError:
        frames = "".join(f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}\n' for frame, line in traceback.walk_tb(exc_info[2]))
        return f"{frames}{exc_info[0].__name__}: {exc_info[1]}"


def _plainly(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop what ProcessorFormatter keeps for itself."""
    return {name: value for name, value in entry.items() if not name.startswith("_")}
