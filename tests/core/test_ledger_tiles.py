"""The ledger as files is laid out as C2SP tlog-tiles says, and proofs can be made from the tiles alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku.errors import NotCanonicalError, ProofError
from sulku.ledger import tiles, tree
from tests.core.ledgers import grow

entry_lists = st.lists(st.binary(max_size=40), max_size=20)


def leaves(size: int) -> list[bytes]:
    return [b"leaf %d" % n for n in range(size)]


@pytest.mark.parametrize(
    ("n", "path"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067"), (70_000, "x070/000")]
)
def test_tile_numbers_are_written_in_groups_of_three(n: int, path: str) -> None:
    assert tiles.tile_path(3, n) == f"tile/3/{path}"
    assert tiles.tile_path("entries", n, 17) == f"tile/entries/{path}.p/17"


def test_the_specifications_example_of_seventy_thousand() -> None:
    sizes = tiles.level_sizes(70_000)
    shapes = [[width for _, width in tiles.widths(count)] for count in sizes]
    assert shapes == [[256] * 273 + [112], [256, 17], [1]]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 1000])
def test_every_hash_of_every_tile_is_the_root_of_what_it_stands_for(size: int) -> None:
    data = leaves(size)
    layout = dict(tiles.tiles(data))
    node = tree.nodes_of([tree.hash_leaf(leaf) for leaf in data])
    expected = {}
    for level, count in enumerate(tiles.level_sizes(size)):
        for n, width in tiles.widths(count):
            hashes = [node(8 * level, n * 256 + place) for place in range(width)]
            expected[tiles.tile_path(level, n, width)] = b"".join(hashes)
            if level == 0:
                bundled = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in data[n * 256 : n * 256 + width])
                expected[tiles.tile_path("entries", n, width)] = bundled
    assert layout == expected


def test_sixty_six_thousand_entries_reach_the_third_level() -> None:
    size = 256 * 256 + 300
    layout = dict(tiles.tiles(b"%d" % n for n in range(size)))
    root = grow(b"%d" % n for n in range(size)).root()
    assert "tile/2/000.p/1" in layout
    assert tree.root_of(size, tiles.nodes_of(layout.__getitem__, size)) == root


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_proofs_are_made_from_tiles_without_entries(size: int) -> None:
    data = leaves(size)
    layout = {path: held for path, held in tiles.tiles(data) if "entries" not in path}
    node, root = tiles.nodes_of(layout.__getitem__, size), grow(data).root()
    for index in {0, size // 2, size - 1}:
        proof = tree.prove_inclusion(index, size, node)
        tree.verify_inclusion(tree.hash_leaf(data[index]), index, size, root, proof)
    for old in {1, size // 2, size - 1, size}:
        proof = tree.prove_consistency(old, size, node)
        tree.verify_consistency(old, size, grow(data[:old]).root(), root, proof)


def test_a_subtree_that_is_not_complete_is_not_read() -> None:
    node = tiles.nodes_of(dict(tiles.tiles(leaves(300))).__getitem__, 300)
    for level, n in [(0, 300), (5, 9), (9, 0), (16, 0)]:
        with pytest.raises(ProofError):
            node(level, n)


@given(entry_lists)
def test_entries_are_packed_and_unpacked(entries: list[bytes]) -> None:
    assert tiles.unpack(tiles.pack(entries)) == entries


@given(entry_lists.filter(bool), st.data())
def test_a_cut_bundle_gives_its_whole_entries_and_then_what_is_left(entries: list[bytes], data: st.DataObject) -> None:
    whole = tiles.pack(entries)
    cut = data.draw(st.integers(0, len(whole) - 1))
    found = tiles.unpack(whole[:cut])
    assert len(found) <= len(entries)
    assert found[:-1] == entries[: max(len(found) - 1, 0)]


def test_an_entry_that_has_no_room_is_refused() -> None:
    assert len(tiles.pack([bytes(0xFFFF)])) == 0x10001
    with pytest.raises(NotCanonicalError):
        tiles.pack([bytes(0x10000)])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000, 256 * 256, 256 * 256 + 300])
def test_the_root_is_rebuilt_from_what_each_level_holds_beyond_its_full_tiles(size: int) -> None:
    data = leaves(size)
    rows = [[tree.hash_leaf(leaf) for leaf in data]]
    while len(rows[-1]) >= 256:
        whole = len(rows[-1]) // 256
        rows.append([tree.fold(rows[-1][n * 256 : n * 256 + 256]) for n in range(whole)])
    beyond = [row[len(row) // 256 * 256 :] for row in rows]
    assert tiles.root_of(beyond) == grow(data).root()
