"""Whatever is done to a bundle is noticed, and a changed record is named. Each attacker knows the format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sulku.codec import stamp
from sulku.errors import BundleError
from sulku.ledger import tiles, tree
from sulku.ledger.verify import verify
from tests.core.ledgers import KEY, START, at, broken, edit, flip, grow, note, plain, record, rezip, unzip

SIZE = 600
WORLD = plain(SIZE)
BUNDLE = WORLD.build()
TILES = dict(unzip(BUNDLE))


def with_entries(entries: list[bytes]) -> bytes:
    """Return the bundle with all tiles made anew from ``entries``; the papers stay."""
    kept = [(path, held) for path, held in unzip(BUNDLE) if not path.startswith("tile/")]
    return rezip([*kept[:-1], *tiles.tiles(entries), kept[-1]])


def place_of(index: int) -> tuple[str, int]:
    """Return the entry bundle of a record and where in it the record's bytes begin."""
    first = index // 256 * 256
    path = tiles.tile_path("entries", index // 256, min(256, SIZE - first))
    return path, sum(2 + len(entry) for entry in WORLD.entries[first:index]) + 2


@given(st.integers(0, SIZE - 1), st.data())
@settings(max_examples=60)
def test_a_changed_byte_is_reported_as_the_record_that_it_is_in(index: int, data: st.DataObject) -> None:
    path, start = place_of(index)
    place = start + data.draw(st.integers(0, len(WORLD.entries[index]) - 1))
    mask = data.draw(st.integers(1, 255))
    error = broken(edit(BUNDLE, path, lambda held: flip(held, place, mask)))
    assert (error.index, error.last) == (index, index)
    assert error.record in {f"tun_{index:016d}", "", *_near(index)}
    assert error.code == "ledger-broken"
    assert error.exit == 7


def _near(index: int) -> set[str]:
    """Return the ids that one changed byte can make of a record's own id."""
    name = f"tun_{index:016d}"
    return {name[:n] + chr(code) + name[n + 1 :] for n in range(len(name)) for code in range(33, 127)}


def test_the_message_names_the_record_its_id_and_what_is_wrong() -> None:
    path, start = place_of(300)
    error = broken(edit(BUNDLE, path, lambda held: flip(held, start + len(WORLD.entries[300]) - 2)))
    assert str(error) == "record 300 (tun_0000000000000300): does not fit its hash in tile/0/001"


def test_a_byte_changed_on_disk_without_repairing_the_archive_names_the_record_too() -> None:
    at_byte = BUNDLE.index(WORLD.entries[300]) + 20
    assert broken(flip(BUNDLE, at_byte)).index == 300
    assert broken(flip(BUNDLE, at_byte), records=False).index == 300


@pytest.mark.parametrize("index", [0, 255, 256, 511, 512, 599])
def test_a_changed_leaf_hash_names_the_record_and_says_that_it_is_as_signed(index: int) -> None:
    path = tiles.tile_path(0, index // 256, min(256, SIZE - index // 256 * 256))
    error = broken(edit(BUNDLE, path, lambda held: flip(held, index % 256 * 32 + 7)))
    assert (error.index, error.last) == (index, index)
    assert "as it was signed" in str(error)


def test_a_record_changed_together_with_its_hash_is_found_in_its_tile() -> None:
    forged = record(300, {"forged": 1})
    was, now = tiles.pack([WORLD.entries[300]]), tiles.pack([forged])
    changed = edit(BUNDLE, "tile/entries/001", lambda held: held.replace(was, now))
    changed = edit(changed, "tile/0/001", lambda held: held[: 44 * 32] + tree.hash_leaf(forged) + held[45 * 32 :])
    error = broken(changed)
    assert (error.index, error.last) == (256, 511)
    assert "tile/1/000.p/2" in str(error)
    assert "as it was signed" not in str(error)


def test_a_changed_upper_tile_is_told_from_a_changed_record() -> None:
    error = broken(edit(BUNDLE, "tile/1/000.p/2", lambda held: flip(held, 40)))
    assert (error.index, error.last) == (256, 511)
    assert "as it was signed" in str(error)


def test_a_history_rewritten_with_all_its_tiles_contradicts_the_signed_root() -> None:
    forged = [*WORLD.entries]
    forged[300] = record(300, {"forged": 1})
    error = broken(with_entries(forged))
    assert (error.index, error.last) == (0, 599)
    assert "root" in str(error)


def test_earlier_checkpoints_narrow_the_place_of_a_rewritten_history() -> None:
    world = plain(SIZE)
    world.earlier = [note(world.entries[:size]) for size in (100, 280, 310, 500)]
    files = dict(unzip(world.build()))
    forged = [*world.entries]
    forged[300] = record(300, {"forged": 1})
    kept = [(path, held) for path, held in files.items() if not path.startswith("tile/")]
    error = broken(rezip([*kept[:-1], *tiles.tiles(forged), kept[-1]]))
    assert (error.index, error.last) == (280, 309)


@pytest.mark.parametrize(
    ("name", "change", "index", "says"),
    [
        ("removed", lambda e: e[:300] + e[301:], 300, "record 301 stands in its place"),
        ("doubled", lambda e: e[:301] + e[300:], 301, "record 300 stands in its place"),
        ("exchanged", lambda e: [*e[:300], e[301], e[300], *e[302:]], 300, "record 301 stands in its place"),
        ("inserted", lambda e: [*e[:300], record(300, {"x": 1}), *e[300:]], 300, "does not fit"),
    ],
)
def test_records_moved_about_under_the_old_tiles_are_named(
    name: str, change: Callable[[list[bytes]], list[bytes]], index: int, says: str
) -> None:
    entries = change(WORLD.entries)[:SIZE]
    entries += [b""] * (SIZE - len(entries))
    files = [(path, held) for path, held in unzip(BUNDLE) if not path.startswith("tile/entries/")]
    moved = {path: held for path, held in tiles.tiles(entries) if path.startswith("tile/entries/")}
    whole = []
    for path, held in files:
        twin = path.replace("tile/0/", "tile/entries/")
        whole += [(twin, moved[twin])] if twin in moved and twin != path else []
        whole.append((path, held))
    error = broken(rezip(whole))
    assert error.index == index
    assert says in str(error)


@pytest.mark.parametrize(
    ("size", "index"), [(599, 599), (513, 513), (512, 512), (511, 511), (256, 256), (255, 255), (1, 1), (0, 0)]
)
def test_a_ledger_cut_short_is_told_by_the_first_record_that_is_missing(size: int, index: int) -> None:
    error = broken(with_entries(WORLD.entries[:size]))
    assert error.index == index
    assert "counts 600 records" in str(error)


@pytest.mark.parametrize("more", [1, 200])
def test_records_beyond_the_checkpoint_are_told(more: int) -> None:
    error = broken(with_entries(plain(SIZE + more).entries))
    assert error.index == SIZE


def test_a_whole_tile_beyond_the_checkpoint_is_told() -> None:
    world = plain(512)
    kept = [(path, held) for path, held in unzip(world.build()) if not path.startswith("tile/")]
    assert broken(rezip([*kept[:-1], *tiles.tiles(plain(600).entries), kept[-1]])).index == 512


def test_a_length_that_is_not_the_records_own_is_told() -> None:
    """The last record's length may grow without changing what a careless reader takes for its bytes."""
    path, start = place_of(SIZE - 1)
    error = broken(edit(BUNDLE, path, lambda held: flip(held, start - 2, 0x40)))
    assert error.index == SIZE - 1
    assert "length" in str(error)


def test_trailing_or_missing_hashes_in_a_tile_are_told() -> None:
    for change in (lambda held: held + bytes(32), lambda held: held[:-32], lambda held: held[:-1]):
        assert broken(edit(BUNDLE, "tile/0/002.p/88", change)).index is not None


@pytest.mark.parametrize("path", [path for path in TILES if path.startswith("tile/")])
def test_no_file_of_the_ledger_can_be_left_out(path: str) -> None:
    broken(rezip((name, held) for name, held in unzip(BUNDLE) if name != path))


@pytest.mark.parametrize("path", TILES)
def test_a_checksum_that_is_not_the_files_own_is_told(path: str) -> None:
    claimed = struct.pack("<L", zlib.crc32(TILES[path]))
    assert BUNDLE.count(claimed) >= 2  # before the file, and in the directory
    with pytest.raises(BundleError, match="checksum"):
        verify(BUNDLE.replace(claimed, bytes(4)), [KEY.public])


# --- records that should never have been signed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (record(7), "says that it is record 7"),
        (record(2, at=stamp(START)), "before the record in front"),
        (record(2, at="2026-03-01T09:00:02Z"), "is no record"),
        (record(2, at="2026-13-01T09:00:02.000Z"), "is no record"),
        (record(2, extra=1), "is no record"),
        (record(2).replace(b'{"at"', b'{ "at"'), "is no record"),
        (b"", "is no record"),
        (b'{"v":2}', "is no record"),
    ],
)
def test_a_signed_record_that_is_no_record_is_named(entry: bytes, says: str) -> None:
    world = plain(4)
    world.entries[2] = entry
    error = broken(world.build())
    assert error.index == 2
    assert says in str(error)
    assert verify(world.build(), [KEY.public], records=False).size == 4  # the tree alone is as it was signed


def test_records_of_the_same_moment_are_in_order() -> None:
    world = plain(4)
    world.entries[2] = record(2, at=stamp(at(1)))
    assert verify(world.build(), [KEY.public]).size == 4


def test_the_root_is_that_of_the_entries() -> None:
    assert verify(BUNDLE, [KEY.public]).root == grow(WORLD.entries).root().hex()
