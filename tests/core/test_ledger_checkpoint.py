"""Checkpoints are C2SP signed notes: any other reader reads them, and only the ledger's own key can make one."""

from __future__ import annotations

import base64

import pytest

from sulku.crypto.keys import Keyring, SigningKey
from sulku.errors import ProofError, SignatureError, UnknownKeyError
from sulku.ledger import checkpoint, tree
from tests.core.ledgers import KEY, OLD, ORIGIN, START, STRANGER, flip, grow, ring

POINT = checkpoint.Checkpoint(ORIGIN, 3, grow([b"a", b"b", b"c"]).root())
NOTE = checkpoint.make(POINT, KEY)
# The example of C2SP tlog-cosignature: a checkpoint with a witness's signature, of a kind that sulku does not read.
EXAMPLE = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()


def test_the_specifications_example_is_read_and_written_unchanged() -> None:
    note = checkpoint.parse(EXAMPLE)
    assert (note.checkpoint.origin, note.checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert [hint for hint, _ in note.signatures] == [
        "example.com/behind-the-sofa+033de0ae",
        "witness.example.com/w1+8d66cf3f",
    ]
    assert note.write() == EXAMPLE


def test_a_checkpoint_is_what_its_ledger_signed() -> None:
    root = base64.b64encode(POINT.root).decode()
    assert NOTE.decode().startswith(f"{ORIGIN}\n3\n{root}\n\n— {ORIGIN} ")
    found, signers = checkpoint.verify(NOTE, ring(), ORIGIN)
    assert found == POINT
    assert [lived.key for lived in signers] == [KEY.public]


@pytest.mark.parametrize("place", range(len(NOTE)))
def test_no_byte_of_a_checkpoint_can_change(place: int) -> None:
    for mask in (0x01, 0x20, 0x80):
        with pytest.raises(SignatureError):
            checkpoint.verify(flip(NOTE, place, mask), ring(), ORIGIN)


def test_a_stranger_with_the_same_name_is_not_the_ledger() -> None:
    with pytest.raises(UnknownKeyError):
        checkpoint.verify(checkpoint.make(POINT, STRANGER), ring(), ORIGIN)


def test_a_trusted_key_of_another_name_is_not_the_ledger_either() -> None:
    other = SigningKey.generate("sulku.test/permits")
    keys = ring().add(other.public, START)
    with pytest.raises(SignatureError):
        checkpoint.make(POINT, other)
    row = (other.public.hint, other.sign(POINT.text()))
    with pytest.raises(UnknownKeyError):
        checkpoint.verify(checkpoint.Note(POINT, (row,)).write(), keys, ORIGIN)


def test_another_ledgers_checkpoint_is_refused() -> None:
    other = SigningKey.generate("sulku.test/other")
    note = checkpoint.make(checkpoint.Checkpoint("sulku.test/other", 3, POINT.root), other)
    with pytest.raises(SignatureError, match="not of"):
        checkpoint.verify(note, Keyring().add(other.public, START), ORIGIN)


def test_witnesses_may_sign_beside_it_and_are_kept() -> None:
    line = EXAMPLE.decode().splitlines()[-1].encode()
    longer = checkpoint.cosign(NOTE, line)
    assert checkpoint.verify(longer, ring(), ORIGIN)[0] == POINT
    assert longer.endswith(line + b"\n")
    assert len(checkpoint.parse(longer).signatures) == 2
    with pytest.raises(SignatureError):
        checkpoint.cosign(NOTE, b"not a line")


def test_a_bad_signature_under_a_known_key_spoils_the_note() -> None:
    bad = checkpoint.Note(POINT, ((KEY.public.hint, KEY.sign(POINT.text())), (OLD.public.hint, bytes(64)))).write()
    assert checkpoint.verify(bad, ring(), ORIGIN)  # to whom does not know OLD, its row says nothing
    with pytest.raises(SignatureError):
        checkpoint.verify(bad, ring(rotated=START), ORIGIN)


@pytest.mark.parametrize(
    "change",
    [
        (b"\n3\n", b"\n03\n"),
        (b"\n3\n", b"\n-3\n"),
        (b"\n3\n", b"\n+3\n"),
        (b"\n3\n", b"\n\n"),
        (b"\n3\n", "\n३\n".encode()),
        (b"\n3\n", b"\n99999999999999999\n"),
        (b"\n3\n", b"\n3\r\n"),
        (b"=\n\n", b"\n\n"),
        (b"\n\n", b"\n"),
        (b"\n\n", b"\n\n\n"),
        ("—".encode(), b"-"),
        (ORIGIN.encode() + b"\n", b"\n"),
        (b"=\n\n", b"=\next\x01\n\n"),
    ],
)
def test_other_bytes_for_the_same_checkpoint_are_refused(change: tuple[bytes, bytes]) -> None:
    wrong = NOTE.replace(*change, 1)
    assert wrong != NOTE
    with pytest.raises(SignatureError):
        checkpoint.parse(wrong)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff\n\n", b"a\n\n\n", NOTE[:-1], NOTE + b"\n", b"x" * 200_000])
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError):
        checkpoint.parse(data)


def test_extension_lines_are_signed_and_kept() -> None:
    point = checkpoint.Checkpoint(ORIGIN, 3, POINT.root, ("one", "two three"))
    assert checkpoint.verify(checkpoint.make(point, KEY), ring(), ORIGIN)[0] == point
    with pytest.raises(SignatureError):
        checkpoint.make(checkpoint.Checkpoint(ORIGIN, 3, POINT.root, ("a\nb", "")), KEY)
    with pytest.raises(SignatureError):
        checkpoint.make(checkpoint.Checkpoint(ORIGIN, 3, b"short"), KEY)


def test_one_checkpoint_extends_another_of_the_same_ledger() -> None:
    data = [b"a", b"b", b"c", b"d", b"e"]
    node = tree.nodes_of([tree.hash_leaf(leaf) for leaf in data])
    later = checkpoint.Checkpoint(ORIGIN, 5, grow(data).root())
    proof = tree.prove_consistency(3, 5, node)
    checkpoint.extends(POINT, later, proof)
    for old, new, steps in [
        (later, POINT, proof),
        (POINT, checkpoint.Checkpoint(ORIGIN, 5, bytes(32)), proof),
        (POINT, checkpoint.Checkpoint("sulku.test/other", 5, later.root), proof),
        (POINT, later, proof[1:]),
    ]:
        with pytest.raises(ProofError):
            checkpoint.extends(old, new, steps)
