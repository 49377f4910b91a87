"""Whether what listens here answers: `answers.py PORT` exits 0 when a TLS handshake is begun with us, whoever we are.

A connection alone would not tell: the kernel takes those for a process that hangs, too. No certificate is shown, so nothing is asked.
"""

from __future__ import annotations

import socket
import ssl
import sys

SECONDS = 5.0

if __name__ == "__main__":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is ourselves
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), SECONDS) as plain, context.wrap_socket(plain):
        pass
