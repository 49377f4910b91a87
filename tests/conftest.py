"""What all tests share: plain tracebacks in log lines, as our parts write them, no deadlines, and threads that parse one after another.

A drawn traceback takes a fifth of a second, and shows what variables hold.
"""

from __future__ import annotations

import ast
import threading
from typing import Any, Final

import structlog
from hypothesis import HealthCheck, settings

settings.register_profile("sulku", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be everybody's
settings.load_profile("sulku")
structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])

PARSER: Final = ast.parse
_turn: Final = threading.RLock()


def _parsed(*arguments: Any, **more: Any) -> Any:
    """Parse, and let no other thread parse meanwhile.

    Python 3.11 counts the depth of its parser once for all threads (CPython issue 106905): where two of them make a tree at once, one may
    get a `SystemError`. Here servers run in threads of the tests, and draw tracebacks, for which lines are parsed, while pytest rewrites the
    assertions of a module that is imported just then, or puts a failure into words.
    """
    with _turn:
        return PARSER(*arguments, **more)


ast.parse = _parsed
