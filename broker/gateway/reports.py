"""What people ran and tried, on its way to the ledger: durable before it takes effect, in order, and never a flood.

Executed code is on disk before it is executed: lines go to a spool file that is synced once for all that wait, and
only then do the messages move on. Refusals do not wait. More than ``BURST`` refusals of one kind in one tunnel within
``WINDOW`` seconds become one line with a count. When the spool is full, nothing more is executed.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from broker.gateway import clock
from broker.gateway.upstream import Broker
from sulku.crypto import seal
from sulku.errors import BrokerUnavailableError, ConfigurationError, RecorderFullError, RelayedRefusalError, StaleError

GATHER = 0.1  # seconds that reports wait for company
LONGEST_CODE: Final = 64 * 1024  # bytes of source in one report
LARGEST_SPOOL: Final = 64 * 1024 * 1024
LARGEST_BATCH: Final = 512 * 1024
MOST_LINES: Final = 1000  # in one batch
BURST: Final = 5
WINDOW: Final = 10.0  # seconds
log = logging.getLogger("sulku.gateway")


@dataclass(slots=True)
class _Window:
    """How often one kind of refusal came since ``began``."""

    began: float
    count: int
    last: dict[str, Any]


class Reports:
    """Send reports to the broker through a spool on disk.

    Delivery is at least once: after a crash or a lost answer the broker sees a line again. It knows it by the run of the
    gateway that wrote it, drawn here, and its number, which rises in the order of sending. A kernel message's own id
    would not do: the person's browser chooses it.
    """

    def __init__(self, broker: Broker, folder: Path) -> None:
        """Use ``folder`` for the spool; what an earlier gateway left there is sent first.

        Raises:
            ConfigurationError: Another gateway that runs has the folder; two would undo each other's lines.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._broker, self._file, self._dead = broker, folder / "reports.jsonl", folder / "rejected.jsonl"
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise ConfigurationError(f"{folder} is the folder of a gateway that runs; give each its own state_dir") from None
        self._lines: deque[bytes] = deque(_whole_lines(self._file))
        self._size = sum(map(len, self._lines))
        self._waiting: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self._run, self._number = seal.token(16), 0
        self._windows: dict[tuple[str, str, str], _Window] = {}
        self._wake, self._send, self._none = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.rejected = 0
        (self._send if self._lines else self._none).set()

    @property
    def pending(self) -> int:
        """How many lines the broker has not taken yet."""
        return len(self._lines) + len(self._waiting)

    async def executed(self, tunnel: str, code: str, kernel: str, msg_id: str) -> None:
        """Record ``code`` (at most ``LONGEST_CODE`` bytes); returns once it is on disk.

        Raises:
            RecorderFullError: The spool is full or cannot be written: do not execute.
        """
        if self._size > LARGEST_SPOOL:
            raise RecorderFullError("too much waits to be recorded")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        detail = {"code": code, "kernel": kernel, "msg_id": msg_id}
        self._add(self._line(tunnel, "executed", "executed", detail), done)
        await done

    def refused(self, tunnel: str, code: str, method: str, path: str, why: str) -> None:
        """Record a refused attempt, or count it if there are too many like it."""
        path = path.encode("ascii", "backslashreplace").decode()[:512]
        self._tell(tunnel, "refused", code, {"method": method[:16], "path": path, "why": why[:200]})

    def cut(self, tunnel: str, code: str, detail: dict[str, str | int]) -> None:
        """Record that sockets were cut."""
        self._tell(tunnel, "cut", code, detail)

    def _tell(self, tunnel: str, kind: str, code: str, detail: dict[str, Any]) -> None:
        window = self._windows.setdefault((tunnel, kind, code), _Window(clock.boot(), 0, {}))
        window.count += 1
        window.last = detail
        if window.count <= BURST and self._size <= LARGEST_SPOOL:
            self._add(self._line(tunnel, kind, code, detail), None)

    def _line(self, tunnel: str, kind: str, code: str, detail: dict[str, Any]) -> bytes:
        self._number += 1
        told = {"tunnel": tunnel, "kind": kind, "at": clock.now(), "code": code, "detail": detail}
        return orjson.dumps(told | {"run": self._run, "number": self._number}) + b"\n"

    def _add(self, line: bytes, done: asyncio.Future[None] | None) -> None:
        self._waiting.append((line, done))
        self._size += len(line)
        self._none.clear()
        self._wake.set()

    def _close_windows(self, *, all_of_them: bool = False) -> None:
        for key, window in list(self._windows.items()):
            if all_of_them or clock.boot() - window.began >= WINDOW:
                del self._windows[key]
                more = window.count - BURST
                if more > 0:
                    self._add(self._line(*key, window.last | {"count": more}), None)

    async def write(self) -> None:
        """Move waiting lines to disk, all that wait with one sync; runs until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            data = b"".join(line for line, _ in batch)
            try:
                await asyncio.to_thread(_append, self._descriptor, data)
            except OSError:
                log.exception("the spool cannot be written")
                self._size -= len(data)
                for _, done in batch:
                    if done and not done.done():
                        done.set_exception(RecorderFullError("the record cannot be written"))
                continue
            self._lines.extend(line for line, _ in batch)
            self._send.set()
            for _, done in batch:
                if done and not done.done():
                    done.set_result(None)

    async def send(self) -> None:
        """Hand lines to the broker in order, again and again until it takes them; runs until cancelled."""
        while True:
            self._close_windows()
            with suppress(TimeoutError):  # not wait_for, which in Python 3.11 can swallow a cancellation
                async with asyncio.timeout(1.0):
                    await self._send.wait()
            await asyncio.sleep(GATHER)  # a cell is on the disk before it runs; the broker hears of several at once
            self._send.clear()
            while self._lines:
                if not await self._send_batch():
                    await asyncio.sleep(1.0)

    async def _send_batch(self) -> bool:
        batch: list[bytes] = []
        size = 0
        for line in self._lines:
            if batch and (size + len(line) > LARGEST_BATCH or len(batch) == MOST_LINES):
                break
            batch.append(line)
            size += len(line)
        try:
            await self._post(batch)
        except BrokerUnavailableError:
            return False
        for _ in batch:
            self._size -= len(self._lines.popleft())
        if not self._lines and not self._waiting:
            os.ftruncate(self._descriptor, 0)
            self._none.set()
        return True

    async def _post(self, batch: list[bytes]) -> None:
        reports = orjson.Fragment(b"[" + b",".join(map(bytes.rstrip, batch)) + b"]")
        try:
            await self._broker.post("/internal/gate/reports", {"reports": reports})
        except RelayedRefusalError as error:
            if error.status in {401, 403, 408, 429} or error.code == StaleError.code:
                raise BrokerUnavailableError(f"the broker takes no reports now: {error.code}") from error
            if len(batch) > 1:
                for line in batch:
                    await self._post([line])
                return
            self.rejected += 1
            log.warning("the broker rejected a report (%s); it is kept in %s", error.code, self._dead)
            await asyncio.to_thread(_keep, self._dead, batch[0])

    async def told(self) -> None:
        """Return when the broker has taken everything."""
        self._close_windows(all_of_them=True)
        await self._none.wait()

    async def close(self) -> None:
        """Write what still waits; nothing is lost, it is sent at the next start."""
        self._close_windows(all_of_them=True)
        batch, self._waiting = self._waiting, []
        _append(self._descriptor, b"".join(line for line, _ in batch))
        os.close(self._descriptor)


def _append(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fdatasync(descriptor)


def _keep(file: Path, line: bytes) -> None:
    with file.open("ab") as out:
        out.write(line)


def _whole_lines(file: Path) -> list[bytes]:
    """Return the lines of a spool; a last one that a crash cut short was never acted on and is dropped."""
    if not file.exists():
        return []
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        os.truncate(file, len(whole))
    return whole.splitlines(keepends=True)
