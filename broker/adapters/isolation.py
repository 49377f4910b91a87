"""Can this machine isolate a workspace? Each part is tried, not looked up, and names its remedy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker.adapters import cgroups, linux, seccomp
from broker.adapters.volumes import in_child
from sulku.errors import SulkuError

_NAMESPACES = (
    "Allow user namespaces: sysctl kernel.unprivileged_userns_clone=1; on Ubuntu 24.04 and newer load the AppArmor "
    "profile bwrap-userns-restrict."
)
_GROUPS = (
    "Let the broker make control groups below /sys/fs/cgroup; without them each process is limited, not the workspace."
)
_VERSIONS = "import sys, importlib.metadata as m; print('jupyterlab', m.version('jupyterlab'), sys.version.split()[0])"
_TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Check:
    """One part of the isolation.

    Attributes:
        name: Stable, for scripts.
        needed: Without it nothing is started.
        detail: What was found.
        remedy: What to do when it is not ok.
    """

    name: str
    ok: bool
    needed: bool
    detail: str
    remedy: str


def doctor(workspace_venv: Path, image_dir: Path, *, path: str | None = None) -> tuple[Check, ...]:
    """Try every part and return what was found; raises nothing.

    Args:
        workspace_venv: The interpreter and packages of the workspace.
        image_dir: Our own programs of the workspace.
        path: Where to look for bubblewrap, as in PATH; None is this process's own.
    """
    bwrap = shutil.which("bwrap", path=path) or "/not/installed/bwrap"
    tries: tuple[tuple[str, bool, str, Callable[[], str]], ...] = (
        ("root", True, "Run the broker as root or with sudo; the workspaces themselves never run as root.", _root),
        ("linux", True, "Use Linux 5.12 or newer on x86_64 or aarch64.", _kernel),
        ("bubblewrap", True, "Install it: apt-get install bubblewrap.", lambda: _bubblewrap(bwrap)),
        ("namespaces", True, _NAMESPACES, lambda: _isolated(bwrap, [])),
        ("seccomp", True, "Use a kernel built with CONFIG_SECCOMP_FILTER.", lambda: _filtered(bwrap)),
        ("mount-api", True, "Use Linux 5.12 or newer, outside of an unprivileged container.", _mounts),
        ("home-image", True, "Install e2fsprogs and mount, and allow loop devices (modprobe loop).", _home),
        ("memory-limit", False, _GROUPS, _memory),
        ("shared-memory", True, "Mount a tmpfs on /dev/shm.", _shared),
        ("workspace", True, "Build the workspace's environment: make workspace.", lambda: _venv(workspace_venv)),
        ("image", True, "Install sulku with its hub folder.", lambda: _image(image_dir)),
    )  # fmt: skip
    return tuple(_check(*one) for one in tries)


def _check(name: str, needed: bool, remedy: str, attempt: Callable[[], str]) -> Check:
    try:
        return Check(name, True, needed, attempt(), remedy)
    except (OSError, SulkuError, subprocess.SubprocessError, ValueError) as error:
        return Check(name, False, needed, str(error)[:300], remedy)


def _run(command: list[str], *, pass_fds: tuple[int, ...] = ()) -> str:
    """Return what ``command`` printed; OSError with its complaint if it failed or hung for 10 s."""
    environment = {"PATH": _TOOLS}
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=10, env=environment, pass_fds=pass_fds, check=False
    )
    if done.returncode:
        raise OSError(f"{Path(command[0]).name}: exit status {done.returncode}: {done.stderr.strip()[:200]}")
    return done.stdout.strip()


def _root() -> str:
    if os.geteuid():
        raise OSError(f"this is user {os.geteuid()}")
    return "root"


def _kernel() -> str:
    release = platform.release()
    seccomp.program(platform.machine())
    if tuple(int(part) for part in release.split("-")[0].split(".")[:2]) < (5, 12):
        raise OSError(f"Linux {release}")
    return f"Linux {release} on {platform.machine()}"


def _bubblewrap(bwrap: str) -> str:
    version = _run([bwrap, "--version"])
    if tuple(int(part) for part in version.split()[-1].split(".")[:2]) < (0, 8):
        raise OSError(f"{version} is older than 0.8")
    return version


def _isolated(bwrap: str, more: list[str], *, pass_fds: tuple[int, ...] = ()) -> str:
    """Run `bwrap` as the unprivileged user that workspaces run as, and look at what it made."""
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    options = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    script = "test $(id -u) = 1000 && test $(grep -c : /proc/net/dev) = 1 && ! unshare -U true 2>/dev/null"
    command = [*nobody, bwrap, *options, "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink"]
    command += ["usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", *more, "/usr/bin/sh", "-c", script]
    _run(command, pass_fds=pass_fds)
    return "user, process and network namespaces hold"


def _filtered(bwrap: str) -> str:
    filter_fd = os.memfd_create("filter")
    try:
        os.write(filter_fd, seccomp.program(platform.machine()))
        os.lseek(filter_fd, 0, os.SEEK_SET)
        _isolated(bwrap, ["--seccomp", str(filter_fd)], pass_fds=(filter_fd,))
    finally:
        os.close(filter_fd)
    return f"{len(seccomp.DENIED)} calls denied"


def _mounts() -> str:
    with tempfile.TemporaryDirectory() as folder:

        def attempt() -> str:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
            here = linux.open_strict(os.path.realpath(folder))
            tree = linux.clone_tree(here)
            linux.lock_tree(tree)
            linux.attach_tree(tree, folder)
            try:
                Path(folder, "written").mkdir()
            except OSError:
                return "read-only mounts can be moved in whole"
            raise OSError("a read-only mount could be written")

        return str(in_child(attempt))


def _home() -> str:
    for tool in ("mkfs.ext4", "mount"):
        if not shutil.which(tool, path=_TOOLS):
            raise OSError(f"{tool} is missing")
    os.close(os.open("/dev/loop-control", os.O_RDWR))
    return "ext4 images on loop devices"


def _memory() -> str:
    groups = cgroups.make("doctor", 1 << 26, 16)
    cgroups.remove(groups)
    if not groups:
        raise OSError("no control group can be made")
    return f"{len(groups)} control groups"


def _shared() -> str:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.write(b"1")
    return "a tmpfs"


def _venv(workspace_venv: Path) -> str:
    python = workspace_venv / "bin" / "python"
    if not os.path.realpath(python).startswith("/usr/"):
        raise OSError(f"{python} does not lead to an interpreter below /usr, the only one that is seen inside")
    return _run([str(python), "-I", "-c", _VERSIONS])


def _image(image_dir: Path) -> str:
    for name in ("wsboot.py", "probe.py", "etc/passwd"):
        if not (image_dir / name).is_file():
            raise OSError(f"{name} is missing")
    return "complete"
