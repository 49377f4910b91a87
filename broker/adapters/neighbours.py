"""A synchronous client of one of our own parts: over its unix socket, or by TCP with mutual TLS."""

from __future__ import annotations

import ssl

import httpx2

from sulku.links import Address


def client(address: Address, channel: ssl.SSLContext | None, authorization: str, *, prefix: str = "", timeout: float, kept: float = 0.0) -> httpx2.Client:
    """Return a client of what listens at ``address``; by TCP each question opens a connection, so each shows a certificate, unless it is ``kept``.

    Args:
        channel: From ``sulku.crypto.channels.calling``; needed by TCP alone.
        authorization: The header of that name.
        prefix: Path in front of every path.
        timeout: Seconds.
        kept: Seconds for which a connection by TCP that nobody uses stays open; whoever says so must give the client up in time.
    """
    if address.path:
        transport = httpx2.HTTPTransport(uds=address.path)
    elif channel is None:
        raise ValueError("between parts TCP is mutual TLS or nothing")
    else:
        limits = httpx2.Limits(max_keepalive_connections=None if kept else 0, keepalive_expiry=kept)
        transport = httpx2.HTTPTransport(verify=channel, trust_env=False, limits=limits)
    headers = {"Authorization": authorization}
    return httpx2.Client(base_url=f"{address.url}{prefix}", transport=transport, headers=headers, timeout=timeout, trust_env=False)
