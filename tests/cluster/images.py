"""The images that the cluster runs, built from this repository's Containerfiles and kept outside the tree by their digest."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Final

from tests.cluster import programs

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = programs.CACHE.parent / "images"
SETTINGS: Final = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
PACKAGES: Final = "python3,python3-venv,fonts-dejavu-core"
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
    done = subprocess.run(
        ["buildah", *words], input=given, env=os.environ | SETTINGS, cwd=ROOT, capture_output=True, text=True, check=False
    )
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
    _base_image()
    image = f"localhost/{name}:{tag}"
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"
    _buildah("bud", "-q", "--layers", "--build-arg", "BASE=localhost/sulku-base:1", "-v", certificates, "-t", image, *words)
    draft = target.with_suffix(".new")
    draft.unlink(missing_ok=True)
    _buildah("push", "-q", image, f"oci-archive:{draft}:{image}")
    for old in KEPT.glob(f"{name}-*.tar"):
        old.unlink()
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
    return _built("sulku-workspace", tag, "-f", str(folder / "Containerfile"), "."), f"localhost/sulku-workspace:{tag}"
