"""Blobs: bytes come back as they were or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.adapters.blobs import FileBlobs
from sulku.errors import IntegrityError, NotFoundError


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "deep" / "blobs")


def path_of(blobs: FileBlobs, digest: str) -> Path:
    return blobs._folder / digest[:2] / digest


@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=2000))
def test_what_was_put_is_what_is_got(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    blobs = FileBlobs(tmp_path_factory.mktemp("blobs"))
    assert blobs.put(data) == sha256(data)
    assert blobs.put(data) == sha256(data)
    assert blobs.get(sha256(data)) == data
    assert blobs.digests() == [sha256(data)]


def test_a_file_changed_on_the_disk_is_not_handed_out_and_heals_when_put_again(blobs: FileBlobs) -> None:
    digest = blobs.put(b"table")
    for wrong in (b"tablf", b"tabl", b"table ", b""):
        path_of(blobs, digest).write_bytes(wrong)
        with pytest.raises(IntegrityError):
            blobs.get(digest)
        blobs.put(b"table")
        assert blobs.get(digest) == b"table"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "0" * 65, "A" * 64, "0" * 63 + "\n", "/" * 64, "0" * 64])
def test_what_is_no_digest_or_not_there_is_not_found(blobs: FileBlobs, name: str) -> None:
    with pytest.raises(NotFoundError):
        blobs.get(name)


def test_nobody_else_may_read_them(blobs: FileBlobs) -> None:
    digest = blobs.put(b"table")
    assert path_of(blobs, digest).stat().st_mode & 0o077 == 0
    assert path_of(blobs, digest).parent.stat().st_mode & 0o077 == 0


def test_a_full_disk_keeps_nothing_and_says_so(blobs: FileBlobs) -> None:
    """A limit on the size of files stands in for a full disk: the write stops in the middle."""
    blobs.put(b"before")
    code = """
import resource, signal, sys
from pathlib import Path
from broker.adapters.blobs import FileBlobs
from sulku.errors import StoreUnavailableError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    FileBlobs(Path(sys.argv[1])).put(b"x" * 5000)
except StoreUnavailableError:
    sys.exit(42)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(blobs._folder)], env=environment, check=False)
    assert done.returncode == 42
    assert blobs.digests() == [sha256(b"before")]
    assert [path for path in blobs._folder.rglob("*") if path.is_file()] == [path_of(blobs, sha256(b"before"))]
    assert blobs.get(blobs.put(b"x" * 5000))


def test_a_writer_killed_in_the_middle_leaves_no_half_file_under_a_digest(blobs: FileBlobs) -> None:
    code = """
import os, sys
from pathlib import Path
from broker.adapters.blobs import FileBlobs
blobs = FileBlobs(Path(sys.argv[1]))
n = 0
while True:
    n += 1
    print(blobs.put(os.urandom(200_000)), flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, str(blobs._folder)], stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout
        said = [child.stdout.readline().strip() for _ in range(5)]
        os.kill(child.pid, signal.SIGKILL)
        said += [line.strip() for line in child.stdout if line.endswith("\n")]
    assert set(said) <= set(blobs.digests())
    for digest in blobs.digests():
        assert len(blobs.get(digest)) == 200_000
