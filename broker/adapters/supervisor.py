"""The supervisor: one process a tunnel; it starts it, proves it closed, lets data in, ends it by a clock of its own.

A program, not a module to call: the broker starts it and may die. It reads one JSON document from standard input,
answers one line on standard output (the closure report, or why not), and then listens on ``ctl.sock`` in its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from broker.adapters import linux, volumes
from broker.adapters.cage import Cage
from broker.adapters.canaries import Canaries
from sulku.closure import Attempt, ClosureReport, judge
from sulku.codec import plain, typed
from sulku.crypto import seal
from sulku.errors import NotProvedClosedError, SandboxError, SulkuError
from sulku.plan import Alive, EndRecord, MountProof, Volume, WorkspacePlan

TICK: Final = 0.25  # seconds; select's clock stands still in a suspended machine, ours does not
PROBE_SECONDS: Final = 20.0
BOOT_SECONDS: Final = 50.0  # on a busy machine; two seconds on an idle one
ASK_SECONDS: Final = 2.0
GRACE: Final = 15.0  # seconds that an orderly end may take


def boot_clock() -> float:
    """Return seconds since boot, suspension included; no wall clock can move it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Supervisor:
    """One tunnel's life on this machine."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Read the order.

        Args:
            order: ``plan``, ``opened`` (ISO 8601), ``milliseconds`` left at ``boot`` (milliseconds of the boot clock),
                ``bwrap``, ``venv``, ``image``, ``run`` (our folder), ``state`` (the broker's), ``ended`` (where the end
                record goes), ``neighbours`` (paths that must not be seen).
        """
        self.plan = typed(WorkspacePlan, order["plan"])
        self._began = order["boot"] / 1000  # when the broker looked at its clock, not when we got to run
        self._opened = datetime.fromisoformat(order["opened"])
        self._until = self._began + order["milliseconds"] / 1000
        self._order = order
        self._run = Path(order["run"])
        self._ended = os.open(order["ended"], os.O_PATH | os.O_DIRECTORY)
        self.cage = Cage(self.plan, order["bwrap"], order["venv"], order["image"])
        self.phase = "proving"
        self.closure: ClosureReport | None = None
        self.proofs: tuple[MountProof, ...] = ()
        self.record: EndRecord | None = None
        self._cause = ""
        self._detail = ""

    # --- the way in -----------------------------------------------------------------------------------------------

    def open(self) -> ClosureReport:
        """Start the workspace, without data, and have it prove that it is closed.

        Raises:
            SandboxError: It did not get that far.
            HomeInUseError: Another tunnel has the home.
        """
        self.arm()
        os.chdir(self._run)
        listener, self._control = self._listen("ws.sock"), self._listen("ctl.sock")
        self.cage.stage(self._order["state"])
        self._canaries = Canaries(Path(), seal.token(16))
        self.cage.spawn(listener)
        listener.close()
        self._note()
        self.closure = self._prove()
        if not self.closure.closed:
            self.finish("closure-failed", "; ".join(self.closure.problems)[:2000])
        else:
            self.phase = "proved"
        return self.closure

    def _listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(name)  # relative to our folder: an absolute path may be too long for a socket address
        Path(name).chmod(0o600)
        listener.listen(128)
        return listener

    def _note(self) -> None:
        """Leave word of who to look for, should we be killed."""
        Path("namespaces.json").write_text(json.dumps({"supervisor": os.getpid(), **self.cage.namespaces}))

    def _prove(self) -> ClosureReport:
        started = boot_clock()
        host = {"supervisor": os.getpid(), "paths": self._order["neighbours"], "hidden": [self._order["state"]]}
        told = {**self._canaries.addresses(), **host, "datasets": list(self.plan.datasets), "addresses": _addresses()}
        told["path"], told["file"] = str(self._run / "canary.sock"), str(self._run / "canary")
        self.cage.tell({"probe": told})
        heard = self.cage.hear(min(PROBE_SECONDS, self.left()), self._canaries.serve)
        attempts = tuple(typed(Attempt, one) for one in heard["attempts"])
        controls = self._canaries.check()
        self._canaries.close()
        return judge(self.plan.tunnel, attempts, controls, int((boot_clock() - started) * 1000))

    def release(self, wanted: tuple[Volume, ...]) -> tuple[MountProof, ...]:
        """Let the datasets in and start Jupyter, once; asked again, say what was done.

        Raises:
            NotProvedClosedError: The closure is not proved.
            UnsafeFileError: A dataset is not just ordinary files; nothing is mounted.
            SandboxError: It failed half way; the tunnel is ending.
        """
        if self.phase == "released":
            return self.proofs
        if self.phase != "proved" or self.closure is None or not self.closure.closed:
            raise NotProvedClosedError("no data enters a workspace that is not proved closed")
        if sorted(one.name for one in wanted) != sorted(self.plan.datasets):
            raise SandboxError("these are not the datasets of the plan")
        space = os.open(f"/proc/{self.cage.namespaces['child-pid']}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            counts = volumes.admit(wanted, host=self.cage.host_mounts, workspace=space, uid=self.cage.uid)
        finally:
            os.close(space)
        self.phase = "released"
        try:
            self.proofs = self._verify(counts)
            self.cage.tell({"serve": {"token": self.plan.token}})
            self.cage.hear(min(BOOT_SECONDS, self.left()))
            self.cage.fall_silent()
        except SandboxError as error:
            self.finish("crashed", str(error))
            raise
        return self.proofs

    def _verify(self, counts: dict[str, int]) -> tuple[MountProof, ...]:
        options = self.cage.mounts()
        self.cage.tell({"mounted": sorted(counts)})
        refused = self.cage.hear(min(BOOT_SECONDS, self.left()))["refused"]
        proofs = tuple(MountProof(n, options.get(n, ""), counts[n], str(refused.get(n))) for n in sorted(counts))
        for proof in proofs:
            flags = proof.options.split(",")
            if proof.refused != "EROFS" or not {"ro", "nosuid", "nodev", "noexec"} <= set(flags):
                raise SandboxError(f"/data/{proof.name} is not read-only: {proof.options}, {proof.refused}")
        return proofs

    # --- the clock and the way out --------------------------------------------------------------------------------

    def left(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, float(self._until - boot_clock()))

    def shorten(self, milliseconds: int) -> None:
        """End at most ``milliseconds`` from now; a longer time than is left changes nothing."""
        self._until = min(self._until, boot_clock() + max(0, milliseconds) / 1000)
        self.arm()

    def arm(self) -> None:
        """Have the kernel kill us a little after the deadline, should we hang: the workspace dies with us."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self.left() + GRACE)

    def finish(self, cause: str, detail: str = "") -> None:
        """Have ``watch`` end the tunnel; the first cause stays."""
        self._cause, self._detail = (self._cause or cause), (self._detail or detail)

    def watch(self) -> None:
        """Serve the control socket until something ends the tunnel, then end it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.finish("stopped", "by signal"))
        while not self._cause:
            ready, _, _ = select.select([self._control], [], [], min(TICK, self.left()))
            if self.left() <= 0:
                self.finish("deadline")
            elif not self.cage.running():
                self.finish("crashed", self.cage.epitaph())
            elif ready:
                self._attend()

    def _attend(self) -> None:
        caller, _ = self._control.accept()
        with caller:
            caller.settimeout(ASK_SECONDS)
            try:
                request = json.loads(caller.makefile("rb").readline(1 << 20))
                answer: dict[str, Any] = {"ok": self._do(request)}
            except SulkuError as error:
                answer = {"code": error.code, "message": str(error)}
            except (OSError, ValueError, KeyError) as error:
                answer = {"code": SandboxError.code, "message": f"{type(error).__name__}: {error}"}
            with contextlib.suppress(OSError):  # whoever asked is gone; what was done stays done
                caller.sendall(json.dumps(plain(answer)).encode() + b"\n")

    def _do(self, request: dict[str, Any]) -> object:
        match request["do"]:
            case "status":
                inside = len(self.cage.processes())
                return Alive(self.plan.tunnel, self.phase, int(self.left() * 1000), inside)
            case "closure":
                return self.closure
            case "release":
                return self.release(tuple(typed(Volume, one) for one in request["volumes"]))
            case "mounted":
                now = self.cage.mounts()
                return [proof for proof in self.proofs if now.get(proof.name) == proof.options]
            case "shorten":
                self.shorten(request["milliseconds"])
                return int(self.left() * 1000)
            case "stop":
                self.finish("stopped")
                return self.end()
            case _:
                raise SandboxError("no such request")

    def end(self) -> EndRecord:
        """Kill, prove, unmount, record, in this order; asked again, return the same record."""
        if self.record is not None:
            return self.record
        left = self.cage.kill()
        mounts = self.cage.clear()
        at = self._opened + timedelta(seconds=boot_clock() - self._began)
        kept = (Path(self.plan.home) / "home.ext4").is_file()
        self.record = EndRecord(self.plan.tunnel, self._cause or "crashed", at, left, mounts, kept, self._detail)
        write_record(self.record, self._ended)
        for name in ("ws.sock", "ctl.sock", "namespaces.json", "home", "lock", "canary", "canary.sock", "log"):
            Path(name).unlink(missing_ok=True)
        os.chdir("/")
        self._run.rmdir()
        return self.record


