"""An auditor needs the client alone: a bundle, a permit or a release is checked from files, with an exit status."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from sulku.codec import stamp
from sulku.crypto import sign
from sulku.crypto.keys import SigningKey
from sulku.errors import KeyFormatError, NotFoundError, SignatureError, UnknownKeyError
from sulku.ledger import canonical
from sulku_client import verify as client
from tests.core.ledgers import KEY, OLD, START, STRANGER, at, flip, full, note, unzip
from tests.core.test_ledger_trust import TURN, turned

RING = client.read_ring([KEY.public])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.zip"
    path.write_bytes(full().build())
    return path


def test_a_whole_bundle_gives_exit_status_0_and_a_line_for_each_check(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.main([str(bundle), "--key", KEY.public.vkey]) == 0
    shown = capsys.readouterr().out
    assert "records              7 of         7" in shown
    assert "not vouched for" not in shown


def test_without_a_key_the_fingerprint_is_shown_to_be_compared(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.main([str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert f"not vouched for: {KEY.public.vkey}" in shown
    assert KEY.public.fingerprint in shown


def test_a_changed_byte_gives_exit_status_7_and_names_the_record(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bundle.read_bytes()
    bundle.write_bytes(flip(data, data.index(b"tun_0000000000000005") + 30))  # the digit of its index
    assert client.main([str(bundle), "--key", KEY.public.vkey]) == 7
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("ledger-broken: record 5 (tun_0000000000000005): does not fit its hash")


@pytest.mark.parametrize(("arguments", "status"), [(["--key", "nonsense"], 2), (["--key", STRANGER.public.vkey], 7)])
def test_a_wrong_key_has_its_status(bundle: Path, arguments: list[str], status: int) -> None:
    assert client.main([str(bundle), *arguments]) == status


def test_a_file_that_is_not_there_gives_exit_status_4(tmp_path: Path) -> None:
    assert client.main([str(tmp_path / "none")]) == 4
    with pytest.raises(NotFoundError):
        client.verify_ledger(tmp_path)


def test_it_runs_with_the_base_dependencies_alone(bundle: Path) -> None:
    """No module from outside the standard library but cryptography (with cffi) and orjson is loaded."""
    code = (
        "import sys; before = set(sys.modules); from sulku_client.verify import main; status = main(sys.argv[1:]);"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names;"
        "print(sorted(name for name in tops if not name.startswith('_'))); sys.exit(status)"
    )
    roots = [str(Path(client.__file__).parent.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    command = [sys.executable, "-c", code, str(bundle), "--key", KEY.public.vkey]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout.splitlines()[-1])) <= {
        "cryptography",
        "cffi",
        "orjson",
        "sulku",
        "sulku_client",
    }


def test_a_checkpoint_that_was_kept_is_compared(bundle: Path) -> None:
    assert client.verify_ledger(bundle, [KEY.public], known=[note(full().entries[:2])]).size == 7


# --- permits and releases that stand alone ---------------------------------------------------------------------------


def permit(key: SigningKey, **fields: object) -> bytes:
    return sign.sign(sign.PERMIT, canonical.encode({"v": 1, "id": "per_1", **fields}), key)


def test_a_permit_is_read_with_its_signer() -> None:
    paper = client.verify_permit(permit(KEY, issued=stamp(START)), RING)
    assert paper.document["id"] == "per_1"
    assert paper.signers == (KEY.public.hint,)


def test_an_edited_permit_or_a_strangers_is_refused() -> None:
    with pytest.raises(SignatureError):
        client.verify_permit(permit(KEY).replace(b"eyJ", b"eyI", 1), RING)
    with pytest.raises(UnknownKeyError):
        client.verify_permit(permit(STRANGER), RING)
    with pytest.raises(SignatureError):
        client.verify_permit(sign.sign(sign.RELEASE, b'{"v":1}', KEY), RING)


def test_a_permit_of_a_retired_key_counts_from_when_it_lived() -> None:
    rings = dict(unzip(turned().build()))["keys.json"]
    ring = client.read_ring([KEY.public], rings)
    assert client.verify_permit(permit(OLD, issued=stamp(at(1))), ring).signers == (OLD.public.hint,)
    assert client.verify_permit(permit(KEY, issued=stamp(at(5))), ring).document["id"] == "per_1"
    for late in (permit(OLD, issued=stamp(TURN + timedelta(days=1))), permit(OLD)):
        with pytest.raises(SignatureError):
            client.verify_permit(late, ring)


@pytest.mark.parametrize("payload", [b"[]", b"1", b"nothing", b'{"issued":"soon"}', b'{"issued":3}'])
def test_a_signed_text_that_is_no_document_is_refused(payload: bytes) -> None:
    with pytest.raises(SignatureError):
        client.verify_permit(sign.sign(sign.PERMIT, payload, KEY), RING)


def test_keys_are_needed_and_must_lead_to_the_rings() -> None:
    rings = dict(unzip(turned().build()))["keys.json"]
    with pytest.raises(KeyFormatError):
        client.read_ring([])
    with pytest.raises(KeyFormatError):
        client.read_ring([KEY.public], b'{"v":1}')
    with pytest.raises(UnknownKeyError):
        client.read_ring([STRANGER.public], rings)
    assert client.read_keys([KEY.public.vkey]) == (KEY.public,)


def test_released_files_are_those_of_the_manifest(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(b"sex,n\nf,12\n")
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    payload = canonical.encode({"v": 1, "files": [{"name": "table.csv", "sha256": digest}]})
    release = sign.sign(sign.RELEASE, payload, KEY)
    assert client.verify_release(release, RING, [table]).files == (("table.csv", f"sha256:{digest}"),)
    table.write_bytes(b"sex,n\nf,13\n")
    with pytest.raises(SignatureError, match=r"table\.csv"):
        client.verify_release(release, RING, [table])
    with pytest.raises(NotFoundError):
        client.verify_release(release, RING, [tmp_path / "none"])
