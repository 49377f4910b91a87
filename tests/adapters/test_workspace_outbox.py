"""The small client inside the workspace: what it hands in is whole, and what it cannot hand in it says at once."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.adapters.sandboxes import IMAGE


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give the client, at home in a folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("sulku_outbox", IMAGE / "sulku_outbox.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sulku_outbox", module)
    spec.loader.exec_module(module)
    (tmp_path / "table.csv").write_text("sex,n\nf,12\nm,15\n")
    return module


def test_a_submission_appears_whole_with_its_manifest(client: ModuleType, tmp_path: Path) -> None:
    entry = {"name": "table.csv", "kind": "frequency table", "columns": {"n": "count"}, "persons": "n"}
    made = client.submit(["table.csv"], title=" By sex ", context="27 persons", manifest={"files": [entry]})
    folder = tmp_path / "outbox" / made.name
    assert sorted(one.name for one in folder.iterdir()) == ["manifest.json", "table.csv"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == {"title": "By sex", "context": "27 persons", "files": [entry]}
    (tmp_path / "table.csv").write_text("changed later")
    assert (folder / "table.csv").read_text().startswith("sex")


def test_the_answer_is_read_back(client: ModuleType, tmp_path: Path) -> None:
    made = client.submit(["table.csv"], title="By sex")
    assert [one.state for one in client.status()] == ["waiting"]
    refused = {"refused": {"code": "too-many-files", "detail": "too many", "remedy": "Send fewer."}}
    (tmp_path / "outbox" / made.name / "receipt.json").write_text(json.dumps(refused))
    assert client.wait(made, 1).state == "refused"
    assert "Send fewer." in str(client.status()[0])
    (tmp_path / "outbox" / made.name / "receipt.json").write_text(json.dumps({"release": "rel_1"}))
    assert str(client.status()[0]).endswith("under review as rel_1")


def test_what_cannot_leave_is_refused_here_and_nothing_is_handed_in(client: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("table.csv")
    (tmp_path / "model.pkl").write_bytes(b"x")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "a\u202eb.csv").write_text("x")
    (tmp_path / "big.csv").write_bytes(bytes(client.MOST_BYTES + 1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "table.csv").write_text("x")
    wrong = ["link.csv", "model.pkl", "empty.csv", "folder.csv", "a\u202eb.csv", "big.csv", "none.csv"]
    for files in ([], *[[name] for name in wrong], ["table.csv", "other/table.csv"]):
        with pytest.raises(client.SubmissionError):
            client.submit(files, title="T")
    with pytest.raises(client.SubmissionError):
        client.submit(["table.csv"], title=" ")
    with pytest.raises(client.SubmissionError):
        client.submit(["table.csv"], title="T", manifest={"files": [{"name": "none.csv"}]})
    assert not (tmp_path / "outbox").exists()


def test_the_command_line_does_the_same(client: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"files": [{"name": "table.csv", "kind": "statistics"}]}))
    assert client.main(["submit", "table.csv", "--title", "By sex", "--manifest", "m.json"]) == 0
    assert client.main(["status"]) == 0
    assert "waiting" in capsys.readouterr().out
    assert client.main(["submit", "none.csv", "--title", "T"]) == 2
    assert "nothing was handed in" in capsys.readouterr().err
