"""What runs in the pods of `doctor --cluster`, sent as text: looks about, tries to get out again and again, prints what came of it.

The first argument is a JSON object: `listen`, `datagrams` (ports), `targets` (rows of name, kind, host, port), `sealed` (ping
behind the filter of a tunnel's programs), `write` and `refuse` (folders), `once`. A host and a port after it ask: how long is
this pod open? Prints JSON lines: `start`, `fresh`, `wrote`, `refused`,
then `round` and `beat` until killed. The ways to dial are those of the tunnel's own probe, which the image holds.
"""

# ruff: noqa: E402, PTH102, PTH118, PTH123, T201 -- what is imported when is the point: a pod is open in its first moments
from __future__ import annotations

import socket
import sys
import time

LONGEST, QUIET = 12.0, 2.0  # seconds: to wait for a policy, and without a success until it is said to hold
BEGAN = time.monotonic()


def fresh(host: str, port: int) -> dict[str, object]:
    """Try to connect without a pause until nothing got out for a while; return how often it did and until when."""
    got, tries, last = 0, 0, BEGAN
    while time.monotonic() - last < QUIET and time.monotonic() - BEGAN < LONGEST:
        tries += 1
        try:
            socket.create_connection((host, port), 0.15).close()
            got, last = got + 1, time.monotonic()
        except OSError:
            time.sleep(0.002)
    return {"out": got, "tries": tries, "milliseconds": int((last - BEGAN) * 1000), "held": time.monotonic() - last >= QUIET}


FRESH = fresh(sys.argv[2], int(sys.argv[3])) if sys.argv[3:] else None

import contextlib
import ctypes
import errno
import json
import os
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

sys.path.insert(0, "/opt/sulku")

import podways

SEEN: dict[str, Counter[str]] = {"tcp": Counter(), "udp": Counter()}
TURN = threading.Lock()
SEALED = """\
import json, sys
sys.path.insert(0, "/opt/sulku")
import podseal, podways
podseal.seal()
for line in sys.stdin:
    try:
        answer = [True, podways.ping(line.strip(), 0)]
    except OSError as error:
        answer = [False, type(error).__name__]
    print(json.dumps(answer), flush=True)
"""


def say(kind: str, **told: Any) -> None:
    """Print one line."""
    with TURN:
        print(json.dumps({"say": kind, "at": time.time(), **told}), flush=True)


def text(path: str) -> str:
    """Return the beginning of a file, empty if there is none."""
    try:
        with open(path, errors="replace") as file:
            return file.read(4000)
    except OSError:
        return ""


def kernel_log() -> str:
    """Return the beginning of the kernel's own log, empty where it is not shown."""
    room = ctypes.create_string_buffer(4096)
    size = ctypes.CDLL(None, use_errno=True).klogctl(3, room, 4096)
    return room.raw[: max(size, 0)].decode(errors="replace")[:200]


def facts() -> dict[str, Any]:
    """Return what tells one kernel from another, and what the network gave us."""
    lines = text("/etc/resolv.conf").splitlines()
    return {
        "release": os.uname().release,
        "version": text("/proc/version").strip(),
        "boot": text("/proc/sys/kernel/random/boot_id").strip(),
        "log": kernel_log(),
        "uids": text("/proc/self/uid_map").split(),
        "nameservers": [line.split()[1] for line in lines if line.startswith("nameserver ")],
        "ipv6": podways.addresses({}),
    }


def bound(port: int, kind: socket.SocketKind) -> socket.socket:
    """Return a socket on all of the pod's addresses, those of IPv6 too where it has any."""
    six = bool(podways.addresses({}))
    listener = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    if six:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("", port))
    return listener


def listen(port: int) -> None:
    """Answer connections, for ever, and remember from where."""
    with bound(port, socket.SOCK_STREAM) as listener:
        listener.listen(64)
        while True:
            caller, where = listener.accept()
            SEEN["tcp"][where[0].removeprefix("::ffff:")] += 1
            with caller, contextlib.suppress(OSError):
                caller.sendall(b"doctor\n")


def receive(port: int) -> None:
    """Answer datagrams, for ever, and remember from where."""
    with bound(port, socket.SOCK_DGRAM) as listener:
        while True:
            _, where = listener.recvfrom(2048)
            SEEN["udp"][where[0].removeprefix("::ffff:")] += 1
            listener.sendto(b"doctor", where)


def write(folder: str) -> None:
    """Leave a file."""
    with open(os.path.join(folder, "written"), "w") as file:
        file.write("before it was read-only\n")
    say("wrote", folder=folder)


def refusal(folder: str) -> dict[str, Any]:
    """Return what the kernel answers to a new file, a new folder and a change of each file there, and how many files can be read."""

    def answer(path: str, flags: int) -> str:
        try:
            os.close(os.open(path, os.O_WRONLY | flags, 0o600))
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, "?")
        return "written"

    files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names][:50]
    made = [answer(os.path.join(folder, "new"), os.O_CREAT)]
    try:
        os.mkdir(os.path.join(folder, "sub"))
        made.append("written")
    except OSError as error:
        made.append(errno.errorcode.get(error.errno or 0, "?"))
    made += [answer(path, 0) for path in files]
    return {"answers": sorted(set(made)), "files": sum(os.access(path, os.R_OK) for path in files)}


class Pinger:
    """A child that pings behind the filter which a tunnel's programs put on themselves: policies do not know pings."""

    def __init__(self) -> None:
        """Start it."""
        command = [sys.executable, "-I", "-c", SEALED]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        self.turn = threading.Lock()

    def ask(self, host: str) -> list[Any]:
        """Return whether it got an answer, and how that went; one that cannot be asked counts as open."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        with self.turn:
            try:
                self.child.stdin.write(f"{host}\n")
                self.child.stdin.flush()
                return list(json.loads(self.child.stdout.readline()))
            except (OSError, ValueError):
                return [True, "the filter could not be put on, so it was not tried"]


def dial(row: list[Any], pinger: Pinger | None) -> list[Any]:
    """Return whether a target was reached, and how that went."""
    _, kind, host, port = row
    if kind == "icmp" and pinger:
        return pinger.ask(host)
    try:
        return [True, podways.KINDS[kind](host, int(port))]
    except OSError as error:
        return [False, errno.errorcode.get(error.errno, "") if error.errno else type(error).__name__]


def beat() -> None:
    """Print the time, for ever."""
    while True:
        say("beat")
        time.sleep(0.5)


def main() -> int:
    """Do what the argument says."""
    told = json.loads(sys.argv[1])
    for work, ports in ((listen, "listen"), (receive, "datagrams")):
        for port in told.get(ports, []):
            threading.Thread(target=work, args=(port,), daemon=True).start()
    if FRESH is not None:
        say("fresh", **FRESH)
    say("start", **facts())
    if "write" in told:
        write(told["write"])
    if "refuse" in told:
        say("refused", folders={folder: refusal(folder) for folder in told["refuse"]})
    if told.get("once"):
        return 0
    threading.Thread(target=beat, daemon=True).start()
    number, targets, pinger = 0, told.get("targets", []), Pinger() if told.get("sealed") else None
    with ThreadPoolExecutor(32) as pool:
        while True:
            number += 1
            found = pool.map(lambda row: dial(row, pinger), targets)
            got = dict(zip([row[0] for row in targets], found, strict=True))
            say("round", number=number, got=got, seen=SEEN)
            time.sleep(0.3)


if __name__ == "__main__":
    sys.exit(main())
