"""The next version of our own parts, for upgrades: the image that is on the node with some files more, under another name."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster

MIGRATIONS = "opt/sulku/broker/store/migrations/versions"


def again(cluster: Cluster, image: str, tag: str) -> str:
    """Have an image that is on the node there under another tag as well; return that name: the same content is another version."""
    name = f"{image.rpartition(':')[0]}:{tag}"
    cluster._ctr("images", "tag", "--force", image, name)
    return name


def following(cluster: Cluster, image: str, tag: str, files: Mapping[str, str], folder: Path) -> str:
    """Put an image on the node that is ``image`` with ``files`` (path → text) on top; return its name, ``<repository>:<tag>``."""
    name, before, after = f"{image.rpartition(':')[0]}:{tag}", folder / "before.tar", folder / "after.tar"
    cluster._ctr("images", "export", str(before), image)
    with tarfile.open(before) as old, tarfile.open(after, "w") as new:
        about = _read(old, "index.json")["manifests"][0]
        manifest = _read(old, _blob(about["digest"]))
        while "manifests" in manifest:  # an index within the index
            manifest = _read(old, _blob(manifest["manifests"][0]["digest"]))
        config = _read(old, _blob(manifest["config"]["digest"]))
        for one in manifest["layers"]:
            member = old.getmember(_blob(one["digest"]))
            new.addfile(member, old.extractfile(member))
        layer = _layer(files)
        config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(layer).hexdigest()}")
        kind = manifest["layers"][-1]["mediaType"]
        packed = gzip.compress(layer, 1) if kind.endswith("gzip") else layer
        manifest["layers"].append({"mediaType": kind, **_put(new, packed)})
        manifest["config"] |= _put(new, json.dumps(config).encode())
        top = {"mediaType": manifest["mediaType"], **_put(new, json.dumps(manifest).encode())}
        top |= {"annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}}
        _add(new, "index.json", json.dumps({"schemaVersion": 2, "manifests": [top]}).encode())
        _add(new, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    cluster.load(after)
    for one in (before, after):
        one.unlink()
    assert name in cluster._ctr("images", "ls", "-q").split(), f"the node did not take {name}"
    return name


def _layer(files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as layer:
        for path, text in files.items():
            _add(layer, path, text.encode())
    return out.getvalue()


def _add(archive: tarfile.TarFile, path: str, data: bytes) -> None:
    about = tarfile.TarInfo(path)
    about.size, about.mode = len(data), 0o644
    archive.addfile(about, io.BytesIO(data))


def _put(archive: tarfile.TarFile, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    _add(archive, f"blobs/sha256/{digest}", data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _read(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    file = archive.extractfile(name)
    assert file is not None
    found: dict[str, Any] = json.loads(file.read())
    return found
