"""An archive is a ZIP that any tool opens, has one byte form, and cannot do harm to whoever reads it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sulku.errors import BundleError
from sulku.ledger import archive
from tests.core.ledgers import flip, rezip, unzip

names = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}(\.p/[1-9])?", fullmatch=True)
file_lists = st.lists(st.tuples(names, st.binary(max_size=60)), max_size=8, unique_by=lambda row: row[0])
FILES = [("README.txt", b"hello"), ("tile/0/x001/234.p/17", b""), ("z", bytes(range(256)))]


def read(data: bytes, limit: int = 1 << 20) -> list[tuple[str, bytes]]:
    reader, found = archive.Reader(io.BytesIO(data), lambda path: limit), []
    while member := reader.next():
        member.check()
        found.append((member.path, member.data))
    reader.finish()
    return found


@given(file_lists)
def test_what_was_written_is_read_by_us_and_by_others(files: list[tuple[str, bytes]]) -> None:
    data = rezip(files)
    assert read(data) == files
    assert unzip(data) == files
    assert rezip(files) == data


def test_files_are_ordinary_and_have_no_time() -> None:
    with zipfile.ZipFile(io.BytesIO(rezip(FILES))) as opened:
        for info in opened.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644
            assert info.compress_type == zipfile.ZIP_STORED


def test_every_byte_is_checked() -> None:
    data = rezip(FILES)
    for place in range(len(data)):
        for mask in (1, 0x80):
            with pytest.raises(BundleError):
                read(flip(data, place, mask))


def test_every_cut_and_every_addition_is_noticed() -> None:
    data = rezip(FILES)
    for size in range(len(data)):
        with pytest.raises(BundleError):
            read(data[:size])
    for wrong in (data + b"\0", b"\0" + data, data + data, rezip([])[:0]):
        with pytest.raises(BundleError):
            read(wrong)
    assert read(rezip([])) == []


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_other_bytes_are_refused_clearly(data: bytes) -> None:
    for wrong in (data, rezip(FILES)[:40] + data, b"PK\x03\x04" + data):
        with pytest.raises(BundleError):
            read(wrong)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../up", "a/../b", "a//b", "./a", ".hidden", "a/", "a\\b", "C:x", "ä", "a\n", "a b", "x" * 201],
)
def test_a_path_that_climbs_or_hides_is_neither_written_nor_read(path: str) -> None:
    with pytest.raises(BundleError):
        rezip([(path, b"")])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(zipfile.ZipInfo(path), b"")
    with pytest.raises(BundleError):
        read(out.getvalue())


def test_a_compressed_file_is_refused_before_it_unfolds() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr(zipfile.ZipInfo("bomb"), bytes(1 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match="header"):
        read(out.getvalue())


def test_a_file_over_its_limit_is_refused_before_it_is_read() -> None:
    assert read(rezip([("a", bytes(100))]), limit=100)
    with pytest.raises(BundleError, match="at most"):
        read(rezip([("a", bytes(101))]), limit=100)
    claimed = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, 1, 0) + b"a"

    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 <= size < 4096, "read what it should have refused"
            return super().read(size)

    with pytest.raises(BundleError, match="at most"):
        archive.Reader(Endless(claimed), lambda path: 100).next()


def test_a_wrong_checksum_is_told_by_the_member() -> None:
    data = rezip([("a", b"content")])
    wrong = data.replace(struct.pack("<L", zlib.crc32(b"content")), bytes(4))
    member = archive.Reader(io.BytesIO(wrong), lambda path: 100).next()
    assert member is not None
    with pytest.raises(BundleError, match="checksum"):
        member.check()


def test_a_source_that_gives_little_at_a_time_is_read_whole() -> None:
    class Drip(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(3, size or 0))

    reader = archive.Reader(Drip(rezip(FILES)), lambda path: 1000)
    assert [reader.next(), reader.next(), reader.next()] == [archive.Member(*row, zlib.crc32(row[1])) for row in FILES]
    reader.finish()


def test_files_left_over_are_noticed() -> None:
    reader = archive.Reader(io.BytesIO(rezip(FILES)), lambda path: 1000)
    reader.next()
    with pytest.raises(BundleError, match="after the last"):
        reader.finish()


def test_more_files_than_sixteen_bits_count() -> None:
    files = [(f"{n:05d}", b"") for n in range(65_536)]
    data = rezip(files)
    assert unzip(data) == files
    assert read(data) == files


def test_more_bytes_than_thirty_two_bits_count(tmp_path: Path) -> None:
    """A sparse file: the archive begins four gibibytes in, as after a file of that length."""
    far = (1 << 32) + 10
    with (tmp_path / "far.zip").open("w+b") as out:
        out.seek(far)
        writer = archive.Writer(out)
        writer._offset = far
        writer.add("a", b"content")
        writer.close()
        with zipfile.ZipFile(out) as opened:
            assert opened.read("a") == b"content"
            assert opened.infolist()[0].header_offset == far
        out.seek(far)
        reader = archive.Reader(out, lambda path: 100)
        reader._offset = far
        assert reader.next() is not None
        reader.finish()
