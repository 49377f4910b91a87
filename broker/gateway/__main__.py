"""Run one gateway: ``python -m broker.gateway --config FILE.json``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from broker.gateway import control
from broker.gateway.app import Gateway
from broker.gateway.settings import Settings, read, secret
from sulku import links
from sulku.crypto import channels
from sulku.errors import ConfigurationError
from sulku.links import GATEWAY, Address


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    listener = socket.create_server((settings.host, settings.port), backlog=512)
    port = listener.getsockname()[1]
    name, colon, given = settings.domain.rpartition(":")
    if (colon, given) == (":", "0"):
        settings = replace(settings, port=port, domain=f"{name}:{port}")
    gateway = Gateway(settings)
    public = web.ServerRunner(web.Server(gateway.handle, access_log=None))
    address = links.address(settings.control_address)
    context = None if address.path else channels.listening(settings.files, GATEWAY)
    inner = web.AppRunner(
        control.application(
            secret(settings.control_token_file), gateway.routes, gateway.cut, gateway.health, gateway.metrics, linked=context is not None
        ),
        access_log=None,
    )
    await public.setup()
    await inner.setup()
    tasks = [
        asyncio.create_task(work())
        for work in (
            gateway.record.poll, gateway.record.watch, gateway.reports.write, gateway.reports.send, gateway.outbox.poll,
        )
    ]  # fmt: skip
    await web.SockSite(inner, _control_listener(address), ssl_context=context).start()
    await web.SockSite(public, listener).start()
    if settings.ready_file:
        _tell(settings.ready_file, port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ended = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {ended}:
        logging.getLogger("sulku.gateway").critical("a task of the gateway ended", exc_info=task.exception())
    await _stop(gateway, tasks, public, inner)
    if done - {ended}:
        raise SystemExit(1)  # without any one of its tasks the gateway is not the gateway: stop, and close everything


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


async def _stop(gateway: Gateway, tasks: list[asyncio.Task[None]], public: web.ServerRunner, inner: web.AppRunner) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for tunnel in gateway.record.open():
        await gateway.sockets.cut(tunnel.id, "the gateway restarts")
    await public.cleanup()
    await inner.cleanup()
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
