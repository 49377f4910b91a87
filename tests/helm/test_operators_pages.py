"""What an operator is told to write down is taken by the code: the values by the chart, the settings by the broker."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from broker.settings import Settings, load
from sulku.soundness import CHECKS
from tests.cluster.programs import KUBERNETES, program

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "how-to" / "operator"


def block(page: str, language: str) -> str:
    """Return the first block of a page in ``language``, with a digest where it says ``…``."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1].replace("sha256:…", "sha256:" + "0" * 64)


def helm(values: str, *words: str) -> str:
    command = [str(program("helm")), "template", "sulku", str(ROOT / "helm" / "sulku"), "-n", "sulku", "--kube-version", KUBERNETES, "-f", "-", *words]
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else f"refused: {done.stderr}"


def test_the_values_of_a_trial_are_taken_by_the_chart_and_give_every_part() -> None:
    made = helm(block("install-on-kubernetes.md", "yaml"))
    assert not made.startswith("refused"), made[:500]
    for part in ("broker", "gateway", "hub", "worker", "postgres", "redis", "issuer", "canary"):
        assert re.search(rf"kind: (Deployment|StatefulSet)\nmetadata:\n  name: {part}\n", made), part


def test_the_guards_alone_are_what_comes_without_an_image_of_our_parts() -> None:
    made = helm(block("install-on-kubernetes.md", "yaml"), "--set", "images.server=")
    assert "kind: ValidatingAdmissionPolicy" in made
    assert not re.search(r"kind: (Deployment|StatefulSet|Job|Secret)\n", made)


def test_a_value_that_is_wrong_is_refused() -> None:
    assert "a tag can come to mean another image" in helm(block("install-on-kubernetes.md", "yaml").replace("workspace@sha256:" + "0" * 64, "workspace:latest"))


def test_the_settings_for_the_doctor_are_taken_and_mean_the_same_place_as_the_values(tmp_path: Path) -> None:
    for page in ("install-on-kubernetes.md", "doctor.md"):
        (tmp_path / "settings.json").write_text(block(page, "json"))
        found = load(tmp_path)
        assert isinstance(found, Settings)
        assert found.place is not None
        assert found.place.gateway == (found.namespace, {"app.kubernetes.io/component": "gateway"})
    told = json.loads(block("install-on-kubernetes.md", "json"))["place"]
    made = helm(block("install-on-kubernetes.md", "yaml"))
    place = json.loads(json.loads(re.search(r'SULKU_PLACE: (".*")', made)[1]))  # type: ignore[index]
    assert {name: place[name] for name in told} == told


def test_every_check_of_a_cluster_is_named_among_what_a_cluster_must_provide() -> None:
    named = set(re.findall(r"`([a-z0-9-]+)`", (FOLDER / "cluster-requirements.md").read_text(encoding="utf-8")))
    assert len(CHECKS) > 20
    assert {name for name in CHECKS if name not in named} == {"clean-up"}
