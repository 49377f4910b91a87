"""The images that the cluster runs, built from this repository's Containerfiles and kept outside the tree by their digest."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.cluster import programs

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = programs.CACHE.parent / "images"
SETTINGS: Final = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
OUTSIDE: Final = os.open("/proc/self/ns/net", os.O_RDONLY)  # where packages come from, also for who has joined the cluster since
TRUSTED: Final = ("-v", "/etc/ssl/certs:/etc/ssl/certs:ro")  # by whoever fetches Python packages in a build
PACKAGES: Final = "python3,python3-venv,fonts-dejavu-core"
OPA: Final = """\
FROM scratch
COPY opa /opa
USER 1000:1000
ENTRYPOINT ["/opa"]
"""
PAUSE: Final = """\
FROM localhost/sulku-base:1
ENTRYPOINT ["/usr/bin/sleep", "infinity"]
"""


def base() -> Path:
    """Return a Debian 12 with Python, as a tar archive made from the distribution's packages."""
    target = KEPT / "base.tar"
    if not target.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(".new.tar")
        subprocess.run(["mmdebstrap", "-q", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(draft)], check=True)
        draft.rename(target)
    return target


def _buildah(*words: str, given: str | None = None) -> str:
    command = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{OUTSIDE}", "buildah", *words]
    done = subprocess.run(command, input=given, env=os.environ | SETTINGS, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"buildah {words[0]}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def _base_image() -> None:
    if not _buildah("images", "-q", "--filter", "reference=localhost/sulku-base"):
        container = _buildah("from", "scratch")
        _buildah("add", "-q", container, str(base()), "/")
        _buildah("commit", "-q", container, "localhost/sulku-base:1")
        _buildah("rm", container)


def _digest(*places: Path) -> str:
    files = sorted(path for place in places for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file())
    found = hashlib.sha256()
    for path in files:
        if "__pycache__" not in path.parts:
            found.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _built(name: str, tag: str, *words: str) -> Path:
    """Return the archive of an image, built if this tag is not there yet; older ones are removed."""
    target = KEPT / f"{name}-{tag}.tar"
    if target.exists():
        return target
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return target if target.exists() else _build(name, tag, target, *words)


def _build(name: str, tag: str, target: Path, *words: str) -> Path:
    _base_image()
    image = f"localhost/{name}:{tag}"
    _buildah("bud", "-q", "--layers", "--build-arg", "BASE=localhost/sulku-base:1", "-t", image, *words)
    draft = target.with_suffix(".new")
    draft.unlink(missing_ok=True)
    _buildah("push", "-q", "--disable-compression", image, f"oci-archive:{draft}:{image}")
    for old in KEPT.glob(f"{name}-*.tar"):
        old.unlink()
    for old in set(_buildah("images", "--format", "{{.Name}}:{{.Tag}}", "--filter", f"reference=localhost/{name}").split()) - {image}:
        with suppress(AssertionError):  # each is a whole file system on the disk; but what a build holds, or one that was killed held, stays
            _buildah("rmi", old)
    return draft.rename(target)


def pause() -> Path:
    """Return the image of the container that holds a pod's network."""
    file = KEPT / "Containerfile.pause"
    KEPT.mkdir(parents=True, exist_ok=True)
    file.write_text(PAUSE)
    (KEPT / "empty").mkdir(exist_ok=True)
    return _built("pause", "1", "-f", str(file), str(KEPT / "empty"))


@functools.cache  # one image a run, whatever is edited meanwhile; and inside the cluster's network nothing could be built
def workspace() -> tuple[Path, str]:
    """Return the archive and the name of the Python workspace."""
    folder = ROOT / "hub" / "images" / "python"
    tag = _digest(folder)
    return _built("sulku-workspace", tag, *TRUSTED, "-f", str(folder / "Containerfile"), "."), f"localhost/sulku-workspace:{tag}"


@functools.cache
def server() -> tuple[Path, str]:
    """Return the archive and the name of our own parts."""
    inside, python = ROOT / "hub" / "images", workspace()
    ours = [ROOT / name for name in ("requirements.txt", "src", "broker", "policies")]
    tag = _digest(*ours, *(ROOT / "hub").glob("*.py"), inside / "server", inside / "poddoctor.py", inside / "python" / "requirements.txt")
    if not _buildah("images", "-q", "--filter", f"reference={python[1]}"):
        _buildah("pull", "-q", f"oci-archive:{python[0]}")
    words = (*TRUSTED, "--build-arg", f"WORKSPACE={python[1]}", "-f", str(inside / "server" / "Containerfile"), ".")
    return _built("sulku-server", tag, *words), f"localhost/sulku-server:{tag}"


@functools.cache
def debian(name: str) -> tuple[Path, str]:
    """Return the archive and the name of ``postgres`` or ``redis``."""
    file = ROOT / "hub" / "images" / name / "Containerfile"
    tag = _digest(file)
    return _built(f"sulku-{name}", tag, "-f", str(file), str(file.parent)), f"localhost/sulku-{name}:{tag}"


@functools.cache
def opa() -> tuple[Path, str]:
    """Return the archive and the name of the policy server: its program and nothing else."""
    program = programs.program("opa")
    tag = program.parent.name.rpartition("-")[2]
    file = KEPT / "Containerfile.opa"
    file.write_text(OPA)
    return _built("opa", tag, "-f", str(file), str(program.parent)), f"localhost/opa:{tag}"
