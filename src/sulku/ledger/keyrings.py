"""Key rings as signed documents, and how trust in one key leads to the ring of today.

When keys change, the new ring is signed by a key of the old one. So a reader who was given one key, once, can follow
the rings in order; whoever was given none believes the first ring, and is told so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sulku.crypto import sign
from sulku.crypto.keys import Keyring, Lived, PublicKey, SigningKey
from sulku.errors import KeyFormatError, NotCanonicalError, SignatureError, UnknownKeyError
from sulku.ledger import canonical

_ALWAYS = datetime.min.replace(tzinfo=UTC)


def publish(ring: Keyring, at: datetime, *keys: SigningKey) -> bytes:
    """Return the ring as an envelope of time ``at``, signed by ``keys``: the old key and the new one when they change.

    Raises:
        InvalidInputError: There is no key.
    """
    return sign.sign(sign.KEYRING, canonical.encode(ring.document(at)), *keys)


def follow(envelopes: Sequence[bytes], trusted: Iterable[PublicKey] = ()) -> tuple[Keyring, bool]:
    """Return the last ring, and whether a key in ``trusted`` leads to it.

    Args:
        envelopes: Rings as ``publish`` made them, oldest first.
        trusted: Keys that the reader has from elsewhere. None: the first ring is believed because it came first.

    Raises:
        SignatureError: An envelope is malformed, edited, or a ring is not one.
        UnknownKeyError: No chain of signatures leads from a trusted key to the last ring.
    """
    given = {key.hint: Lived(key, _ALWAYS) for key in trusted}
    ring, accepted = Keyring(), False
    for n, envelope in enumerate(envelopes):
        found, at = _read(envelope)
        vouching = found if n == 0 and not given else ring
        mine = given | {lived.key.hint: lived for lived in vouching.keys}  # a ring may retire a key that was given
        try:
            opened = sign.open_envelope(envelope, Keyring(tuple(mine.values())), sign.KEYRING)
        except UnknownKeyError:
            accepted = False  # older than the trusted key: passed over, unless it is the last
            continue
        sign.check_lived(opened.signers, at)
        ring, accepted = found, True
    if not accepted:
        raise UnknownKeyError("none of the keys that you trust vouches for the keys used here")
    return ring, bool(given)


def _read(envelope: bytes) -> tuple[Keyring, datetime]:
    try:
        return Keyring.read(canonical.decode(sign.read(envelope).payload))
    except (KeyFormatError, NotCanonicalError) as error:
        raise SignatureError(f"a ring of keys that cannot be read: {error}") from None
