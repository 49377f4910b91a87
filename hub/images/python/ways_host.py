"""Ways out through files, processes and the kernel itself."""

# ruff: noqa: ARG001, PTH115, PTH123, PTH208, S108, C405 -- every way has one signature; a probe calls the kernel as plainly as it can
from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
from functools import partial
from pathlib import Path

from ways import Told, in_child, libc, way, works
from ways_network import reach

DENIED = {  # name: number on x86_64, aarch64
    "bpf": (321, 280), "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "kexec_load": (246, 104),
    "init_module": (175, 105), "reboot": (169, 142), "swapon": (167, 224), "open_by_handle_at": (304, 265),
    "pidfd_getfd": (438, 438), "syslog": (103, 116), "clock_settime": (227, 112), "fanotify_init": (300, 262),
    "mount_setattr": (442, 442),
}  # fmt: skip


def call(what: str | int, *arguments: object) -> int:
    """Make a system call by its place in ``DENIED`` or its number; OSError if the kernel refuses."""
    number = DENIED[what][os.uname().machine == "aarch64"] if isinstance(what, str) else what
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@way("path-socket")
def _(told: Told) -> object:
    return works(reach, socket.AF_UNIX, socket.SOCK_STREAM, told["path"][:107]) or os.path.lexists(told["path"])


@way("broker-sockets", looks=True)
def _(told: Told) -> object:
    return [path for path in told["paths"] if os.path.lexists(path)]


@way("system-sockets", looks=True)
def _(told: Told) -> object:
    names = ["docker.sock", "containerd", "podman", "dbus", "systemd", "user", "udev", "crio", "snapd.socket", "lock", "log", "utmp"]
    return [name for name in names if os.path.lexists(f"/run/{name}") or os.path.lexists(f"/var/run/{name}")]


@way("neighbours", looks=True)
def _(told: Told) -> object:
    return [path for path in told["hidden"] if os.path.lexists(path)]


@way("host-file", looks=True)
def _(told: Told) -> object:
    return os.path.lexists(told["file"])


@way("root-listing", looks=True)
def _(told: Told) -> object:
    usual = set(["bin", "sbin", "lib", "lib64", "usr", "etc", "opt", "proc", "dev", "tmp", "home", "data", "run"])
    roots = set(os.listdir("/")) - usual
    beside = set(os.listdir("/home")) - {"researcher"} | set(os.listdir("/opt")) - {"workspace", "sulku"}
    beside |= set(os.listdir("/tmp")) | set(os.listdir("/dev/shm"))
    return sorted(roots | beside | set(os.listdir("/run")) - {"sulku"})


@way("host-processes", looks=True)
def _(told: Told) -> object:
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in os.listdir("/proc") if pid.isdigit()}
    return sorted(names - {"bwrap", "python", "python3", "python3.11"})


@way("host-signal")
def _(told: Told) -> object:
    try:
        os.kill(int(told["supervisor"]), 0)
    except PermissionError:
        return "the supervisor is in sight"
    return "the supervisor can be signalled"


@way("proc-sys")
def _(told: Told) -> object:
    names = ("kernel/core_pattern", "kernel/modprobe", "vm/overcommit_memory", "net/ipv4/ip_forward", "kernel/hostname")
    return [name for name in names if works(lambda at: open(at, "w").close(), f"/proc/sys/{name}")]


@way("proc-secrets")
def _(told: Told) -> object:
    names = ("kcore", "kmsg", "sysrq-trigger", "1/root/etc/shadow", "keys-none")
    return [name for name in names if works(lambda at: open(at, "r+b", 0).close(), f"/proc/{name}")]


@way("mount")
def _(told: Told) -> object:
    for flags in (0, 0x1000, 0x20 | 0x1000):  # new, bind, remount
        if not libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(flags), None):
            return f"mounted with flags {flags:#x}"
    raise OSError(ctypes.get_errno(), "mount")


@way("new-mount")
def _(told: Told) -> object:
    tries = [(428, ctypes.c_int(-100), b"/", ctypes.c_uint(1)), (430, b"tmpfs", ctypes.c_uint(0)),
             (429, ctypes.c_int(-100), b"/tmp", ctypes.c_int(-100), b"/home", ctypes.c_uint(0))]  # fmt: skip
    return [one[0] for one in tries if works(call, *one)]


@way("unshare")
def _(told: Told) -> object:
    kinds = (0x1000_0000, 0x0002_0000, 0x4000_0000, 0x2000_0000, 0x1000_0000 | 0x0002_0000)

    def attempt(kind: int) -> None:
        if libc.unshare(kind):
            raise OSError(ctypes.get_errno(), "unshare")

    return [hex(kind) for kind in kinds if in_child(partial(attempt, kind))]


