"""The local sandbox: starts supervisors, asks them, and knows what became of those that were killed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from broker.adapters import cgroups, homes
from broker.adapters.cage import inhabitants
from broker.adapters.clock import monotonic
from broker.adapters.isolation import Check, doctor
from broker.adapters.supervisor import write_record
from sulku import errors, ids
from sulku.closure import ClosureReport
from sulku.codec import plain, stamp, typed
from sulku.errors import (
    ConfigurationError,
    IsolationUnavailableError,
    SandboxError,
    TunnelEndedError,
    WorkspaceNotReadyError,
)
from sulku.plan import STAGE, Alive, EndRecord, MountProof, Volume, WorkspacePlan

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
GLANCE_SECONDS: Final = 1.0
LOCK: Final = "lock"  # in a tunnel's folder; held by its supervisor for as long as it lives
_LONGEST: Final = 107  # bytes of a unix socket's path
_CODES: Final = {
    kind.code: kind
    for kind in (errors.UnsafeFileError, errors.NotProvedClosedError, errors.HomeInUseError, TunnelEndedError)
}

__all__ = ["Check", "Sandbox", "doctor"]


class Sandbox:
    """Workspaces of this machine, each under a supervisor of its own that outlives the broker."""

    MODULE = "broker.adapters.supervisor"
    PATIENCE = STOP_SECONDS

    def __init__(
        self,
        state_dir: Path,
        workspace_venv: Path,
        image_dir: Path,
        *,
        now: Callable[[], datetime],
        path: str | None = None,
    ) -> None:
        """Make the folders; nothing is started, and ``start`` refuses where ``doctor`` finds something missing.

        Args:
            state_dir: The broker's own folder; ``run/<label>/`` and ``ended/`` are kept in it, 0700.
            workspace_venv: Packages of the workspace, on the system's interpreter.
            image_dir: ``hub/images/python``.
            now: The broker's clock.
            path: Where to look for bubblewrap; None is PATH.

        Raises:
            ConfigurationError: The state folder lies where a workspace's sources are laid out, or is too deep.
        """
        self._state, self._venv, self._image = state_dir.resolve(), workspace_venv.resolve(), image_dir.resolve()
        self._now, self._path = now, path
        self._fit: bool = False
        self._runs, self._endings = self._state / "run", self._state / "ended"
        if self._state.is_relative_to(STAGE):
            raise ConfigurationError(f"the state folder may not be below {STAGE}")
        if len(os.fsencode(self._runs / f"t-{'0' * ids.LENGTH}" / "ctl.sock")) > _LONGEST:
            raise ConfigurationError(f"the state folder's path is too long for sockets: {self._state}")
        for folder in (self._state, self._runs, self._endings):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state.chmod(0o700)

    # --- before -----------------------------------------------------------------------------------------------------

    def doctor(self) -> tuple[Check, ...]:
        """Try each part of the isolation and return what was found; raises nothing."""
        return doctor(self._venv, self._image, path=self._path)

    def require_isolation(self) -> None:
        """Require that every needed part works; tried once and remembered.

        Raises:
            IsolationUnavailableError: It names each part that does not.
        """
        if not self._fit:
            missing = [check for check in self.doctor() if check.needed and not check.ok]
            if missing:
                names = [check.name for check in missing]
                raise IsolationUnavailableError(names, "; ".join(check.detail for check in missing)[:500])
            self._fit = True

    # --- the life of one --------------------------------------------------------------------------------------------

    def socket_path(self, tunnel: str) -> Path:
        """Return where the workspace of ``tunnel`` answers; the folder is the host's alone."""
        return self._run(tunnel) / "ws.sock"

    def start(self, plan: WorkspacePlan) -> ClosureReport:
        """Start a workspace without data and return what its closure probe found; repeated, the same report.

        A report that is not closed belongs to a workspace that is dead already; its end record says so.

        Raises:
            IsolationUnavailableError: This machine cannot isolate; nothing was started.
            TunnelEndedError: The tunnel has ended before, or its deadline has passed.
            HomeInUseError: Another tunnel has the home.
            SandboxError: The workspace did not start.
        """
        self.require_isolation()
        left = int((plan.deadline - (opened := self._now())).total_seconds() * 1000)
        status = self.status(plan.tunnel)
        if isinstance(status, EndRecord) or left <= 0:
            raise TunnelEndedError(f"{plan.tunnel} has ended")
        if status is not None:
            return typed(ClosureReport, self._ask(plan.tunnel, {"do": "closure"}, START_SECONDS))
        run, lock = self._make_run(plan)
        order = {
            "plan": plain(plan), "opened": stamp(opened), "milliseconds": left, "boot": int(monotonic() * 1000),
            "bwrap": shutil.which("bwrap", path=self._path), "venv": str(self._venv), "image": str(self._image),
            "run": str(run), "state": str(self._state), "ended": str(self._endings), "neighbours": self._secrets(),
        }  # fmt: skip
        try:
            answer = self._launch(run, order, lock)
        finally:
            os.close(lock)
        if "closure" not in answer:
            self._await_end(plan.tunnel)
            raise _error(answer)
        report = typed(ClosureReport, answer["closure"])
        if not report.closed:
            self._await_end(plan.tunnel)
        return report

    def _make_run(self, plan: WorkspacePlan) -> tuple[Path, int]:
        """Make the tunnel's folder, locked from its first moment, and return it with the lock.

        Raises:
            SandboxError: Somebody else starts this tunnel just now.
        """
        run = self._run(plan.tunnel)
        draft = Path(tempfile.mkdtemp(prefix=".", dir=self._runs))
        (draft / "home").write_text(plan.home)  # for whoever must look, should the supervisor be killed
        lock = os.open(draft / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            draft.rename(run)
        except OSError as error:
            os.close(lock)
            shutil.rmtree(draft)
            raise SandboxError(f"{plan.tunnel} is being started") from error
        return run, lock

    def _launch(self, run: Path, order: dict[str, Any], lock: int) -> dict[str, Any]:
        """Start a supervisor that is nobody's child and holds ``lock``, and return its first line."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        environment["PYTHONPATH"] = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)
        with (run / "log").open("wb") as log:
            started = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", self.MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=environment, cwd="/", start_new_session=True, pass_fds=(lock,),
            )  # fmt: skip
        try:
            line, _ = started.communicate(json.dumps(order).encode(), START_SECONDS)
        except subprocess.TimeoutExpired:
            raise SandboxError("the supervisor does not answer; its own clock will end it") from None
        if line:
            return dict(json.loads(line))
        said = (run / "log").read_text(errors="replace")[-500:] if (run / "log").exists() else ""
        return {"code": SandboxError.code, "message": f"the supervisor died: {said.strip()}"}

    def release(self, tunnel: str, volumes: Sequence[Volume]) -> tuple[MountProof, ...]:
        """Let the datasets into a workspace that is proved closed, and start Jupyter; repeated, the same proofs.

        Call it only after the closure is on record.

        Raises:
            NotProvedClosedError: The closure is not proved.
            UnsafeFileError: A dataset holds a link, a device or a climbing path; no dataset was mounted.
            TunnelEndedError: It has ended.
            SandboxError: It could not be done; the tunnel ends by itself.
        """
        answer = self._ask(tunnel, {"do": "release", "volumes": plain(tuple(volumes))}, START_SECONDS)
        return tuple(typed(MountProof, one) for one in answer)

    def wait_ready(self, tunnel: str, timeout: float) -> str:
        """Return the path of the workspace's socket once it answers HTTP.

        Args:
            timeout: Seconds.

        Raises:
            WorkspaceNotReadyError: It did not in time.
            TunnelEndedError: It has ended.
        """
        until = time.monotonic() + timeout
        while not self._answers(tunnel):
            if isinstance(self.status(tunnel), EndRecord):
                raise TunnelEndedError(f"{tunnel} has ended")
            if time.monotonic() > until:
                raise WorkspaceNotReadyError(f"{tunnel} did not answer within {timeout:g} s")
            time.sleep(0.02)
        return str(self.socket_path(tunnel))

    def _answers(self, tunnel: str) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
                caller.settimeout(2)
                caller.connect(str(self.socket_path(tunnel)))
                caller.sendall(b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return caller.recv(9).startswith(b"HTTP/1.")
        except OSError:
            return False

    def mounted(self, tunnel: str) -> tuple[MountProof, ...]:
        """Return the datasets that are mounted now, each as it was proved; TunnelEndedError if it has ended."""
        return tuple(typed(MountProof, one) for one in self._ask(tunnel, {"do": "mounted"}))

    def shorten(self, tunnel: str, deadline: datetime) -> None:
        """Move the deadline nearer; a later one changes nothing. TunnelEndedError if it has ended."""
        left = int((deadline - self._now()).total_seconds() * 1000)
        self._ask(tunnel, {"do": "shorten", "milliseconds": left})

    def stop(self, tunnel: str) -> EndRecord:
        """Kill the workspace and return the proof that it is gone; one that has ended gives its record.

        Raises:
            TunnelEndedError: It never ran here.
            SandboxError: It could not be ended: an operator must look.
        """
        status = self.status(tunnel)
        if isinstance(status, EndRecord):
            return status
        if status is None:
            raise TunnelEndedError(f"{tunnel} does not run here")
        try:
            return typed(EndRecord, self._ask(tunnel, {"do": "stop"}, self.PATIENCE))
        except SandboxError:  # it hangs: the kernel ends the workspace with it
            self._kill_supervisor(tunnel)
        except TunnelEndedError:
            pass
        return self._await_end(tunnel)

    def _kill_supervisor(self, tunnel: str) -> None:
        """Kill the process that listens on the control socket, whichever that is by now."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.settimeout(GLANCE_SECONDS)
            caller.connect(str(self._run(tunnel) / "ctl.sock"))
            pid, _, _ = struct.unpack("iII", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            os.kill(pid, signal.SIGKILL)

    def status(self, tunnel: str) -> Alive | EndRecord | None:
        """Return how ``tunnel`` fares: alive, how it ended, or None if it never ran here."""
        if record := self._record(tunnel):
            return record
        if not self._run(tunnel).exists():
            return self._record(tunnel)  # it may have ended between the two looks
        try:
            return typed(Alive, self._ask(tunnel, {"do": "status"}, GLANCE_SECONDS))
        except (SandboxError, TunnelEndedError):
            busy = self._supervised(tunnel)
            return Alive(tunnel, "busy", 0, 0) if busy and not self._record(tunnel) else self._await_end(tunnel)

    def ended(self) -> list[EndRecord]:
        """Return every end record that is not acknowledged, killed supervisors' tunnels included, oldest first."""
        for run in self._runs.glob("t-*"):
            self.status(ids.from_label(run.name))
        records = [self._record(path.stem) for path in self._endings.glob("tun_*.json")]
        return sorted((one for one in records if one), key=lambda one: (one.at, one.tunnel))

    def acknowledge(self, tunnel: str) -> None:
        """Keep the record of ``tunnel`` (a late start stays refused) but list it no more: it is in the ledger."""
        path = self._endings / f"{ids.parse(tunnel, 'tun')}.json"
        if path.exists():
            path.rename(path.with_suffix(".done"))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _run(self, tunnel: str) -> Path:
        return self._runs / ids.label(tunnel)

    def _record(self, tunnel: str) -> EndRecord | None:
        for suffix in ("json", "done"):
            try:
                text = (self._endings / f"{ids.parse(tunnel, 'tun')}.{suffix}").read_text()
            except FileNotFoundError:
                continue
            return typed(EndRecord, json.loads(text))
        return None

    def _secrets(self) -> list[str]:
        """Return paths that no workspace may see: what serves the broker and everybody else's tunnels."""
        names = ("broker.sock", "gateway.sock", "hub.sock")
        return [str(self._runs), str(self._venv), *(str(self._runs / name) for name in names), "/root", "/var", "/srv"]

    def _ask(self, tunnel: str, request: dict[str, Any], seconds: float = 10) -> Any:
        """Return the supervisor's answer; TunnelEndedError if nobody is there to answer."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
                caller.settimeout(seconds)
                caller.connect(str(self._run(tunnel) / "ctl.sock"))
                caller.sendall(json.dumps(request).encode() + b"\n")
                with caller.makefile("rb") as lines:
                    line = lines.readline()
        except TimeoutError as error:
            raise SandboxError(f"the supervisor of {tunnel} does not answer") from error
        except OSError as error:
            raise TunnelEndedError(f"{tunnel} has no supervisor") from error
        if not line:
            raise TunnelEndedError(f"the supervisor of {tunnel} is gone")
        answer = json.loads(line)
        if "code" in answer:
            raise _error(answer)
        return answer["ok"]

    def _await_end(self, tunnel: str) -> EndRecord:
        """Return the end record that is being written, or write the one of a supervisor that was killed."""
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            supervised = self._supervised(tunnel)  # first this, then the record: it is written before the lock goes
            record = self._record(tunnel)
            if not supervised:
                return record or self._settle(tunnel)
            time.sleep(0.01)
        raise SandboxError(f"{tunnel} does not end")

    def _namespaces(self, tunnel: str) -> dict[str, int]:
        try:
            return dict(json.loads((self._run(tunnel) / "namespaces.json").read_text()))
        except (OSError, ValueError):
            return {}

    def _supervised(self, tunnel: str) -> bool:
        """Return whether a supervisor, or whoever starts one, holds this tunnel's folder."""
        try:
            lock = os.open(self._run(tunnel) / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _settle(self, tunnel: str) -> EndRecord:
        """Record a tunnel whose supervisor was killed: the kernel took its processes and mounts; look that it did."""
        known, until = self._namespaces(tunnel), time.monotonic() + STOP_SECONDS / 2
        spaces = (known.get("pid-namespace", 0), known.get("mnt-namespace", 0))
        groups = cgroups.found(tunnel)
        while (left := len({*inhabitants(*spaces), *cgroups.members(groups)})) and time.monotonic() < until:
            time.sleep(0.01)
        cgroups.remove(groups)
        image = Path((self._run(tunnel) / "home").read_text()) / homes.IMAGE
        while (mounts := len(homes.loops(image))) and time.monotonic() < until:
            time.sleep(0.01)
        why = "its supervisor was killed"
        record = EndRecord(tunnel, "crashed", self._now(), left, mounts, image.is_file(), why)
        folder = os.open(self._endings, os.O_PATH | os.O_DIRECTORY)
        try:
            write_record(record, folder)
        finally:
            os.close(folder)
        shutil.rmtree(self._run(tunnel), ignore_errors=True)
        return record


def _error(answer: dict[str, Any]) -> errors.SulkuError:
    return _CODES.get(answer["code"], SandboxError)(answer["message"])

