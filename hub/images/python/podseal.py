"""The system call filter of a pod's programs, put on by themselves: gVisor ignores the one that a pod may ask for.

The broker writes it, for each kind of processor, beside the other things that a pod is told. It cannot be taken off.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

PLACE = Path("/run/sulku")
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def seal(place: Path = PLACE) -> None:
    """Put the filter on this process and all that it will start.

    Raises:
        OSError: There is none for this processor, or the kernel refuses it: nothing may run.
    """
    content = (place / f"filter-{os.uname().machine}").read_bytes()
    program = _Program(len(content) // 8, content)
    calls = ((_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), 0, 0, 0), (_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(program), 0, 0))
    for call in calls:
        if _libc.prctl(*call):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "seccomp")
