"""The policies as one signed file, as OPA loads and verifies them by itself: packed, signed, and read back by the broker.

A tar archive as OPA has it: the rules, the tables as ``data.json``, ``.manifest``, and ``.signatures.json`` with a JWT (ES256) over the
digest of every file. Beside them the bundle's own byte form, from which the broker rebuilds it, and the rules of the server itself.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Final

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from broker.adapters import policy
from broker.adapters.keys import write
from sulku import policies
from sulku.crypto.channels import require_private
from sulku.errors import BundleError, ConfigurationError, PolicyUnsignedError
from sulku.policies import Bundle

ALGORITHM: Final = "ES256"
SCOPE: Final = "sulku"  # what a signature is for: OPA is started with the same word
GUARD: Final = Path(__file__).with_name("policy_server.rego").read_text("utf-8")
_SIGNATURES: Final = ".signatures.json"
_FORM: Final = "sulku-policy.json"
_KEY: Final = "default"  # the name that OPA has for the key of --verification-key
_LARGEST: Final = 4 << 20  # bytes of an archive, and of what is in it


def make_key(path: Path) -> Path:
    """Make a signing key (P-256, PEM) at ``path``; return the file of its public half, ``<path>.pub``.

    Raises:
        FileExistsError: There is one already.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    form, whole = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    write(path, key.private_bytes(form, whole, serialization.NoEncryption()), over=False)
    public = path.with_name(f"{path.name}.pub")
    public.write_bytes(key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public


def pack(rules: Bundle, key: Path) -> bytes:
    """Return ``rules`` as an archive, signed with the key in the file ``key``.

    Raises:
        ConfigurationError: The key cannot be read, others can read it, or it is no private key on P-256.
    """
    try:
        require_private(str(key))
        private = _imported(key)
    except OSError as error:
        raise ConfigurationError(f"{key}: {error.strerror}") from None
    if not private.is_private:
        raise ConfigurationError(f"{key} is a public key; the private one signs")
    contents = _contents(rules)
    token = jws.serialize_compact({"alg": ALGORITHM, "kid": _KEY}, _told(contents), private, [ALGORITHM])
    return _archived({_SIGNATURES: orjson.dumps({"signatures": [token]}), **contents})


def unpack(archive: bytes, key: Path) -> Bundle:
    """Return the bundle of ``archive``, as the public key in the file ``key`` vouches for it, whole.

    Raises:
        PolicyUnsignedError: Nobody, or another, has signed it, it was changed since, or another version of ours made it.
        ConfigurationError: The key cannot be read.
    """
    try:
        public = _imported(key)
    except OSError as error:
        raise ConfigurationError(f"{key}: {error.strerror}") from None
    found = _files(archive)
    try:
        [token] = orjson.loads(found.pop(_SIGNATURES))["signatures"]
        signed = jws.deserialize_compact(token, public, [ALGORITHM]).payload
    except KeyError:
        raise PolicyUnsignedError("the policies are not signed") from None
    except (JoseError, ValueError, TypeError) as error:
        raise PolicyUnsignedError(f"the policies are not signed with the key of {key}: {error}") from None
    if signed != _told(found):
        raise PolicyUnsignedError("the policies were changed after they were signed")
    try:
        rules = policies.parse(found[_FORM])
    except (KeyError, BundleError):
        rules = None
    if rules is None or found != _contents(rules):
        raise PolicyUnsignedError("the policies were packed by another version; sign them anew with this one")
    return rules


def load(where: Path, key: Path | None, *, profile: str | None = None) -> Bundle:
    """Return the bundle in force: of a folder, or of a signed archive, believed by its ``key``.

    Args:
        profile: The profile that must be in force; of a folder it is put in force, of an archive required.

    Raises:
        ConfigurationError: It cannot be read, is not signed by that key, or has another profile in force.
    """
    if not where.is_file():
        return policy.read(where, profile=profile)
    if key is None:
        raise ConfigurationError(f"{where} is a signed bundle: name in policies_key_file the public key that vouches for it")
    rules = unpack(where.read_bytes(), key)
    active = rules.tables["thresholds"]["active"]
    if profile not in {None, active}:
        raise ConfigurationError(f"{where} has the profile {active!r} in force; here it must be {profile!r}")
    return rules


def _imported(path: Path) -> ECKey:
    try:
        key = ECKey.import_key(path.read_bytes())
    except (JoseError, ValueError) as error:
        raise ConfigurationError(f"{path} is no key in PEM: {error}") from None
    if key.curve_name != "P-256":
        raise ConfigurationError(f"{path} is a key on {key.curve_name}; policies are signed on P-256")
    return key


def _contents(rules: Bundle) -> dict[str, bytes]:
    """Return path → bytes of all that is signed. The JSON that OPA reads is written as OPA takes its digest: sorted, no spaces."""
    data = {**rules.tables, "sulku": {"revision": {"sha256": rules.sha256}}}
    manifest = {"revision": rules.sha256, "roots": [""]}
    return {
        ".manifest": orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS),
        "data.json": orjson.dumps(data, option=orjson.OPT_SORT_KEYS),
        _FORM: rules.data,
        "system/authz.rego": GUARD.encode(),
        **{path: text.encode() for path, text in rules.modules.items()},
    }


def _told(contents: dict[str, bytes]) -> bytes:
    """Return what is signed of ``contents``."""
    files = [{"name": path, "hash": hashlib.sha256(contents[path]).hexdigest(), "algorithm": "SHA-256"} for path in sorted(contents)]
    return orjson.dumps({"files": files, "scope": SCOPE})


def _archived(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _files(archive: bytes) -> dict[str, bytes]:
    """Return path → bytes of an archive of plain files, each there once; nothing of it is written anywhere."""
    found: dict[str, bytes] = {}
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(archive)) as packed:
            plain = packed.read(_LARGEST + 1)
        if max(len(plain), len(archive)) > _LARGEST:
            raise PolicyUnsignedError("this is larger than policies are")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for entry in tar:
                if not entry.isreg() or entry.name in found:
                    raise PolicyUnsignedError(f"no file of a bundle: {entry.name[:100]!r}")
                found[entry.name] = tar.extractfile(entry).read()  # type: ignore[union-attr]  # it is a file
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise PolicyUnsignedError(f"not a bundle of policies: {error}") from None
    return found
