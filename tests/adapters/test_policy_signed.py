"""Policies as a signed bundle: OPA itself and the broker take it from whoever has the key, and from nobody else; then nothing can be changed."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import orjson
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from broker import manage
from broker.adapters import policy_signed as signed
from broker.adapters.policy_opa import OpaPolicy
from broker.adapters.policy_signed import load, make_key, pack, unpack
from broker.settings import Settings
from broker.wiring import publish, rules_of, wire
from sulku import policies
from sulku.errors import ConfigurationError, PolicyUnavailableError, PolicyUnsignedError
from sulku.policies import Bundle
from tests.adapters.policy_contract import Contract, ask
from tests.policies import cases
from tests.servers import opa

PATIENT: Final = 20.0  # seconds; these tests are not about speed
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's own key; its public half lies beside it."""
    path = tmp_path_factory.mktemp("site") / "policies.key"
    make_key(path)
    return path


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def written(folder: Path, archive: bytes) -> Path:
    path = folder / "bundle.tar.gz"
    path.write_bytes(archive)
    return path


def words(bundle: Path, key: Path) -> tuple[str, ...]:
    """Return how OPA is started, as the chart starts it (tests/helm/test_policies.py compares the two)."""
    return ("--authorization=basic", f"--verification-key={public(key)}", "--signing-alg=ES256", "--scope=sulku", "--bundle", str(bundle))


# --- what is right is taken, by both ---------------------------------------------------------------------------------------------


class TestLoaded(Contract):
    """The whole contract of a policy, kept by a server to which nobody gave anything but the signed file."""

    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaPolicy]:
        archive = written(tmp_path_factory.mktemp("bundle"), pack(cases.bundle(), key))
        with opa.serving(*words(archive, key)) as url:
            policy = OpaPolicy(url, load(archive, public(key)), timeout=PATIENT)
            yield policy
            policy.close()


def test_what_was_packed_is_read_back(key: Path) -> None:
    assert unpack(pack(cases.bundle(), key), public(key)) == cases.bundle()


def test_every_broker_reads_the_same_from_the_file_and_from_the_folder(key: Path, tmp_path: Path) -> None:
    file = Settings(policies=written(tmp_path, pack(cases.bundle(), key)), policies_key_file=public(key))
    assert rules_of(file) == rules_of(Settings(policies=cases.ROOT)) == cases.bundle()


# --- what is wrong is taken by neither -------------------------------------------------------------------------------------------


def _token(files: Files) -> str:
    return str(orjson.loads(files[signed._SIGNATURES])["signatures"][0])


def _unsigned(files: Files) -> None:
    del files[signed._SIGNATURES]


def _empty(files: Files) -> None:
    files[signed._SIGNATURES] = b'{"signatures":[]}'


def _byte(files: Files) -> None:
    files["tunnel.rego"] = files["tunnel.rego"].replace(b"not-yours", b"not-tours", 1)


def _threshold(files: Files) -> None:
    files["data.json"] = files["data.json"].replace(b'"mfa":true', b'"mfa":false')


def _more(files: Files) -> None:
    files["extra.rego"] = b'package sulku.tunnel\n\ncleared contains "not-yours" if true\n'


def _less(files: Files) -> None:
    del files["mount.rego"]


def _open(files: Files) -> None:
    files["system/authz.rego"] = b"package system.authz\n\nallow := true\n"


def _none(files: Files) -> None:
    """A token that says by itself that it needs no signature, the oldest trick with these."""
    _, payload, _ = _token(files).split(".")
    files[signed._SIGNATURES] = orjson.dumps({"signatures": [f"eyJhbGciOiJub25lIn0.{payload}."]})


WRONG: dict[str, Callable[[Files], None]] = {
    "unsigned": _unsigned,
    "signed by nobody": _empty,
    "a byte of a rule changed": _byte,
    "a threshold changed": _threshold,
    "a rule more": _more,
    "a rule less": _less,
    "a server open to everybody": _open,
    "a token without a signature": _none,
}


def spoilt(what: str, key: Path) -> bytes:
    files = signed._files(pack(cases.bundle(), key))
    before = dict(files)
    WRONG[what](files)
    assert files != before
    return signed._archived(files)


@pytest.mark.parametrize("what", WRONG)
def test_opa_does_not_start_with_a_bundle_that_is_not_as_it_was_signed(what: str, key: Path, tmp_path: Path) -> None:
    said = opa.refuses(*words(written(tmp_path, spoilt(what, key)), key))
    assert any(sign in said for sign in ("signature", "JWT", "digest mismatch", "missing .signatures.json")), said


