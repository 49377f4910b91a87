"""The system call filter, run on a small model of the kernel's machine: both architectures, whatever runs the tests."""

from __future__ import annotations

import errno
import struct

import pytest

from broker.adapters.seccomp import DENIED, FAMILIES, GUARDED, NAMESPACES, program
from sulku.errors import IsolationUnavailableError

ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
ALLOWED, KILLED = "allowed", "killed"
COLUMN = {"x86_64": 0, "aarch64": 1}
EVERYDAY = {"x86_64": (0, 1, 9, 59, 202, 257), "aarch64": (63, 64, 222, 221, 98, 56)}  # read write mmap execve futex openat


def verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> str:
    """Return what the filter answers: ``allowed``, ``killed``, or the name of an error."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, architecture or ARCHITECTURES[machine], 0, *words)
    steps = list(struct.iter_unpack("=HBBI", program(machine)))
    at = accumulator = 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return {0x7FFF_0000: ALLOWED, 0x8000_0000: KILLED}.get(value) or errno.errorcode[value & 0xFFFF]
        else:
            true = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += yes if true else no


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("name", DENIED)
def test_what_an_escape_needs_is_refused(machine: str, name: str) -> None:
    number = DENIED[name][COLUMN[machine]]
    if number is not None:
        assert verdict(machine, number) == "EPERM"


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_an_analysis_needs_is_allowed(machine: str) -> None:
    assert {verdict(machine, number) for number in EVERYDAY[machine]} == {ALLOWED}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_threads_and_children_are_allowed_and_namespaces_are_not(machine: str) -> None:
    clone, clone3 = GUARDED["clone"][COLUMN[machine]], GUARDED["clone3"][COLUMN[machine]]
    assert verdict(machine, clone, 0x3D0F00) == ALLOWED  # CLONE_VM|FS|FILES|SIGHAND|THREAD|…: a thread
    assert verdict(machine, clone, 17) == ALLOWED  # SIGCHLD: a child
    for bit in range(32):
        if NAMESPACES >> bit & 1:
            assert verdict(machine, clone, 17 | 1 << bit) == "EPERM"
    assert verdict(machine, clone3) == "ENOSYS"


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_only_three_socket_families_can_be_had(machine: str) -> None:
    socket = GUARDED["socket"][COLUMN[machine]]
    allowed = {family for family in range(64) if verdict(machine, socket, family, 1, 0) == ALLOWED}
    assert allowed == set(FAMILIES)
    assert verdict(machine, socket, 16, 3, 0) == errno.errorcode[errno.EOPNOTSUPP]


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_nobody_types_into_a_terminal_that_is_not_theirs(machine: str) -> None:
    ioctl = GUARDED["ioctl"][COLUMN[machine]]
    assert verdict(machine, ioctl, 0, 0x5412) == verdict(machine, ioctl, 0, 0x541C) == "EPERM"
    assert verdict(machine, ioctl, 0, 0x5401) == ALLOWED


def test_other_architectures_calls_kill_and_x32_numbers_are_unknown() -> None:
    assert verdict("x86_64", 1, architecture=0x4000_0003) == KILLED  # i386
    assert verdict("x86_64", 0x4000_0000 | 101) == "ENOSYS"


def test_an_unknown_machine_is_refused_rather_than_run_unfiltered() -> None:
    with pytest.raises(IsolationUnavailableError):
        program("riscv64")
