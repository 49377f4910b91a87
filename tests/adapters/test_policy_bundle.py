"""The bundle: one byte form, one digest, and from it alone each decision can be made again, bit for bit."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from broker.adapters import policy
from sulku import policies
from sulku.decisions import policy_input
from sulku.errors import BundleError, ConfigurationError, PolicyUnavailableError, SulkuError
from sulku.ledger.canonical import canonical
from tests.policies import cases


def test_the_order_of_files_does_not_matter_and_their_text_does() -> None:
    bundle = cases.bundle()
    assert policies.bundle(dict(reversed(bundle.files.items()))).sha256 == bundle.sha256
    assert hashlib.sha256(bundle.data).hexdigest() == bundle.sha256
    for path, text in bundle.files.items():
        assert policies.bundle({**bundle.files, path: text + "\n"}).sha256 != bundle.sha256


def test_it_is_rebuilt_from_its_bytes() -> None:
    assert policies.parse(cases.bundle().data) == cases.bundle()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"v":1}',
        cases.bundle().data + b" ",
        cases.bundle().data.replace(b'"sulku-policy/1"', b'"sulku-policy/2"'),
        b'{"files":{"a.rego":1},"schema":"sulku-policy/1","v":1}',
        b'{"files":{"a.py":"x"},"schema":"sulku-policy/1","v":1}',
        b'{"files":[],"schema":"sulku-policy/1","v":1}',
    ],
)
def test_nothing_else_is_a_bundle(data: bytes) -> None:
    with pytest.raises(BundleError):
        policies.parse(data)


def test_every_decision_is_made_again_bit_for_bit() -> None:
    evaluator = policies.Evaluator(cases.bundle())
    for case in cases.every()[::20]:
        asked = canonical(case.document).decode()
        assert policies.replay(cases.bundle().data, asked) == evaluator.answer(asked)


def test_a_replay_under_other_rules_shows() -> None:
    """Otherwise the test above would pass with any rules."""
    case = next(case for case in cases.every() if case.because == ("too-much",))
    asked = canonical(case.document).decode()
    path = "data/thresholds.json"
    lax = policies.bundle({**cases.bundle().files, path: cases.bundle().files[path].replace("209715200", "999999999")})
    assert policies.replay(lax.data, asked) != policies.replay(cases.bundle().data, asked)


def test_a_replay_needs_nothing_of_the_broker() -> None:
    """The offline client replays with the core and regorus alone."""
    asked = canonical(cases.every()[0].document).decode()
    program = (
        "import sys; sys.modules['broker'] = None\n"
        "from sulku.policies import replay\n"
        "bundle, asked = sys.stdin.buffer.read().split(b'\\n', 1)\n"
        "print(replay(bundle, asked.decode()), end='')"
    )
    source = str(Path(policies.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=cases.bundle().data + b"\n" + asked.encode(),
        env={"PYTHONPATH": source},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode() == policies.replay(cases.bundle().data, asked)


def test_a_profile_is_put_in_force_and_shows_in_the_digest() -> None:
    strict = policy.read(cases.ROOT, profile="strict")
    assert strict.sha256 != cases.bundle().sha256
    spec = cases.specifications()["tunnel.open"]
    asked = canonical(policy_input(cases.question("tunnel.open", spec))).decode()
    assert json.loads(policies.replay(strict.data, asked))["reasons"] == ["mfa-required"]
    assert json.loads(policies.replay(cases.bundle().data, asked))["allow"]


def test_cases_are_no_part_of_it(tmp_path: Path) -> None:
    shutil.copytree(cases.ROOT, tmp_path / "policies")
    shutil.rmtree(tmp_path / "policies" / "cases")
    assert policy.read(tmp_path / "policies") == cases.bundle()


def test_a_folder_without_tables_or_a_profile_that_nobody_wrote(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        policy.read(tmp_path)
    with pytest.raises(ConfigurationError):
        policy.read(cases.ROOT, profile="lenient")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("main.rego", "package sulku\n"),  # no decision at all
        ("main.rego", "package sulku\n\ndecision if"),
        ("main.rego", "package sulku\n\ndecision := true\n"),
        ("main.rego", 'package sulku\n\ndecision := {"allow": true, "reasons": ["no"], "obligations": {}}\n'),
        ("main.rego", 'package sulku\n\ndecision := {"allow": false, "reasons": [], "obligations": {}}\n'),
        ("main.rego", 'package sulku\n\ndecision := {"allow": true, "reasons": []}\n'),
        ("main.rego", 'package sulku\n\ndecision := {"allow": true, "reasons": [], "obligations": {}} if input.nothing\n'),
        ("tunnel.rego", "package sulku.tunnel\n\ncleared contains reason if reason == undefined_name\n"),
    ],
)
def test_rules_that_give_no_answer_give_no_yes(path: str, text: str) -> None:
    query = cases.question("tunnel.close", cases.specifications()["tunnel.close"])
    with pytest.raises(PolicyUnavailableError):
        policies.replay(policies.bundle({**cases.bundle().files, path: text}).data, canonical(policy_input(query)).decode())


def test_what_is_no_json_gets_no_answer() -> None:
    evaluator = policies.Evaluator(cases.bundle())
    for asked in ("", "{", "nonsense"):
        with pytest.raises(PolicyUnavailableError):
            evaluator.answer(asked)
    assert evaluator.answer(canonical(cases.every()[0].document).decode())  # and it goes on answering


def test_more_people_than_the_compiled_program_can_walk_still_get_an_answer() -> None:
    case = next(case for case in cases.every() if case.action == "application.judge" and not case.because)
    ben = case.document["about"]["person"]["0"]
    crowd = {str(n): {**ben, "id": f"{ben['id'][:-4]}{n:04d}"} for n in range(150)}
    form = {**case.document["target"]["form"], "people": [one["id"] for one in crowd.values()]}
    document = {**case.document, "target": {**case.document["target"], "form": form}, "about": {**case.document["about"], "person": crowd}}
    evaluator = policies.Evaluator(cases.bundle())
    assert json.loads(evaluator.answer(canonical(document).decode()))["allow"]
    crowd["149"]["organisation"] = document["subject"]["organisation"]
    assert json.loads(evaluator.answer(canonical(document).decode()))["reasons"] == ["same-organisation"]


def test_an_engine_used_by_the_wrong_thread_says_no_and_harms_nothing() -> None:
    evaluator = policies.Evaluator(cases.bundle())
    asked = canonical(cases.every()[0].document).decode()
    caught: list[SulkuError] = []

    def elsewhere() -> None:
        try:
            evaluator.answer(asked)
        except SulkuError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [type(error) for error in caught] == [PolicyUnavailableError]
    assert evaluator.answer(asked)


@pytest.mark.parametrize("lives_on", [True, False])
def test_an_engine_that_another_thread_drops_is_dropped_by_its_own(lives_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector runs in any thread, and may find an evaluator in the frames of a failure. The engine's objects complain, and are never freed."""
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    box: list[policies.Evaluator] = []
    made, dropped = threading.Event(), threading.Event()
    asked = canonical(cases.every()[0].document).decode()

    def make() -> None:
        box.append(policies.Evaluator(cases.bundle()))
        box[0].interpret(asked)
        made.set()
        if lives_on:
            assert dropped.wait(60)
            assert policies.Evaluator(cases.bundle()).answer(asked), "and it goes on answering"
            assert len(policies._engines.made) == 1, "what nobody has any more is not kept"

    thread = threading.Thread(target=make)
    thread.start()
    assert made.wait(60)
    if not lives_on:
        thread.join(60)
    box.clear()
    gc.collect()
    dropped.set()
    thread.join(60)
    assert complaints == []


def test_the_reference_page_is_the_tables() -> None:
    folder = cases.ROOT.parent / "docs" / "reference"
    made = subprocess.run([sys.executable, folder / "permissions.py"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert (folder / "permissions.md").read_text() == made
