"""What is made while the image is built: `build.py FOLDER [KEY]`, the policies of this repository as signed bundles, one a profile.

Signed with KEY where the build was given one, so that a site can vouch for its own image; otherwise with a key that is drawn here,
used, and gone when this ends. Its public half lies beside the bundles, and vouches for no more than the image itself does.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from broker.adapters import policy, policy_signed

PROFILES = {"demo": None, "production": "strict"}  # by mode


def main(folder: Path, given: Path) -> None:
    """Write `demo.tar.gz`, `production.tar.gz` and `key.pem` into ``folder``."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        key = Path(scratch, "key")
        if given.is_file():
            shutil.copyfile(given, key)
            key.chmod(0o600)
        else:
            policy_signed.make_key(key)
        for mode, profile in PROFILES.items():
            rules = policy.read(Path("policies"), profile=profile)
            (folder / f"{mode}.tar.gz").write_bytes(policy_signed.pack(rules, key))
        public = load_pem_private_key(key.read_bytes(), None).public_key()
        (folder / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