def write_record(record: EndRecord, folder: int) -> None:
    """Write ``record`` into the folder behind a descriptor: whole or not at all, and on the disk when we return."""
    name = f"{record.tunnel}.json"
    draft = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder)
    with os.fdopen(draft, "w") as file:
        json.dump(plain(record), file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
    place = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    os.fsync(place)
    os.close(place)


def _addresses() -> list[str]:
    """Return this host's own addresses other than loopback (IPv4, dotted), as its routing table lists them."""
    try:
        words = Path("/proc/net/fib_trie").read_text().split()
    except OSError:
        return []
    found = {words[at - 1] for at, word in enumerate(words[:-2]) if word == "/32" and words[at + 2] == "LOCAL"}
    return sorted(one for one in found if not one.startswith("127."))


def _answer(message: dict[str, Any]) -> None:
    """Answer the broker's one question and let go of its pipe; it may be dead, which changes nothing."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(plain(message)).encode() + b"\n")
    silence = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(silence, number)


def main() -> int:
    """Run one tunnel to its end; exit 0 if it ended as it should, 1 if it never began."""
    order = json.load(sys.stdin)
    if os.fork():
        os._exit(0)  # the broker waits for us, and only for us; the child belongs to nobody
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.umask(0o077)
    linux.adopt_orphans()
    supervisor = Supervisor(order)
    try:
        _answer({"closure": supervisor.open()})
        supervisor.watch()
    except SulkuError as error:
        supervisor.finish("crashed", str(error))
        _answer({"code": error.code, "message": str(error)})
    except Exception as error:
        supervisor.finish("crashed", f"{type(error).__name__}: {error}")
        _answer({"code": SandboxError.code, "message": f"{type(error).__name__}: {error}"})
        raise
    finally:
        supervisor.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())

