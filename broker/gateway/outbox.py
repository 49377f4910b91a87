"""Outputs leave by pull: submissions are read from a fixed folder of the workspace and frozen by the broker.

A submission is a folder ``outbox/<name>`` with ``manifest.json`` (written last) and no ``receipt.json``, which is the
answer. Its bytes are hostile: names, counts and sizes are checked here, what they mean is the broker's business. They
are not charged to the screen budget.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from broker.gateway import clock
from broker.gateway.record import Record, Tunnel
from broker.gateway.relay import Workspaces
from broker.gateway.upstream import Broker
from sulku.errors import (
    BrokerUnavailableError,
    InvalidInputError,
    NotFoundError,
    RefusalError,
    TunnelEndedError,
    UnsafeFileError,
    UnsafeNameError,
    WorkspaceUnavailableError,
)

EVERY = 2.0  # seconds
FOLDER: Final = "/api/contents/outbox"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,118}[A-Za-z0-9]|[A-Za-z0-9]")
MANIFEST, RECEIPT = "manifest.json", "receipt.json"
MOST_FILES: Final = 50
MOST_SUBMISSIONS: Final = 200  # folders looked at in one tunnel
LARGEST_MANIFEST: Final = 256 * 1024
LONGEST_ENTRY: Final = 32 * 1024  # of the manifest, about one file
LARGEST_FILE: Final = 50 * 1024 * 1024
LARGEST_SUBMISSION: Final = 200 * 1024 * 1024
OVER: Final = (TunnelEndedError, NotFoundError)
log = logging.getLogger("sulku.gateway")


class Outbox:
    """Pull submissions from every open tunnel."""

    def __init__(self, record: Record, broker: Broker, workspaces: Workspaces) -> None:
        """Begin having answered nothing; the broker knows a submission that comes twice by its name."""
        self._record, self._broker, self._workspaces = record, broker, workspaces
        self._receipts: dict[tuple[str, str], dict[str, Any]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def poll(self) -> None:
        """Look into each open tunnel again and again; a slow one holds up no other. Runs until cancelled."""
        try:
            while True:
                for tunnel in self._record.open():
                    if tunnel.id not in self._running or self._running[tunnel.id].done():
                        self._running[tunnel.id] = asyncio.create_task(self._look(tunnel))
                await asyncio.sleep(EVERY)
        finally:
            for task in self._running.values():
                task.cancel()

    def forget(self, tunnel: str, now: Tunnel | None) -> None:
        """Stop pulling from a tunnel that has ended; if it goes on as ``now``, it is looked into anew."""
        task = self._running.pop(tunnel, None)
        if task:
            task.cancel()
        if now:
            return
        self._receipts = {key: receipt for key, receipt in self._receipts.items() if key[0] != tunnel}

    async def _look(self, tunnel: Tunnel) -> None:
        try:
            for name in await self._folders(tunnel):
                await self._one(tunnel, name)
        except (WorkspaceUnavailableError, BrokerUnavailableError, *OVER) as error:
            log.info("outbox of %s: %s", tunnel.id, error)
        except Exception:  # whatever a hostile folder provokes ends here, once
            log.exception("outbox of %s", tunnel.id)

    async def _folders(self, tunnel: Tunnel) -> list[str]:
        listed = await self._list(tunnel, FOLDER)
        names = [name for name, kind in listed.items() if kind == "directory" and NAME.fullmatch(name)]
        return names[:MOST_SUBMISSIONS]

    async def _one(self, tunnel: Tunnel, name: str) -> None:
        files = await self._list(tunnel, f"{FOLDER}/{quote(name)}")
        if MANIFEST not in files or RECEIPT in files:
            return
        key = (tunnel.id, name)
        if key not in self._receipts:
            try:
                self._receipts[key] = {"release": await self._submit(tunnel, name, files)}
            except OVER:
                raise  # what the tunnel says of itself is no answer to what was submitted
            except RefusalError as error:
                problem = {"code": error.code, "detail": str(error), "remedy": error.remedy()}
                self._receipts[key] = {"refused": problem}
        receipt = {"submission": name, "at": clock.now(), **self._receipts[key]}
        text = orjson.dumps(receipt, option=orjson.OPT_INDENT_2).decode()
        model = orjson.dumps({"type": "file", "format": "text", "content": text})
        await self._workspaces.ask(tunnel, "PUT", f"{FOLDER}/{quote(name)}/{RECEIPT}", model, 64 * 1024)

    async def _submit(self, tunnel: Tunnel, name: str, files: dict[str, str]) -> str:
        names = sorted(file for file in files if file != MANIFEST)
        _require_fit(files, names)
        manifest = _object(await self._fetch(tunnel, name, MANIFEST, LARGEST_MANIFEST))
        left, outputs = LARGEST_SUBMISSION, []
        for file in names:
            data = await self._fetch(tunnel, name, file, min(LARGEST_FILE, left))
            left -= len(data)
            query = urlencode({"tunnel": tunnel.id, "name": file, "submission": name, **_declared(manifest, file)})
            frozen = await self._broker.post(f"/internal/gate/outputs?{query}", data, patience=60.0)
            outputs.append({"name": file, "output": frozen["output"]})
        question = {"tunnel": tunnel.id, "submission": name, "manifest": manifest, "outputs": outputs}
        answer = await self._broker.post("/internal/gate/submissions", question, patience=60.0)
        return str(answer["release"])

    async def _list(self, tunnel: Tunnel, folder: str) -> dict[str, str]:
        target = f"{folder}?type=directory&content=1"
        status, model = await self._workspaces.ask(tunnel, "GET", target, most=1024 * 1024)
        if status != 200 or not isinstance(model, dict) or not isinstance(model.get("content"), list):
            return {}
        entries = (entry for entry in model["content"] if isinstance(entry, dict))
        return {str(entry.get("name", "")): str(entry.get("type", "")) for entry in entries}

    async def _fetch(self, tunnel: Tunnel, submission: str, file: str, most: int) -> bytes:
        target = f"{FOLDER}/{quote(submission)}/{quote(file)}?type=file&format=base64&content=1"
        try:
            status, model = await self._workspaces.ask(tunnel, "GET", target, most=most * 4 // 3 + 64 * 1024)
        except WorkspaceUnavailableError as error:
            if "larger" in str(error):
                raise UnsafeFileError(f"{file} is larger than what may be submitted") from error
            raise
        content = model.get("content") if isinstance(model, dict) else None
        if status != 200 or not isinstance(content, str):
            raise UnsafeFileError(f"{file} cannot be read")
        try:
            data = base64.b64decode(content.replace("\n", ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise UnsafeFileError(f"{file} cannot be read") from error
        if len(data) > most:
            raise UnsafeFileError(f"{file} is larger than what may be submitted")
        return data


def _declared(manifest: dict[str, Any], file: str) -> dict[str, str]:
    """Return what the manifest says of one file, for the query that brings it; nothing if that is too much to say."""
    listed = manifest.get("files")
    entries = [one for one in listed if isinstance(one, dict) and one.get("name") == file] if isinstance(listed, list) else []
    said = orjson.dumps({"files": entries[:1]}).decode() if entries else ""
    return {"manifest": said} if 0 < len(said) <= LONGEST_ENTRY else {}


def _require_fit(files: dict[str, str], names: list[str]) -> None:
    if not names or len(names) > MOST_FILES:
        raise InvalidInputError(f"a submission holds 1 to {MOST_FILES} files besides its manifest")
    for file in names:
        if not NAME.fullmatch(file):
            raise UnsafeNameError(f"{file[:60]!r} is not a name that may leave")
        if files[file] == "directory":
            raise UnsafeFileError(f"{file} is a folder; a submission holds files only")


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("manifest.json is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidInputError("manifest.json is not an object")
    return value
