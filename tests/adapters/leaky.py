"""A supervisor with one hole, named by the plan's title: only tests have it, and the probe must find it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from broker.adapters import cage, canaries, linux, supervisor
from sulku.plan import Fd, WorkspacePlan

Arguments = list[str]


def _without(arguments: Arguments, *words: str) -> Arguments:
    at = next(i for i in range(len(arguments)) if tuple(arguments[i : i + len(words)]) == words)
    return arguments[:at] + arguments[at + len(words) :]


def _before(arguments: Arguments, marker: tuple[str, ...], *words: str) -> Arguments:
    at = next(i for i in range(len(arguments)) if tuple(arguments[i : i + len(marker)]) == marker)
    return [*arguments[:at], *words, *arguments[at:]]


def _sharing(kind: str, arguments: Arguments) -> Arguments:
    kinds = [f"--unshare-{one}" for one in ("ipc", "pid", "net", "uts", "cgroup") if one != kind]
    return [*kinds, *_without(arguments, "--unshare-all")]


ROOT = ("--remount-ro", "/")
HOLES: dict[str, Callable[[Arguments], Arguments]] = {
    "none": lambda a: a,
    "network": lambda a: _sharing("net", a),
    "processes": lambda a: _before(_without(a, "--proc", "/proc"), ("--dev", "/dev"), "--ro-bind", "/proc", "/proc"),
    "one namespace of processes": lambda a: _sharing("pid", a),
    "no filter": lambda a: _without(a, "--seccomp", "5"),
    "nested namespaces": lambda a: _without(_without(a, "--seccomp", "5"), "--disable-userns"),
    "writable root": lambda a: _without(a, *ROOT),
    "host root": lambda a: _before(a, ROOT, "--ro-bind", "/", "/host"),
    "state folder": lambda a: _before(a, ROOT, "--ro-bind", str(Path.cwd().parents[1]), str(Path.cwd().parents[1])),
    "early data": lambda a: _before(a, ROOT, "--dir", "/data/flchain/early"),
    "a variable": lambda a: [*a, "--setenv", "SECRET", "1"],
    "a device": lambda a: _before(a, ("--remount-ro", "/dev"), "--dev-bind", "/dev/kmsg", "/dev/kmsg"),
    "a system socket": lambda a: _before(a, ROOT, "--dir", "/run/docker.sock"),
    "control groups": lambda a: _before(a, ROOT, "--ro-bind", "/sys", "/sys"),
}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_before(owner: type, name: str) -> None:
    setattr(owner, name, lambda *_, **__: _die())


def _killed_after(owner: type, name: str) -> None:
    honest = getattr(owner, name)

    def then_die(*arguments: object, **options: object) -> None:
        honest(*arguments, **options)
        _die()

    setattr(owner, name, then_die)


def _killed_midway() -> None:
    """Die while bubblewrap's child still waits to be let go: bubblewrap hangs on a full pipe, which nobody empties."""
    honest = cage.Cage._become_bwrap

    def become(self: cage.Cage, passed: dict[Fd, int], errors: int) -> NoReturn:
        os.set_blocking(passed[Fd.INFO], False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(passed[Fd.INFO], b" " * 65536)
        os.set_blocking(passed[Fd.INFO], True)
        honest(self, passed, errors)

    cage.Cage._become_bwrap = become  # type: ignore[method-assign]
    cage.Cage._read_info = lambda *_: (time.sleep(0.5), _die())  # type: ignore[method-assign, assignment]


PHASES: dict[str, Callable[[], None]] = {
    "killed before anything": lambda: _killed_before(supervisor.Supervisor, "open"),
    "killed when laid out": lambda: _killed_after(cage.Cage, "stage"),
    "killed when spawning": lambda: _killed_before(cage.Cage, "_read_info"),
    "killed when half spawned": _killed_midway,
    "killed when spawned": lambda: _killed_after(cage.Cage, "spawn"),
    "killed when proving": lambda: _killed_before(cage.Cage, "hear"),
    "killed when proved": lambda: _killed_after(supervisor.Supervisor, "_prove"),
    "killed when ending": lambda: _killed_before(cage.Cage, "clear"),
}


def _hang(left: int | None = None) -> None:
    """Do nothing once it is proved; with ``left``, as many milliseconds before the deadline. Half a second later the kernel kills."""
    supervisor.GRACE = 0.5  # type: ignore[misc]

    def watch(self: supervisor.Supervisor) -> None:
        if left is not None:
            self.shorten(left)
        time.sleep(600)

    supervisor.Supervisor.watch = watch  # type: ignore[method-assign]


def _not_apart() -> None:
    linux.children_in_new = lambda _: contextlib.nullcontext()  # type: ignore[assignment]


def _dead_canary() -> None:
    honest = canaries.Canaries.check

    def check(self: canaries.Canaries) -> object:
        self._all[0].listener.shutdown(2)
        return honest(self)

    canaries.Canaries.check = check  # type: ignore[method-assign, assignment]


def main() -> int:
    """Run the supervisor, spoilt as the plan's title says."""
    honest = cage.bwrap_arguments

    def arguments(plan: WorkspacePlan) -> tuple[str, ...]:
        return tuple(HOLES.get(plan.title, HOLES["none"])(list(honest(plan))))

    start = supervisor.Supervisor.__init__

    def begin(self: supervisor.Supervisor, order: dict[str, object]) -> None:
        start(self, order)
        PHASES.get(self.plan.title, lambda: None)()
        {"dead canary": _dead_canary, "hangs": _hang, "hangs at its deadline": lambda: _hang(500), "processes": _not_apart}.get(self.plan.title, lambda: None)()

    cage.bwrap_arguments = arguments  # type: ignore[assignment]
    supervisor.Supervisor.__init__ = begin  # type: ignore[method-assign, assignment]
    return supervisor.main()


if __name__ == "__main__":
    sys.exit(main())
