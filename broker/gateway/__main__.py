"""Run one gateway: ``python -m broker.gateway --config FILE.json``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from broker.gateway import control, framing
from broker.gateway.app import Gateway
from broker.gateway.settings import Settings, read, secret
from sulku import links
from sulku.crypto import channels
from sulku.errors import ConfigurationError
from sulku.links import GATEWAY, Address

HANDLERS: Final = 5.0  # seconds that requests under way have when all else has been closed
log = logging.getLogger("sulku.gateway")


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then, without taking new connections, let people finish and the broker take what ran.

    For how long says ``drain_seconds``, then ``report_seconds``. Its own parts, who cut sockets and reach pods, are answered until the end.
    """
    listener = socket.create_server((settings.host, settings.port), backlog=512)
    port = listener.getsockname()[1]
    name, colon, given = settings.domain.rpartition(":")
    if (colon, given) == (":", "0"):
        settings = replace(settings, port=port, domain=f"{name}:{port}")
    gateway = Gateway(settings)
    public = web.ServerRunner(framing.Server(gateway.handle, gateway.unreadable), shutdown_timeout=HANDLERS)
    address = links.address(settings.control_address)
    context = None if address.path else channels.listening(settings.files, GATEWAY)
    inner = web.AppRunner(control.application(secret(settings.control_token_file), gateway, linked=context is not None), access_log=None)
    await public.setup()
    await inner.setup()
    tasks = [
        asyncio.create_task(work())
        for work in (
            gateway.record.poll, gateway.record.watch, gateway.reports.write, gateway.reports.send, gateway.outbox.poll,
        )
    ]  # fmt: skip
    await web.SockSite(inner, _control_listener(address), ssl_context=context).start()
    site = web.SockSite(public, listener)
    await site.start()
    if settings.ready_file:
        _tell(settings.ready_file, port)
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, None)
    failed = await _until(tasks, signals.get())
    gateway.draining = True
    await site.stop()
    if not failed and settings.drain_seconds:
        failed = await _until(tasks, signals.get(), gateway.sockets.none.wait(), seconds=settings.drain_seconds)
    for tunnel in gateway.record.open():
        await gateway.sockets.cut(tunnel.id, "the gateway restarts")
    await public.cleanup()
    if not failed:
        failed = await _until(tasks, signals.get(), gateway.reports.told(), seconds=settings.report_seconds)
    await inner.cleanup()
    await _stop(gateway, tasks)
    if failed:
        raise SystemExit(1)  # without any one of its tasks the gateway is not the gateway: stop, and close everything


async def _until(tasks: list[asyncio.Task[None]], *ends: Coroutine[Any, Any, object], seconds: float | None = None) -> bool:
    """Wait for one of ``ends``, or so many ``seconds``; return whether one of ``tasks`` ended instead, which none should."""
    waiting = [asyncio.create_task(end) for end in ends]
    await asyncio.wait([*waiting, *tasks], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()
    failed = [task for task in tasks if task.done()]
    for task in failed:
        log.critical("a task of the gateway ended", exc_info=task.exception())
    return bool(failed)


def _control_listener(address: Address) -> socket.socket:
    if not address.path:
        return socket.create_server((address.host, address.port), family=socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    Path(address.path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    old = os.umask(0o177)
    listener.bind(address.path)
    os.umask(old)
    return listener


def _tell(path: str, port: int) -> None:
    Path(path).write_text(str(port))


async def _stop(gateway: Gateway, tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if left := gateway.reports.pending:
        log.warning("the broker did not take %d reports; they are told after the next start, from state_dir", left)
    await gateway.reports.close()
    await gateway.workspaces.close()
    await gateway.broker.close()


def main() -> int:
    """Read the settings and serve; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m broker.gateway", description="The gateway to open tunnels.")
    parser.add_argument("--config", type=Path, required=True, help="settings as JSON")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(serve(read(parser.parse_args().config)))
    except ConfigurationError as error:
        sys.stderr.write(f"{error.code}: {error}\n{error.remedy()}\n")
        return error.exit
    return 0


if __name__ == "__main__":
    sys.exit(main())