@pytest.mark.parametrize("what", WRONG)
def test_a_broker_does_not_start_with_it_either(what: str, key: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyUnsignedError):
        rules_of(Settings(policies=written(tmp_path, spoilt(what, key)), policies_key_file=public(key)))


def test_another_key_is_another_signer(key: Path, tmp_path: Path) -> None:
    strangers = tmp_path / "stranger.key"
    make_key(strangers)
    archive = written(tmp_path, pack(cases.bundle(), strangers))
    assert "failed to verify JWT signature" in opa.refuses(*words(archive, key))
    with pytest.raises(PolicyUnsignedError, match="not signed with the key of"):
        load(archive, public(key))


def test_what_this_key_signed_for_another_purpose_is_no_policy(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "SCOPE", "billing")
    archive = written(tmp_path, pack(cases.bundle(), key))
    monkeypatch.undo()
    assert "scope mismatch" in opa.refuses(*words(archive, key))
    with pytest.raises(PolicyUnsignedError):
        load(archive, public(key))


def test_a_signature_over_what_another_version_packed_is_not_enough_for_the_broker(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one over a server that lets everybody change it: only what this version packs is taken."""
    monkeypatch.setattr(signed, "GUARD", "package system.authz\n\nallow := true\n")
    archive = pack(cases.bundle(), key)
    monkeypatch.undo()
    with pytest.raises(PolicyUnsignedError, match="packed by another version"):
        unpack(archive, public(key))


def _link() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo("main.rego")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    return out.getvalue()


@pytest.mark.parametrize("archive", [b"", b"\x1f\x8b", b"nonsense", _link(), signed._archived({"big": bytes(5 << 20)})])
def test_what_is_no_bundle_is_refused_before_anything_of_it_is_believed(archive: bytes, key: Path) -> None:
    with pytest.raises(PolicyUnsignedError):
        unpack(archive, public(key))


# --- keys ------------------------------------------------------------------------------------------------------------------------


def test_a_bundle_without_a_key_beside_it_is_refused(key: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="policies_key_file"):
        load(written(tmp_path, pack(cases.bundle(), key)), None)


def test_a_key_that_others_can_read_a_public_one_and_one_of_another_kind_sign_nothing(key: Path, tmp_path: Path) -> None:
    shown = shutil.copy(key, tmp_path / "shown")
    Path(shown).chmod(0o644)
    other = tmp_path / "other"
    other.write_bytes(
        ec.generate_private_key(ec.SECP384R1()).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    half = Path(shutil.copy(public(key), tmp_path / "half"))
    nothing = tmp_path / "nothing"
    nothing.write_text("")
    for path in (other, half, nothing):
        path.chmod(0o600)
    for path, why in ((Path(shown), "read by others"), (other, "P-384"), (half, "public key"), (nothing, "no key in PEM"), (tmp_path / "absent", "No such file")):
        with pytest.raises(ConfigurationError, match=why):
            pack(cases.bundle(), path)


def test_no_key_is_made_over_another(key: Path) -> None:
    with pytest.raises(FileExistsError):
        make_key(key)


# --- a server that was started so can be asked, and not changed --------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaPolicy]:
    archive = written(tmp_path_factory.mktemp("bundle"), pack(cases.bundle(), key))
    with opa.serving(*words(archive, key)) as url:
        policy = OpaPolicy(url, cases.bundle(), timeout=PATIENT)
        yield policy
        policy.close()


def _called(server: OpaPolicy, method: str, path: str, **body: object) -> int:
    return requests.request(method, f"{server._mine().root_url}/{path}", timeout=PATIENT, **body).status_code  # type: ignore[arg-type]


REFUSED: Final = [
    ("PUT", "policies/extra", {"data": 'package sulku.tunnel\n\ncleared contains "not-yours" if true\n'}),
    ("PUT", "policies/system/authz", {"data": "package system.authz\n\nallow := true\n"}),
    ("DELETE", "policies/main.rego", {}),
    ("PUT", "data/thresholds/active", {"json": "default"}),
    ("PATCH", "data/thresholds", {"json": [{"op": "replace", "path": "active", "value": "default"}]}),
    ("DELETE", "data/thresholds", {}),
    ("POST", "query", {"json": {"query": "data"}}),
    ("POST", "compile", {"json": {"query": "data.sulku.sealed"}}),
    ("POST", "data/sulku", {"json": {"input": {}}}),
    ("GET", "data", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), REFUSED, ids=[f"{method} {path}" for method, path, _ in REFUSED])
def test_whatever_is_no_question_is_refused(server: OpaPolicy, method: str, path: str, body: dict[str, object]) -> None:
    assert _called(server, method, path, **body) == 401
    server.compare()  # and nothing has changed


def test_the_same_writes_are_taken_by_a_server_that_is_not_closed() -> None:
    """Otherwise the test above would pass with requests that no server takes."""
    with opa.serving() as url:
        policy = OpaPolicy(url, cases.bundle(), timeout=PATIENT)
        policy.publish()
        taken = {(method, path) for method, path, body in REFUSED if _called(policy, method, path, **body) < 300}
        assert taken == {(method, path) for method, path, _ in REFUSED}
        policy.close()


def test_the_broker_asks_and_compares_and_cannot_publish(server: OpaPolicy) -> None:
    assert server.ask(ask("tunnel.close"))
    with pytest.raises(PolicyUnavailableError):
        server.publish()
    assert server.ask(ask("tunnel.close"))


def test_a_broker_that_holds_other_rules_than_the_server_gets_no_answer(server: OpaPolicy) -> None:
    thresholds = "data/thresholds.json"
    other = policies.bundle({**cases.bundle().files, thresholds: cases.bundle().files[thresholds].replace("209715200", "1")})
    policy = OpaPolicy(server._mine().root_url.removesuffix("/v1"), other, timeout=PATIENT)
    with pytest.raises(PolicyUnavailableError, match="other rules"):
        policy.ask(ask("tunnel.close"))
    policy.close()


@pytest.mark.parametrize("signs", [True, False])
def test_rules_are_published_from_a_folder_for_a_demonstration_and_never_where_they_are_signed(signs: bool, key: Path, tmp_path: Path) -> None:
    where = {"policies": written(tmp_path, pack(cases.bundle(), key)), "policies_key_file": public(key)} if signs else {"policies": cases.ROOT}
    with opa.serving() as url, tempfile.TemporaryDirectory() as short:  # sockets of a state folder need a short path
        manage.init(Path(short))
        wired = wire(Settings(state=Path(short), policy_engine="opa", opa_url=url, opa_seconds=5, **where))
        publish(wired)
        there = requests.get(f"{url}/v1/policies", timeout=PATIENT).json()["result"]
        assert bool(there) is not signs


# --- a site changes a threshold ------------------------------------------------------------------------------------------------------


def _edited(folder: Path) -> Path:
    """The site's own copy of the policies, in which a steward may add 1 MiB to a tunnel's budget at a time and no more."""
    shutil.copytree(cases.ROOT, folder / "policies")
    file = folder / "policies" / "data" / "thresholds.json"
    told = json.loads(file.read_text())
    told["profiles"]["strict"]["top_up_bytes"] = 1 << 20
    file.write_text(json.dumps(told))
    return folder / "policies"


def test_an_operator_edits_signs_checks_and_the_new_digest_is_what_decisions_name(tmp_path: Path) -> None:
    shell = partial(CliRunner().invoke, manage.app, catch_exceptions=False)
    key, archive = tmp_path / "policies.key", tmp_path / "bundle.tar.gz"
    assert shell(["policies", "key", str(key)]).exit_code == 0
    words_ = ["--policies", str(_edited(tmp_path)), "--profile", "strict", "--key", str(key), "--output", str(archive)]
    made = shell(["policies", "bundle", *words_]).stdout.strip()
    assert shell(["policies", "check", str(archive), "--key", str(public(key))]).stdout.strip() == made
    rules: Bundle = load(archive, public(key), profile="strict")
    with opa.serving(*words(archive, key)) as url:
        policy = OpaPolicy(url, rules, timeout=PATIENT)
        assert policy.ask(ask("tunnel.close")).basis.policy == made != cases.bundle().sha256
        assert policy._get("data/thresholds")["profiles"]["strict"]["top_up_bytes"] == 1 << 20
        policy.close()


def test_production_takes_no_bundle_whose_profile_is_not_strict(key: Path, tmp_path: Path) -> None:
    archive = written(tmp_path, pack(cases.bundle(), key))
    with pytest.raises(ConfigurationError, match="'default' in force; here it must be 'strict'"):
        load(archive, public(key), profile="strict")
