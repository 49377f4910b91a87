"""One bubblewrap process tree: built inside a private mount namespace, killed in whole, and proved gone."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from broker.adapters import cgroups, homes, linux, seccomp
from sulku.errors import SandboxError
from sulku.plan import COMMAND, STAGE, Fd, WorkspacePlan, bwrap_arguments, host_uid, notice

_LINE: Final = 256 * 1024  # longest message of the workspace's first program


def inhabitants(pid_namespace: int, mount_namespace: int = 0) -> list[int]:
    """Return the host's ids of all processes in either namespace, by inode number."""
    wanted = {"pid": f"pid:[{pid_namespace}]", "mnt": f"mnt:[{mount_namespace}]"}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        for kind, name in wanted.items():
            try:
                if str((entry / "ns" / kind).readlink()) == name:
                    found.append(int(entry.name))
                    break
            except OSError:  # gone, or a zombie: it has left its namespaces
                continue
    return found


def _first(pid_namespace: int) -> int:
    """Return the host's id of the first process in a namespace, by inode number; LookupError if it is gone."""
    for pid in inhabitants(pid_namespace):
        with contextlib.suppress(OSError):
            rows = Path(f"/proc/{pid}/status").read_text().splitlines()
            if any(row.startswith("NSpid:") and row.endswith("\t1") for row in rows):
                return pid
    raise LookupError(pid_namespace)


