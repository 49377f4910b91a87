"""A synchronous client of one of our own parts: over its unix socket, or by TCP with mutual TLS."""

from __future__ import annotations

import ssl

import httpx2

from sulku.links import Address


def client(address: Address, channel: ssl.SSLContext | None, authorization: str, *, prefix: str = "", timeout: float) -> httpx2.Client:
    """Return a client of what listens at ``address``; by TCP each question opens a connection, so each shows a certificate.

    Args:
        channel: From ``sulku.crypto.channels.calling``; needed by TCP alone.
        authorization: The header of that name.
        prefix: Path in front of every path.
        timeout: Seconds.
    """
    if address.path:
        transport = httpx2.HTTPTransport(uds=address.path)
    elif channel is None:
        raise ValueError("between parts TCP is mutual TLS or nothing")
    else:
        transport = httpx2.HTTPTransport(verify=channel, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0))
    headers = {"Authorization": authorization}
    return httpx2.Client(base_url=f"{address.url}{prefix}", transport=transport, headers=headers, timeout=timeout, trust_env=False)
