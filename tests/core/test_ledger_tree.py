"""Roots and proofs are those of RFC 6962, by its own definition written out here and by vectors of others."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku.errors import ProofError
from sulku.ledger import tree
from tests.core.ledgers import grow

# Leaves and roots that Certificate Transparency's implementations share as test vectors.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(data: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = max(2**n for n in range(64) if 2**n < len(data))
    return sha256(b"\x01" + mth(data[:k]) + mth(data[k:])).digest()


def path(m: int, data: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(data) == 1:
        return []
    k = max(2**n for n in range(64) if 2**n < len(data))
    return [*path(m, data[:k]), mth(data[k:])] if m < k else [*path(m - k, data[k:]), mth(data[:k])]


def subproof(m: int, data: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 6962, section 2.1.2."""
    if m == len(data):
        return [] if whole else [mth(data)]
    k = max(2**n for n in range(64) if 2**n < len(data))
    if m <= k:
        return [*subproof(m, data[:k], whole=whole), mth(data[k:])]
    return [*subproof(m - k, data[k:], whole=False), mth(data[:k])]


def leaves(size: int) -> list[bytes]:
    return [b"leaf %d" % n for n in range(size)]


def nodes(data: Sequence[bytes]) -> tree.Node:
    return tree.nodes_of([tree.hash_leaf(leaf) for leaf in data])


sizes = st.integers(1, 70)
pairs = sizes.flatmap(lambda size: st.tuples(st.integers(0, size), st.just(size)))


def test_the_shared_vectors() -> None:
    data = [bytes.fromhex(leaf) for leaf in LEAVES]
    assert [grow(data[: n + 1]).root().hex() for n in range(8)] == ROOTS
    assert tree.Frontier().root() == tree.EMPTY == sha256(b"").digest()


@pytest.mark.parametrize("size", [*range(70), 255, 256, 257, 1000])
def test_the_frontier_has_the_root_of_the_definition(size: int) -> None:
    data = leaves(size)
    frontier = grow(data)
    assert (frontier.size, frontier.root()) == (size, mth(data))
    assert tree.root_of(size, nodes(data)) == mth(data)


def test_append_returns_the_leaf_hash() -> None:
    assert tree.Frontier().append(b"x") == tree.hash_leaf(b"x") == mth([b"x"])


@given(pairs)
def test_a_frontier_goes_on_where_it_was_put_down(pair: tuple[int, int]) -> None:
    cut, size = pair
    frontier = tree.Frontier.load(grow(leaves(size)[:cut]).dump())
    assert len(frontier.dump()) <= 8 + 32 * 7
    for leaf in leaves(size)[cut:]:
        frontier.append(leaf)
    assert frontier.root() == mth(leaves(size))


@pytest.mark.parametrize("state", [b"", bytes(7), bytes(9), bytes(8) + bytes(32), (3).to_bytes(8, "big") + bytes(32)])
def test_a_damaged_state_is_refused(state: bytes) -> None:
    with pytest.raises(ProofError):
        tree.Frontier.load(state)


def test_whole_subtrees_are_appended_where_they_fit_and_nowhere_else() -> None:
    data = leaves(13)
    frontier = tree.Frontier()
    frontier.append_subtree(mth(data[:8]), 8)
    frontier.append_subtree(mth(data[8:12]), 4)
    frontier.append_subtree(mth(data[12:]))
    assert frontier.root() == mth(data)
    for count in (2, 0, -1, 3):
        with pytest.raises(ProofError):
            frontier.append_subtree(bytes(32), count)


@given(sizes.flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_inclusion_is_proved_as_the_rfc_says_and_verifies(pair: tuple[int, int]) -> None:
    index, size = pair
    data = leaves(size)
    proof = tree.prove_inclusion(index, size, nodes(data))
    assert proof == path(index, data)
    tree.verify_inclusion(tree.hash_leaf(data[index]), index, size, mth(data), proof)


@given(pairs)
def test_consistency_is_proved_as_the_rfc_says_and_verifies(pair: tuple[int, int]) -> None:
    old, size = pair
    data = leaves(size)
    proof = tree.prove_consistency(old, size, nodes(data))
    assert proof == (subproof(old, data) if old else [])
    tree.verify_consistency(old, size, mth(data[:old]), mth(data), proof)


def corruptions(proof: list[bytes]) -> list[list[bytes]]:
    """Return every proof that differs in one step: wrong, missing, doubled, exchanged, or one more at either end."""
    wrong = [[*proof[:n], bytes(32), *proof[n + 1 :]] for n in range(len(proof))]
    short = [proof[:n] + proof[n + 1 :] for n in range(len(proof))]
    swapped = [[*proof[:n], proof[n + 1], proof[n], *proof[n + 2 :]] for n in range(len(proof) - 1)]
    return [*wrong, *short, *swapped, [*proof, bytes(32)], [bytes(32), *proof], [*proof, b"short"]]


@given(sizes.flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_no_other_inclusion_proof_verifies(pair: tuple[int, int]) -> None:
    index, size = pair
    data = leaves(size)
    root, leaf, proof = mth(data), tree.hash_leaf(data[index]), path(index, data)
    for wrong in corruptions(proof):
        with pytest.raises(ProofError):
            tree.verify_inclusion(leaf, index, size, root, wrong)
    for place in {*range(size), -1, size} - {index}:
        with pytest.raises(ProofError):
            tree.verify_inclusion(leaf, place, size, root, proof)
    with pytest.raises(ProofError):
        tree.verify_inclusion(bytes(32), index, size, root, proof)
    with pytest.raises(ProofError):
        tree.verify_inclusion(leaf, index, size, bytes(32), proof)


@given(pairs)
def test_no_other_consistency_proof_verifies(pair: tuple[int, int]) -> None:
    old, size = pair
    data = leaves(size)
    before, after, proof = mth(data[:old]), mth(data), subproof(old, data) if old else []
    for wrong in corruptions(proof):
        with pytest.raises(ProofError):
            tree.verify_consistency(old, size, before, after, wrong)
    with pytest.raises(ProofError):
        tree.verify_consistency(old, size, bytes(32), after, proof)
    if old:
        with pytest.raises(ProofError):
            tree.verify_consistency(old, size, before, bytes(32), proof)


def test_a_rewritten_beginning_is_not_consistent() -> None:
    honest, forged = leaves(20), [b"forged", *leaves(20)[1:]]
    for old in range(1, 20):
        with pytest.raises(ProofError):
            tree.verify_consistency(old, 20, mth(honest[:old]), mth(forged), subproof(old, forged))


def test_there_is_no_proof_of_what_is_not_there() -> None:
    node = nodes(leaves(3))
    for index in (-1, 3):
        with pytest.raises(ProofError):
            tree.prove_inclusion(index, 3, node)
    for old in (-1, 4):
        with pytest.raises(ProofError):
            tree.prove_consistency(old, 3, node)
        with pytest.raises(ProofError):
            tree.verify_consistency(old, 3, bytes(32), bytes(32), [])
