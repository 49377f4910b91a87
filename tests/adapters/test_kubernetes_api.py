"""How the API server is found: a way there that anybody could stand in is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from broker.adapters.kubernetes_api import Api
from sulku.errors import ClusterUnavailableError, ConfigurationError


def kubeconfig(folder: Path, **server: object) -> str:
    told = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", **server}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(told))
    return str(path)


def test_a_file_that_believes_whoever_answers_is_refused_and_one_that_does_not_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="insecure-skip-tls-verify"):
        Api.connect(kubeconfig(tmp_path, **{"insecure-skip-tls-verify": True}))
    assert Api.connect(kubeconfig(tmp_path)).calls == 0


def test_no_file_and_no_pod_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterUnavailableError):
        Api.connect()
