"""Trust begins with a key that the reader was given; it follows the rings when keys change, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sulku.crypto import seal, sign
from sulku.crypto.keys import Keyring, PublicKey, SigningKey
from sulku.errors import SignatureError, UnknownKeyError
from sulku.ledger import canonical, checkpoint, keyrings
from sulku.ledger.verify import verify
from tests.core.ledgers import (
    KEY,
    OLD,
    ORIGIN,
    START,
    STRANGER,
    World,
    at,
    edit,
    flip,
    full,
    grow,
    note,
    plain,
    record,
    rezip,
    ring,
    unzip,
)  # fmt: skip

TURN = at(3) + timedelta(milliseconds=500)  # OLD signs up to record 3, KEY from record 4


def turned() -> World:
    """Return a ledger in which OLD was replaced by KEY, a permit and an earlier checkpoint from each."""
    world = full()
    entries = world.entries
    before, after = (canonical.encode({"v": 1, "id": name}) for name in ("per_8", "per_9"))
    entries[1] = record(1, {"document": seal.fingerprint(before)})
    entries[5] = record(5, {"document": seal.fingerprint(after)})
    world = World(entries, earlier=[note(entries[:4], OLD), note(entries[:6])])
    world.permits = {"per_8": sign.sign(sign.PERMIT, before, OLD), "per_9": sign.sign(sign.PERMIT, after, KEY)}
    first = keyrings.publish(Keyring().add(OLD.public, START), START, OLD)
    world.keyrings = [first, keyrings.publish(ring(rotated=TURN), TURN, OLD, KEY)]
    return world


def forged() -> bytes:
    """Return what a thief of the whole store makes: another history, every signature his own."""
    world = plain(5)
    world.checkpoint = note(world.entries, STRANGER)
    world.keyrings = [keyrings.publish(Keyring().add(STRANGER.public, START), START, STRANGER)]
    world.key = STRANGER
    return world.build()


def test_a_key_that_was_given_anchors_the_bundle() -> None:
    report = verify(plain(3).build(), [STRANGER.public, KEY.public])
    assert report.anchored
    assert [lived.key for lived in report.keys] == [KEY.public]


def test_without_a_key_the_bundle_is_taken_on_trust_and_says_so() -> None:
    report = verify(plain(3).build())
    assert not report.anchored
    assert "compare the fingerprint" in report.checks[0].detail


def test_a_wrong_key_is_refused() -> None:
    with pytest.raises(UnknownKeyError, match=r"keys\.json"):
        verify(plain(3).build(), [STRANGER.public])


def test_a_forgery_is_as_good_as_its_key() -> None:
    assert not verify(forged()).anchored  # nothing inside can tell; the fingerprint can
    with pytest.raises(UnknownKeyError):
        verify(forged(), [KEY.public])


@pytest.mark.parametrize("path", ["checkpoint", "manifest.json"])
def test_a_part_from_a_forgery_is_refused(path: str) -> None:
    part = dict(unzip(forged()))[path]
    with pytest.raises(UnknownKeyError, match=path):
        verify(edit(plain(5).build(), path, lambda held: part), [KEY.public])
    with pytest.raises(SignatureError):
        verify(edit(plain(5).build(), "keys.json", lambda held: dict(unzip(forged()))["keys.json"]), [KEY.public])


def test_a_manifest_of_another_export_is_refused() -> None:
    other = dict(unzip(plain(4).build()))["manifest.json"]
    with pytest.raises(SignatureError, match="a paper was changed"):
        verify(edit(plain(5).build(), "manifest.json", lambda held: other), [KEY.public])


def test_a_checkpoint_by_a_trusted_key_of_another_name_is_refused() -> None:
    permits = SigningKey.generate("sulku.test/permits")
    world = plain(3)
    world.keyrings = [keyrings.publish(ring().add(permits.public, START), START, KEY)]
    point = checkpoint.Checkpoint(ORIGIN, 3, grow(world.entries).root())
    world.checkpoint = checkpoint.Note(point, ((permits.public.hint, permits.sign(point.text())),)).write()
    with pytest.raises(UnknownKeyError, match="checkpoint"):
        verify(world.build(), [KEY.public])


# --- rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[], [OLD.public], [KEY.public], [OLD.public, KEY.public]])
def test_the_old_key_and_the_new_one_both_lead_to_todays_ring(given: list[PublicKey]) -> None:
    report = verify(turned().build(), given)
    assert [lived.until for lived in report.keys] == [TURN, None]
    assert report.anchored == bool(given)


def test_a_ring_that_no_earlier_key_vouches_for_is_refused() -> None:
    rings = [turned().keyrings[0], keyrings.publish(ring(rotated=TURN), TURN, KEY)]  # OLD did not sign the second
    for given in ([OLD.public], []):
        with pytest.raises(UnknownKeyError):
            keyrings.follow(rings, given)
    assert keyrings.follow(rings, [KEY.public]) == (ring(rotated=TURN), True)


def test_the_last_ring_counts_not_one_before_it() -> None:
    world = turned()
    thief = Keyring().add(STRANGER.public, TURN)
    rings = [*world.keyrings, keyrings.publish(thief, TURN, STRANGER)]
    for given in ([OLD.public], [KEY.public], []):
        with pytest.raises(UnknownKeyError):
            keyrings.follow(rings, given)
    assert keyrings.follow(rings, [STRANGER.public])[0] == thief


def test_a_retired_key_cannot_make_the_next_ring() -> None:
    later = TURN + timedelta(days=1)
    thief = Keyring().add(STRANGER.public, later)
    rings = [*turned().keyrings, keyrings.publish(thief, later, OLD)]
    with pytest.raises(SignatureError, match="retired"):
        keyrings.follow(rings)
    for given in ([KEY.public], [OLD.public]):  # whoever was given the old key has learnt from the rings that it ended
        with pytest.raises(SignatureError, match="retired"):
            keyrings.follow(rings, given)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: flip(data, 40), lambda data: b"{}"])
def test_a_damaged_ring_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(SignatureError):
        keyrings.follow([change(turned().keyrings[0])], [OLD.public])


def test_a_signed_document_that_is_no_ring_is_refused() -> None:
    for payload in (b"{}", b'{"v":1}', b"nothing"):
        with pytest.raises(SignatureError):
            keyrings.follow([sign.sign(sign.KEYRING, payload, KEY)], [KEY.public])
    disguised = sign.sign(sign.PERMIT, canonical.encode(ring().document(START)), KEY)
    with pytest.raises(SignatureError):
        keyrings.follow([disguised], [KEY.public])


def test_no_rings_lead_nowhere() -> None:
    with pytest.raises(UnknownKeyError):
        keyrings.follow([])


def test_what_a_retired_key_signed_after_its_end_is_refused() -> None:
    world = turned()
    late = canonical.encode({"v": 1, "id": "per_late"})
    world.entries[6] = record(6, {"document": seal.fingerprint(late)})
    world.permits["per_late"] = sign.sign(sign.PERMIT, late, OLD)
    with pytest.raises(SignatureError, match=r"permits/per_late\.json, recorded at .* retired"):
        verify(world.build(), [KEY.public])


def test_a_checkpoint_that_a_retired_key_signed_after_its_end_is_refused() -> None:
    world = turned()
    world.earlier.append(note(world.entries[:5], OLD))
    for records in (True, False):
        with pytest.raises(SignatureError, match="retired before its last record"):
            verify(world.build(), [KEY.public], records=records)


def test_a_new_key_may_sign_what_came_before_it() -> None:
    world = turned()
    world.earlier.append(note(world.entries[:2], KEY))
    assert verify(world.build(), [KEY.public]).size == 7


def test_a_retired_key_cannot_sign_a_bundle() -> None:
    world = turned()
    world.key = OLD
    with pytest.raises(SignatureError, match="retired"):
        verify(world.build(), [KEY.public])


def test_witnesses_lines_are_kept_and_covered_by_the_manifest() -> None:
    world = plain(3)
    line = "— witness.test/w AAAAAQAAAAA=".encode()
    world.checkpoint = checkpoint.cosign(note(world.entries), line)
    data = world.build()
    assert verify(data, [KEY.public]).size == 3
    with pytest.raises(SignatureError, match="a paper was changed"):
        verify(edit(data, "checkpoint", lambda held: held.replace(b"AAAAAQ", b"AAAAAg")), [KEY.public])


def test_a_bundle_without_rings_is_refused() -> None:
    files = [(path, b'{"rings":[],"v":1}' if path == "keys.json" else held) for path, held in unzip(plain(2).build())]
    with pytest.raises(UnknownKeyError):
        verify(rezip(files))
