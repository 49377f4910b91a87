"""The programs of a real cluster, and OPA: built once a machine from pinned Go modules, kept outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

MODULES: Final = Path(__file__).with_name("modules")  # go.mod pins each, go.sum holds the digests of all they are made of
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sulku" / "bin"
SETTINGS: Final = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly"}
KUBERNETES: Final = "1.36.3"
_VERSION: Final = "k8s.io/component-base/version.git"
_STAMP: Final = f"-X {_VERSION}Version=v{KUBERNETES} -X {_VERSION}Major=1 -X {_VERSION}Minor=36"


class Module(NamedTuple):
    """What one Go module yields: packages whose last path element is the program, and other names for some."""

    packages: tuple[str, ...]
    stamp: str = ""
    names: tuple[tuple[str, str], ...] = ()


_CNI: Final = "github.com/containernetworking/plugins/plugins"
_CONTAINERD: Final = "github.com/containerd/containerd/v2/cmd"
_KUBE: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
ALL: Final = {
    "opa": Module(("github.com/open-policy-agent/opa",)),
    "kubernetes": Module(tuple(f"k8s.io/kubernetes/cmd/{name}" for name in _KUBE), _STAMP),
    "netpol": Module(("github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",)),
    "sandbox": Module(("gvisor.dev/gvisor/runsc", "./shim"), names=(("shim", "containerd-shim-runsc-v1"),)),
    "containers": Module(
        (
            *(f"{_CONTAINERD}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
            *(f"{_CNI}/{name}" for name in ("main/ptp", "main/loopback", "ipam/host-local")),
        )
    ),
    "coredns": Module(("github.com/coredns/coredns",)),
    "helm": Module(("helm.sh/helm/v3/cmd/helm",)),
    "kwok": Module(("sigs.k8s.io/kwok/cmd/kwok",)),
}


def folder(module: str) -> Path:
    """Return the folder of ``module``'s programs, built if it is not there; two processes build it once.

    Raises:
        subprocess.CalledProcessError: The compiler said why on standard error.
    """
    target = CACHE / f"{module}-{_digest(module)}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{module}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(module, target)
    return target


def program(name: str) -> Path:
    """Return the path of one program, such as ``kubectl``, built if need be; KeyError if no module yields it."""
    for module, about in ALL.items():
        if name in _programs(about):
            return folder(module) / name
    raise KeyError(name)


def _programs(module: Module) -> set[str]:
    return {dict(module.names).get(base, base) for base in (package.rpartition("/")[2] for package in module.packages)}


def _digest(module: str) -> str:
    files = sorted(path for path in (MODULES / module).rglob("*") if path.is_file())
    content = b"".join(path.read_bytes() for path in files) + repr(ALL[module]).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _build(module: str, target: Path) -> None:
    unfinished = target.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    about = ALL[module]
    command = [compiler(), "build", "-ldflags", f"-s -w {about.stamp}", "-o", f"{unfinished}/", *about.packages]
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS} | SETTINGS
    subprocess.run(command, cwd=MODULES / module, env=environment, check=True, timeout=3600)
    for base, name in about.names:
        (unfinished / base).rename(unfinished / name)
    unfinished.rename(target)


def compiler() -> str:
    """Return the Go compiler: the one that `tools/go` brought into the venv, or else the one on the path."""
    found = shutil.which("go", path=sysconfig.get_path("scripts")) or shutil.which("go")
    assert found, "building needs Go: run tools/go"
    return found


def timed(name: str, make: Callable[[], object]) -> None:
    """Make something, and say how long it took."""
    began = time.monotonic()
    make()
    print(f"  {name:<14} {time.monotonic() - began:6.1f} s", flush=True)


def build(*modules: str) -> None:
    """Build the modules that are named, or all, one after the other, and say how long each took."""
    for module in modules or ALL:
        timed(module, partial(folder, module))


if __name__ == "__main__":
    build(*sys.argv[1:])