class Cage:
    """A workspace's processes, from outside.

    Attributes:
        namespaces: Inode numbers that bubblewrap reports (``pid-namespace``, ``mnt-namespace``, …) and ``child-pid``.
    """

    def __init__(self, plan: WorkspacePlan, bwrap: str, venv: str, image: str) -> None:
        """Keep what to build; nothing happens yet."""
        self.plan, self._bwrap, self._venv, self._image = plan, bwrap, venv, image
        self.uid = host_uid(plan.home)
        self.namespaces: dict[str, int] = {}
        self.host_mounts = -1
        self.bwrap_pid = 0
        self._lock = -1
        self._init = -1
        self._wait_status: int | None = None
        self._childless = False
        self._groups: tuple[Path, ...] = ()
        self.control: socket.socket | None = None
        self._rest = b""
        self._errors = -1

    def stage(self, state: str) -> None:
        """Enter a private mount namespace and lay the sources out under ``STAGE``, the home's image among them.

        All of it disappears with the last process of this namespace, however that dies.

        Args:
            state: The broker's state folder; mounts below it (other people's data) are dropped from our copy.

        Raises:
            HomeInUseError: Another tunnel has the home.
            SandboxError: The kernel refuses a mount.
        """
        self.host_mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._lock = homes.take(Path(self.plan.home), self.plan.limits.home, self.uid)
        try:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
            for line in Path("/proc/self/mountinfo").read_text().splitlines():
                target = line.split()[4].encode().decode("unicode_escape")
                if target.startswith(f"{state}/"):
                    linux.umount(target, linux.MNT_DETACH)
            sources = {"venv": self._venv, "image": self._image}
            held = {name: os.open(source, os.O_PATH | os.O_DIRECTORY) for name, source in sources.items()}
            linux.mount("tmpfs", STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")
            for name, folder in held.items():
                Path(f"{STAGE}/{name}").mkdir()
                linux.mount(f"/proc/self/fd/{folder}", f"{STAGE}/{name}", "", linux.MS_BIND)
                os.close(folder)
            Path(f"{STAGE}/home").mkdir()
        except OSError as error:
            raise SandboxError(f"the workspace cannot be laid out: {error}") from error
        homes.attach(Path(self.plan.home) / homes.IMAGE, f"{STAGE}/home", self.uid)

    def spawn(self, listener: socket.socket) -> None:
        """Start bubblewrap with ``listener`` inherited; call it from the main thread, with whose death the tree dies.

        bubblewrap is the first process of a namespace of ours: when it goes, the kernel kills whatever is in there, at
        whatever moment. By itself it would leave a child behind that has not yet asked to die with it.

        Raises:
            SandboxError: bubblewrap did not get as far as starting the workspace.
        """
        limits = self.plan.limits
        self._groups = cgroups.make(self.plan.tunnel, limits.memory, limits.processes)
        self.control, theirs = socket.socketpair()
        info, info_writer = os.pipe()
        self._errors, errors_writer = os.pipe()
        os.set_blocking(self._errors, False)
        arguments = "".join(f"{one}\0" for one in bwrap_arguments(self.plan)).encode()
        passed = {
            Fd.LISTEN: listener.fileno(),
            Fd.CONTROL: theirs.fileno(),
            Fd.SECCOMP: _memory(seccomp.program(platform.machine())),
            Fd.ARGUMENTS: _memory(arguments),
            Fd.INFO: info_writer,
            Fd.TUNNEL: _memory(notice(self.plan)),
        }
        with linux.children_in_new(linux.CLONE_NEWPID):
            self.bwrap_pid = os.fork()
        if not self.bwrap_pid:
            self._become_bwrap(passed, errors_writer)
        for number in (info_writer, errors_writer, passed[Fd.SECCOMP], passed[Fd.ARGUMENTS], passed[Fd.TUNNEL]):
            os.close(number)
        theirs.close()
        self._read_info(info)

    def _become_bwrap(self, passed: dict[Fd, int], errors: int) -> NoReturn:
        try:
            os.close(self._errors)
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
            for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), errors, errors)):
                os.dup2(source, number)
            cgroups.join(self._groups)
            held = {target: os.dup2(source, 100 + target) for target, source in passed.items()}
            for target, source in held.items():
                os.dup2(source, target)
            os.closerange(max(Fd) + 1, 65536)
            limits = self.plan.limits
            for kind, most in (
                (resource.RLIMIT_AS, limits.address_space),
                (resource.RLIMIT_NPROC, limits.processes),
                (resource.RLIMIT_FSIZE, limits.file),
                (resource.RLIMIT_NOFILE, limits.open_files),
                (resource.RLIMIT_CORE, 0),
                (resource.RLIMIT_MEMLOCK, 65536),
            ):
                resource.setrlimit(kind, (most, most))
            os.chdir("/")
            os.setgroups([])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)
            linux.die_with_parent(signal.SIGKILL, 2)  # after the ids: changing them would clear it
            for one in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                signal.signal(one, signal.SIG_DFL)  # Python ignores two of them, and exec would inherit that
            os.execve(self._bwrap, ["bwrap", "--args", str(int(Fd.ARGUMENTS)), "--", *COMMAND], {})  # noqa: S606
        except BaseException as error:  # noqa: BLE001 a forked child must never return into its parent's code
            os.write(2, f"bwrap cannot start: {error}\n".encode())
        os._exit(126)

    def _read_info(self, info: int) -> None:
        text, until = b"", time.monotonic() + 10
        while not text.rstrip().endswith(b"}"):
            ready, _, _ = select.select([info], [], [], max(0.0, until - time.monotonic()))
            more = os.read(info, 4096) if ready else b""
            if not more:
                break
            text += more
        os.close(info)
        try:
            self.namespaces = {name: int(value) for name, value in json.loads(text).items()}
            self.namespaces["child-pid"] = _first(self.namespaces["pid-namespace"])
            self._init = os.pidfd_open(self.namespaces["child-pid"])
        except (ValueError, LookupError, OSError) as error:
            raise SandboxError(f"bubblewrap did not start the workspace: {self.epitaph()}") from error

    def tell(self, message: dict[str, Any]) -> None:
        """Send one message to the workspace's first program; SandboxError if it is gone."""
        if self.control is None:
            raise SandboxError("the workspace listens to us no more")
        try:
            self.control.settimeout(5)
            self.control.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise SandboxError(f"the workspace does not listen: {error}") from error

    def hear(self, seconds: float, meanwhile: Callable[[float], None] = time.sleep) -> dict[str, Any]:
        """Return the next message of the workspace's first program, calling ``meanwhile(seconds)`` as we wait.

        Raises:
            SandboxError: Silence for ``seconds``, an ended workspace, or something that is no message.
        """
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if self.control is None or time.monotonic() > until or len(self._rest) > _LINE:
                raise SandboxError(f"the workspace does not answer: {self.epitaph()}")
            if not select.select([self.control], [], [], 0.005)[0]:
                meanwhile(0.005)
                continue
            more = self.control.recv(65536)
            if not more:
                raise SandboxError(f"the workspace ended before it answered: {self.epitaph()}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise SandboxError("the workspace's first program talks nonsense") from error
        if not isinstance(message, dict) or "failed" in message:
            raise SandboxError(f"the workspace could not do it: {str(message)[:400]}")
        return message

    def fall_silent(self) -> None:
        """Close the way to the first program; from now on what runs inside is a stranger's."""
        if self.control is not None:
            self.control.close()
            os.close(self._errors)
        self.control, self._rest = None, b""

    def epitaph(self) -> str:
        """Return how bubblewrap ended, for an operator; what it said, only while no stranger's code has run."""
        time.sleep(0.05)
        said = ""
        if self.control is not None:
            with contextlib.suppress(BlockingIOError):
                said = ": " + os.read(self._errors, 65536)[-1500:].decode(errors="replace").strip()
        if self.running():
            return "it still runs" + said
        return f"exit status {os.waitstatus_to_exitcode(self._wait_status or 0)}{said}"

    def running(self) -> bool:
        """Return whether bubblewrap runs; also buries whatever orphans came to us."""
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._childless = True
                return False
            if not child:
                return bool(self.bwrap_pid)
            if child == self.bwrap_pid:
                self._wait_status, self.bwrap_pid = status, 0

    def processes(self) -> list[int]:
        """Return the host's ids of the processes inside."""
        spaces = self.namespaces
        return inhabitants(spaces.get("pid-namespace", 0), spaces.get("mnt-namespace", 0)) if spaces else []

    def mounts(self) -> dict[str, str]:
        """Return the options of each mount below ``/data``, by name, as the kernel lists them for the workspace."""
        table = Path(f"/proc/{self.namespaces['child-pid']}/mountinfo").read_text()
        rows = [line.split() for line in table.splitlines()]
        return {row[4].removeprefix("/data/"): row[5] for row in rows if row[4].startswith("/data/")}

    def kill(self, seconds: float = 10) -> int:
        """Kill everything inside and return how many processes are left after at most ``seconds``: 0."""
        until = time.monotonic() + seconds
        while True:
            if self._init >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._init, signal.SIGKILL)
            if self.running() and (self._init < 0 or time.monotonic() > until - seconds / 2):
                os.kill(self.bwrap_pid, signal.SIGKILL)
            left = self.processes()
            self.running()
            if (not left and self._childless) or time.monotonic() > until:
                return len(left) + bool(self.bwrap_pid)
            time.sleep(0.005)

    def clear(self) -> int:
        """Unmount the home, after the last process, and return how many mounts of this tunnel are left: 0."""
        self.fall_silent()
        left = 0
        rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for target in [row[4] for row in reversed(rows) if row[4] == STAGE or row[4].startswith(f"{STAGE}/")]:
            try:
                linux.umount(target)
            except OSError:
                left += target.startswith(f"{STAGE}/home")
        cgroups.remove(self._groups)
        until = time.monotonic() + 2
        image = Path(self.plan.home) / homes.IMAGE
        while homes.loops(image) and time.monotonic() < until:
            time.sleep(0.01)
        if self._lock >= 0:
            os.close(self._lock)
        return left + len(homes.loops(image))


def _memory(content: bytes) -> int:
    descriptor = os.memfd_create("sulku")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
