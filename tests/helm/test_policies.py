"""Policies in the chart: OPA takes a signed bundle and nothing else, the broker beside it reads the same one, and a site brings its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from broker.adapters import policy
from broker.adapters.policy_signed import load, make_key, pack
from sulku.errors import PolicyUnsignedError
from tests.adapters.test_policy_signed import public, spoilt, words
from tests.helm.test_chart import CHART, of, refused, rendered
from tests.helm.test_parts import containers, faults, pods, told
from tests.policies import cases

KEY: Final = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
OWN: Final[dict[str, Any]] = {"policies": {"key": KEY, "bundle": "policies-2026-11"}}
ASKERS: Final = ("broker", "worker")
READERS: Final = (*ASKERS, "prepare")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "policies.key"
    make_key(path)
    return path


def named(pod: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in containers(pod) if one["name"] == name]
    return found


@pytest.mark.parametrize("given", [{}, OWN], ids=["the image's", "the site's own"])
def test_opa_is_started_as_the_tests_of_signed_bundles_start_it(given: dict[str, Any]) -> None:
    """Whatever those tests show with a real OPA (tests/adapters/test_policy_signed.py), holds for this one."""
    for part in ASKERS:
        opa = named(pods(rendered(given))[part], "opa")
        assert opa["args"][-6:-1] == [one.replace("key.pub", "key.pem") for one in words(Path("/rules/bundle.tar.gz"), Path("/rules/key"))][:-1]
        assert opa["args"][-2:] == ["--bundle", "/rules/bundle.tar.gz"]
        assert opa["args"][0:3] == ["run", "--server", "--addr=127.0.0.1:8181"]
        assert opa["volumeMounts"] == [{"name": "rules", "mountPath": "/rules", "readOnly": True}]
        assert "--skip-verify" not in opa["args"]


def test_without_values_the_image_vouches_for_itself() -> None:
    assert (told()["SULKU_POLICIES"], told()["SULKU_POLICIES_KEY_FILE"]) == ("/opt/sulku/bundles/demo.tar.gz", "/opt/sulku/bundles/key.pem")


def test_a_bundle_of_the_site_reaches_everybody_who_reads_policies_and_nobody_else() -> None:
    found = rendered(OWN)
    assert faults(found) == set()
    settings = of("ConfigMap", found)["settings"]["data"]
    assert of("ConfigMap", found)["policies-key"]["data"] == {"key.pem": KEY}
    readers = {part: {one["mountPath"] for each in containers(pod) for one in each.get("volumeMounts", [])} for part, pod in pods(found).items()}
    for name, file in (("SULKU_POLICIES", "bundle.tar.gz"), ("SULKU_POLICIES_KEY_FILE", "key.pem")):
        folder, _, last = settings[name].rpartition("/")
        assert last == file
        assert {part for part, mounted in readers.items() if folder in mounted} == set(READERS)
    for part in READERS:
        volumes = {one["name"]: one.get("configMap", {}).get("name") for one in pods(found)[part]["spec"]["volumes"]}
        assert (volumes["policies"], volumes["policies-key"]) == ("policies-2026-11", "policies-key")
    for part in ASKERS:
        laid = {one["mountPath"] for one in named(pods(found)[part], "rules")["volumeMounts"]}
        assert {"/run/sulku/policies", "/run/sulku/policies-key", "/rules"} <= laid


def test_a_bundle_by_another_name_and_another_key_start_anew_whoever_reads_them() -> None:
    before = pods(rendered(OWN))

    def changed(given: dict[str, str]) -> set[str]:
        return {part for part, pod in pods(rendered({"policies": {**OWN["policies"], **given}})).items() if pod != before[part]}

    assert changed({"bundle": "policies-2026-12"}) == set(READERS)
    assert set(READERS) <= changed({"key": KEY.replace("MFkw", "MFkx")}) <= {*READERS, "issuer"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a bundle without a key": ({"policies": {"bundle": "mine"}}, "needs the public key that vouches for it"),
    "a private key": ({"policies": {"key": KEY.replace("PUBLIC", "PRIVATE")}}, "policies.key is a public key in PEM"),
    "a file's name": ({"policies": {"key": "policies.key.pub"}}, "policies.key is a public key in PEM"),
    "production that believes the image": ({"mode": "production"}, "in production a key of your own vouches for the policies"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_value_is_refused_with_a_sentence(what: str) -> None:
    given, sentence = REFUSED[what]
    assert sentence in refused(given)


# --- what the step before OPA does ---------------------------------------------------------------------------------------------------

STEPS: Final = CHART.parents[1] / "hub" / "images" / "server" / "steps.py"


def laid(folder: Path, archive: bytes, key: Path) -> subprocess.CompletedProcess[str]:
    """Run the step `rules` as the chart does, and return what it said."""
    (folder / "bundle.tar.gz").write_bytes(archive)
    (folder / "rules").mkdir()
    given = {"SULKU_POLICIES": str(folder / "bundle.tar.gz"), "SULKU_POLICIES_KEY_FILE": str(key), "SULKU_STATE": str(folder / "state")}
    path = {"PYTHONPATH": f"{STEPS.parents[3]}:{STEPS.parents[3] / 'src'}"}
    command = [sys.executable, str(STEPS), "rules", str(folder / "rules")]
    return subprocess.run(command, env=os.environ | given | path, capture_output=True, text=True, timeout=120, check=False)


def test_the_step_lays_the_bundle_and_its_key_before_opa(key: Path, tmp_path: Path) -> None:
    archive = pack(cases.bundle(), key)
    done = laid(tmp_path, archive, public(key))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rules" / "bundle.tar.gz").read_bytes() == archive
    assert (tmp_path / "rules" / "key.pem").read_bytes() == public(key).read_bytes()


def test_the_step_refuses_a_changed_bundle_in_a_sentence_and_lays_nothing(key: Path, tmp_path: Path) -> None:
    done = laid(tmp_path, spoilt("a threshold changed", key), public(key))
    assert done.returncode == PolicyUnsignedError.exit
    assert "the policies were changed after they were signed" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert list((tmp_path / "rules").iterdir()) == []


@pytest.mark.parametrize("given", [True, False])
def test_the_images_own_bundles_are_signed_with_the_key_of_the_build_or_with_one_for_once(given: bool, key: Path, tmp_path: Path) -> None:
    secret, made = key if given else tmp_path / "absent", tmp_path / "bundles"
    program = STEPS.with_name("build.py")
    path = {"PYTHONPATH": f"{STEPS.parents[3]}:{STEPS.parents[3] / 'src'}"}
    subprocess.run([sys.executable, str(program), str(made), str(secret)], cwd=cases.ROOT.parent, env=os.environ | path, timeout=120, check=True)
    assert {one.name for one in made.iterdir()} == {"demo.tar.gz", "production.tar.gz", "key.pem"}
    assert ((made / "key.pem").read_bytes() == public(key).read_bytes()) is given
    assert load(made / "demo.tar.gz", made / "key.pem") == cases.bundle()
    assert load(made / "production.tar.gz", made / "key.pem", profile="strict") == policy.read(cases.ROOT, profile="strict")
