"""The workspace's system call filter, as a classic BPF program: what no analysis needs and an escape would.

Layout of ``struct seccomp_data``, return values: linux/seccomp.h; instructions: linux/filter.h; numbers: asm/unistd.h.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from sulku.errors import IsolationUnavailableError

_ARCHITECTURES: Final = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}  # AUDIT_ARCH_* of linux/audit.h
_X32: Final = 0x4000_0000  # bit of the second x86 interface: same calls, other numbers
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_LOAD, _RETURN = 0x20, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_RET|BPF_K
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP|BPF_K with JEQ, JGE, JSET
_AND = 0x54  # BPF_ALU|BPF_AND|BPF_K
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets; arguments are 8 bytes each, low word first

NAMESPACES: Final = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000
FAMILIES: Final = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6; with no interface but lo they lead nowhere
TERMINAL_INPUT: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: type into somebody's terminal

# name: (x86_64, aarch64); None where the architecture has no such call.
DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # look into or drive another process
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # programs in the kernel, and its youngest interfaces
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "fanotify_init": (300, 262),
    # mounts, roots, namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467), "unshare": (272, 97),
    "setns": (308, 268), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    # keys, modules, the machine
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "syslog": (103, 116), "sethostname": (170, 161),
    "setdomainname": (171, 162), "vhangup": (153, 58), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    "personality": (135, 92), "memfd_secret": (447, 447), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None),
    "_sysctl": (156, None),
}  # fmt: skip
GUARDED: Final = {"clone": (56, 220), "clone3": (435, 435), "socket": (41, 198), "ioctl": (16, 29)}


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _argument(index: int) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * index)


def _sockets(network: bool) -> list[bytes]:
    """Return what is asked of a new socket; with a ``network`` that must lead nowhere, streams alone, and no IPv6."""
    allow, refuse = _step(_RETURN, _ALLOW), _refuse(errno.EOPNOTSUPP)
    if network:
        unix, inet, stream = 1, 2, 1
        return [
            _argument(0), _step(_EQUAL, unix, 5, 0), _step(_EQUAL, inet, 0, 3),
            _argument(1), _step(_AND, 0xF), _step(_EQUAL, stream, 1, 0), refuse, allow,
        ]  # fmt: skip
    return [_argument(0), *(_step(_EQUAL, family, len(FAMILIES) - at, 0) for at, family in enumerate(FAMILIES)), refuse, allow]


def program(machine: str, *, network: bool = False) -> bytes:
    """Return the filter for ``machine`` (``x86_64`` or ``aarch64``), ready for ``bwrap --seccomp``.

    Args:
        network: For a place that has a network, such as a pod: no datagrams (names, pings), raw sockets or IPv6.

    Denied calls answer EPERM; ``clone3`` answers ENOSYS, so that the C library falls back to ``clone``, whose flags can
    be read; other address families answer EOPNOTSUPP, because ZeroMQ aborts the kernel's process when a netlink socket is
    refused in any other way. Another architecture's calls kill the process.

    Raises:
        IsolationUnavailableError: There is no table for this machine.
    """
    if machine not in _ARCHITECTURES:
        raise IsolationUnavailableError(["seccomp"], f"no system call table for {machine}")
    column = list(_ARCHITECTURES).index(machine)
    out = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, _ARCHITECTURES[machine], 1, 0), _step(_RETURN, _KILL)]
    out.append(_step(_LOAD, _NUMBER))
    if machine == "x86_64":
        out += [_step(_AT_LEAST, _X32, 0, 1), _refuse(errno.ENOSYS)]
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            out += [_step(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    clone, clone3, socket, ioctl = (GUARDED[name][column] for name in ("clone", "clone3", "socket", "ioctl"))
    out += [_step(_EQUAL, clone3, 0, 1), _refuse(errno.ENOSYS)]
    allow = _step(_RETURN, _ALLOW)
    out += [_step(_EQUAL, clone, 0, 4), _argument(0), _step(_ANY_BIT, NAMESPACES, 0, 1), _refuse(errno.EPERM), allow]
    sockets = _sockets(network)
    out += [_step(_EQUAL, socket, 0, len(sockets)), *sockets]
    out += [_step(_EQUAL, ioctl, 0, 4), _argument(1), _step(_EQUAL, TERMINAL_INPUT[0], 1, 0)]
    out += [_step(_EQUAL, TERMINAL_INPUT[1], 0, 1), _refuse(errno.EPERM), allow]
    return b"".join(out)