@way("setns")
def _(told: Told) -> object:
    number = 268 if os.uname().machine == "aarch64" else 308
    found = []
    for kind in ("user", "mnt", "net", "pid"):
        with open(f"/proc/1/ns/{kind}") as space:
            enter = partial(call, number, ctypes.c_int(space.fileno()), ctypes.c_int(0))
            if in_child(enter):
                found.append(kind)
    return found


@way("clone-user")
def _(told: Told) -> object:
    number = 220 if os.uname().machine == "aarch64" else 56
    child = call(number, ctypes.c_ulong(0x1000_0000 | 17), None, None, None, None)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return "a user namespace"


@way("ptrace")
def _(told: Told) -> object:
    number = 117 if os.uname().machine == "aarch64" else 101
    return in_child(lambda: call(number, ctypes.c_long(0), None, None, None))


@way("other-memory")
def _(told: Told) -> object:
    number = 270 if os.uname().machine == "aarch64" else 310
    call(number, ctypes.c_int(1), None, ctypes.c_ulong(0), None, ctypes.c_ulong(0), ctypes.c_ulong(0))
    return "process_vm_readv"


@way("chroot")
def _(told: Told) -> object:
    return in_child(lambda: os.chroot("/tmp"))


@way("setuid")
def _(told: Told) -> object:
    changes = (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.setresuid(0, 0, 0))
    return [place for place, change in enumerate(changes) if in_child(change)] or os.getuid() == 0


def status(field: str) -> str:
    """Return a line of /proc/self/status."""
    rows = dict(row.split(":\t", 1) for row in Path("/proc/self/status").read_text().splitlines() if ":\t" in row)
    return rows[field].strip()


@way("capabilities", looks=True)
def _(told: Told) -> object:
    return [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status(name), 16)]


@way("no-new-privileges", looks=True)
def _(told: Told) -> object:
    return status("NoNewPrivs") != "1"


@way("seccomp", looks=True)
def _(told: Told) -> object:
    return status("Seccomp") != "2"


@way("kernel-calls")
def _(told: Told) -> object:
    zeros = [ctypes.c_long(0)] * 6

    def refused(name: str) -> bool:
        try:
            call(name, *zeros)
        except OSError as error:
            return error.errno in {errno.EPERM, errno.ENOSYS}
        return False

    return [name for name in DENIED if not refused(name)]


@way("device-nodes")
def _(told: Told) -> object:
    kinds = ((stat.S_IFCHR, os.makedev(1, 1)), (stat.S_IFBLK, os.makedev(7, 0)), (stat.S_IFCHR, os.makedev(10, 229)))
    return [number for kind, number in kinds if works(os.mknod, "/tmp/node", kind | 0o600, number)]


@way("device-list", looks=True)
def _(told: Told) -> object:
    usual = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin", "stdout", "stderr", "core", "console", "mqueue"]
    return sorted(set(os.listdir("/dev")) - set(usual))


@way("write-outside")
def _(told: Told) -> object:
    places = ["/", "/usr", "/usr/bin", "/etc", "/opt/workspace", "/opt/sulku", "/run", "/run/sulku", "/data", "/home", "/dev"]
    places += [f"/data/{name}" for name in told["datasets"]]
    return [place for place in places if works(lambda at: open(f"{at}/sulku-probe", "w").close(), place)]


@way("descriptors", looks=True)
def _(told: Told) -> object:
    links = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name_is_open(name)}
    return [f"{name}: {link}" for name, link in links.items() if link.startswith("/") and link != "/dev/null"]


def name_is_open(name: str) -> bool:
    """Return whether descriptor ``name`` is one that we were given, not the one that lists the folder."""
    try:
        os.fstat(int(name))
    except OSError:
        return False
    return os.readlink(f"/proc/self/fd/{name}") != f"/proc/{os.getpid()}/fd"


@way("environment", looks=True)
def _(told: Told) -> object:
    usual = ("JUPYTER", "PYTHON", "SULKU_TUNNEL", "HOME", "USER", "LOGNAME", "PATH", "LANG", "LC_CTYPE", "TZ", "PWD")
    return [name for name in os.environ if not name.startswith(usual)]


@way("terminal")
def _(told: Told) -> object:
    os.close(os.open("/dev/tty", os.O_RDWR))
    return "a controlling terminal"


@way("shared-memory", looks=True)
def _(told: Told) -> object:
    names = ("shm", "sem", "msg")
    return [name for name in names if len(Path(f"/proc/sysvipc/{name}").read_text().splitlines()) > 1]


@way("cgroups", looks=True)
def _(told: Told) -> object:
    return [path for path in ("/sys", "/sys/fs/cgroup", "/sys/kernel/debug") if os.path.lexists(path)]


@way("datasets-absent", looks=True)
def _(told: Told) -> object:
    found = {name: os.listdir(f"/data/{name}") for name in told["datasets"]}
    return [name for name, content in found.items() if content] or sorted(set(os.listdir("/data")) ^ set(found))
