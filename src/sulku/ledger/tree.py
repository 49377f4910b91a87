"""The Merkle tree of RFC 6962, section 2.1: roots, a frontier that grows, and proofs.

``D[lo:hi]`` below is the RFC's: the leaves from ``lo`` up to, not including, ``hi``. Hashes are 32 bytes of SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import Final

from sulku.errors import ProofError

EMPTY: Final = sha256(b"").digest()  # the root of no leaves
BYTES: Final = 32

Node = Callable[[int, int], bytes]
"""``node(level, n)`` is the root of ``D[n * 2**level : (n + 1) * 2**level]``, a complete subtree."""


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 of ``0x00`` and ``data``."""
    return sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node: SHA-256 of ``0x01`` and its two children."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """What must be kept of a tree to grow it and to know its root: the roots of its complete subtrees.

    One for each bit of the size, largest first, so at most 64 hashes. Appending takes two hashes on average.
    """

    __slots__ = ("nodes", "size")

    def __init__(self) -> None:
        """Begin with no leaves."""
        self.size = 0
        self.nodes: list[bytes] = []

    def append(self, leaf: bytes) -> bytes:
        """Add the leaf whose bytes are ``leaf``; return its hash. Its index is the size before."""
        made = sha256(b"\x00" + leaf).digest()
        nodes, bits, node = self.nodes, self.size, made
        while bits & 1:
            node = sha256(b"\x01" + nodes.pop() + node).digest()
            bits >>= 1
        nodes.append(node)
        self.size += 1
        return made

    def append_subtree(self, root: bytes, leaves: int = 1) -> None:
        """Add a complete subtree of ``leaves`` leaves, a power of two that divides the present size.

        Raises:
            ProofError: It does not fit at this place.
        """
        if leaves < 1 or leaves & (leaves - 1) or self.size % leaves:
            raise ProofError(f"a subtree of {leaves} leaves does not fit after {self.size}")
        bits = self.size // leaves
        while bits & 1:
            root = hash_node(self.nodes.pop(), root)
            bits >>= 1
        self.nodes.append(root)
        self.size += leaves

    def root(self) -> bytes:
        """Return the root hash, 32 bytes."""
        if not self.nodes:
            return EMPTY
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = hash_node(node, root)
        return root

    def dump(self) -> bytes:
        """Return the state: the size in 8 bytes, big-endian, and the nodes, largest subtree first."""
        return self.size.to_bytes(8, "big") + b"".join(self.nodes)

    @classmethod
    def load(cls, state: bytes) -> Frontier:
        """Return the frontier that ``dump`` wrote.

        Raises:
            ProofError: The number of nodes does not fit the size.
        """
        made = cls()
        made.size = int.from_bytes(state[:8], "big")
        made.nodes = [state[n : n + BYTES] for n in range(8, len(state), BYTES)]
        if len(state) != 8 + BYTES * made.size.bit_count():
            raise ProofError("not the state of a frontier")
        return made


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a complete subtree over ``hashes``; their number is a power of two."""
    row = list(hashes)
    while len(row) > 1:
        row = [sha256(b"\x01" + row[n] + row[n + 1]).digest() for n in range(0, len(row), 2)]
    return row[0]


def nodes_of(leaves: Sequence[bytes]) -> Node:
    """Return a ``Node`` over a list of leaf hashes; it remembers what it has hashed."""

    @cache
    def node(level: int, n: int) -> bytes:
        return leaves[n] if level == 0 else hash_node(node(level - 1, 2 * n), node(level - 1, 2 * n + 1))

    return node


def root_of(size: int, node: Node) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return _hash_range(0, size, node) if size else EMPTY


def prove_inclusion(index: int, size: int, node: Node) -> list[bytes]:
    """Return the audit path of leaf ``index`` in the tree of ``size`` leaves (RFC 6962, 2.1.1).

    Raises:
        ProofError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    path, lo, hi = [], 0, size
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            path.append(_hash_range(middle, hi, node))
            hi = middle
        else:
            path.append(_hash_range(lo, middle, node))
            lo = middle
    return path[::-1]


def prove_consistency(old: int, size: int, node: Node) -> list[bytes]:
    """Return the proof that the tree of ``old`` leaves is a prefix of that of ``size`` (RFC 6962, 2.1.2).

    Raises:
        ProofError: Not ``0 <= old <= size``.
    """
    if not 0 <= old <= size:
        raise ProofError(f"no tree of {old} in a tree of {size}")
    if old in {0, size}:
        return []
    path, lo, hi, whole = [], 0, size, True
    while old != hi:
        middle = lo + _split(hi - lo)
        if old <= middle:
            path.append(_hash_range(middle, hi, node))
            hi = middle
        else:
            path.append(_hash_range(lo, middle, node))
            lo, whole = middle, False
    return ([] if whole else [_hash_range(lo, hi, node)]) + path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the leaf of hash ``leaf`` is at ``index`` in the tree of ``size`` and ``root`` (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: The proof does not show it.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    at, last, seen = index, size - 1, leaf
    for step in _hashes(proof):
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if at & 1 or at == last:
            seen = hash_node(step, seen)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            seen = hash_node(seen, step)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the inclusion proof is too short")
    if seen != root:
        raise ProofError(f"the inclusion proof of leaf {index} leads to another root")


def verify_consistency(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``size`` and ``root`` begins with that of ``old`` and ``old_root`` (RFC 9162, 2.1.4.2).

    Raises:
        ProofError: The proof does not show it.
    """
    if not 0 <= old <= size:
        raise ProofError(f"no tree of {old} in a tree of {size}")
    if old in {0, size}:
        if proof or old_root != (root if old else EMPTY):
            raise ProofError("the two roots are not of these sizes")
        return
    steps = _hashes(proof)
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = old_root if old & (old - 1) == 0 else next(steps, b"")  # a complete old tree is its own first step
    was = now = first
    for step in steps:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if at & 1 or at == last:
            was, now = hash_node(step, was), hash_node(step, now)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            now = hash_node(now, step)
        at, last = at >> 1, last >> 1
    if last or was != old_root or now != root:
        raise ProofError(f"the tree of {size} does not begin with that of {old}")


def _hashes(proof: Sequence[bytes]) -> Iterator[bytes]:
    for step in proof:
        if len(step) != BYTES:
            raise ProofError(f"a step of {len(step)} bytes in a proof")
        yield step


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _hash_range(lo: int, hi: int, node: Node) -> bytes:
    """Return the root of ``D[lo:hi]``; ``lo`` is where a subtree of the tree begins."""
    size = hi - lo
    if size & (size - 1) == 0:
        return node(size.bit_length() - 1, lo // size)
    middle = lo + _split(size)
    return hash_node(_hash_range(lo, middle, node), _hash_range(middle, hi, node))
