"""The ledger as plain files in the layout of C2SP tlog-tiles: entry bundles and tiles of 256 hashes.

A tile of level L holds roots of complete subtrees of 256**L leaves. The order of ``tiles`` is fixed, so that a reader
who takes them one after the other needs little memory: each entry bundle with its level-0 tile, then the upper levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from sulku.errors import NotCanonicalError, ProofError
from sulku.ledger import tree
from sulku.ledger.canonical import LIMIT

WIDTH: Final = 256
BUNDLE_LIMIT: Final = WIDTH * (2 + LIMIT)  # bytes of the longest entry bundle
ENTRIES: Final = "entries"


def tile_path(level: int | str, n: int, width: int = WIDTH) -> str:
    """Return the path of tile ``n`` of a level (or of ``ENTRIES``): ``tile/0/x001/234.p/17`` for 1234, 17 wide."""
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03d}")
    return f"tile/{level}/{'/'.join(reversed(groups))}" + (f".p/{width}" if width < WIDTH else "")


def pack(entries: Iterable[bytes]) -> bytes:
    """Return an entry bundle: each entry behind its length in 16 bits, big-endian.

    Raises:
        NotCanonicalError: An entry is longer than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > LIMIT:
            raise NotCanonicalError(f"an entry of {len(entry)} bytes; at most {LIMIT} fit")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def unpack(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle. One that ends too early gives its whole entries and then what is left.

    So the first entry that a cut or a wrong length damages is the one that no longer fits its hash.
    """
    entries, at, end = [], 0, len(bundle)
    while at < end:
        start = at + 2
        at = start + (bundle[at] << 8) + bundle[start - 1] if start <= end else start
        entries.append(bundle[start:at])
    return entries


def level_sizes(size: int) -> list[int]:
    """Return how many hashes each level holds for ``size`` leaves: level 0 first, none empty."""
    sizes = []
    while size:
        sizes.append(size)
        size //= WIDTH
    return sizes


def widths(count: int) -> Iterator[tuple[int, int]]:
    """Yield the number and width of each tile of a level of ``count`` hashes."""
    for n in range(count // WIDTH):
        yield n, WIDTH
    if count % WIDTH:
        yield count // WIDTH, count % WIDTH


def tiles(entries: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield every path and its bytes; ``dict(tiles(entries))`` is the whole layout.

    Holds one entry bundle and the hashes of level 1 and above: 13 MB for a hundred million entries.

    Raises:
        NotCanonicalError: An entry is longer than 65,535 bytes.
    """
    upper: list[bytes] = []
    for n, batch in enumerate(_batches(entries)):
        yield tile_path(ENTRIES, n, len(batch)), pack(batch)
        hashes = [tree.hash_leaf(entry) for entry in batch]
        yield tile_path(0, n, len(hashes)), b"".join(hashes)
        if len(hashes) == WIDTH:
            upper.append(tree.fold(hashes))
    level = 1
    while upper:
        above = []
        for n, width in widths(len(upper)):
            row = upper[n * WIDTH : n * WIDTH + width]
            yield tile_path(level, n, width), b"".join(row)
            if width == WIDTH:
                above.append(tree.fold(row))
        upper, level = above, level + 1


def root_of(rows: Sequence[Sequence[bytes]]) -> bytes:
    """Return the root from what each level holds beyond its full tiles, level 0 first: at most 255 hashes each."""
    frontier = tree.Frontier()
    for level in reversed(range(len(rows))):
        for root in rows[level]:
            frontier.append_subtree(root, WIDTH**level)
    return frontier.root()


def nodes_of(read: Callable[[str], bytes], size: int) -> tree.Node:
    """Return a ``tree.Node`` that reads tiles of a ledger of ``size`` by their path: for proofs without the entries.

    Args:
        read: Returns the bytes at a path of this layout.
        size: Number of leaves that the tiles were written for.
    """
    sizes = level_sizes(size)

    def node(level: int, n: int) -> bytes:
        deep, height = divmod(level, 8)
        first, count = n << height, 1 << height  # in hashes of tile level `deep`
        if deep >= len(sizes) or first + count > sizes[deep]:
            raise ProofError(f"no complete subtree {n} of level {level} in a ledger of {size}")
        number, start = divmod(first, WIDTH)
        data = read(tile_path(deep, number, min(WIDTH, sizes[deep] - number * WIDTH)))
        at = start * tree.BYTES
        return tree.fold([data[k : k + tree.BYTES] for k in range(at, at + count * tree.BYTES, tree.BYTES)])

    return node


def _batches(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == WIDTH:
            yield batch
            batch = []
    if batch:
        yield batch
