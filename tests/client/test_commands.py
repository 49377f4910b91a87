"""The command line does what the pages do: against a real broker, with exit statuses that scripts can rely on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sulku import errors
from sulku.errors import InvalidInputError
from sulku_client.cli import app
from sulku_client.commands.applications import wanted
from sulku_client.commands.releases import marks
from sulku_client.http import exit_of, file_name
from tests.client.conftest import Line
from tests.web.rig import Rig

Lines = Callable[..., Line]


def draft(line: Line) -> str:
    today = line.rig.clock.now().date()
    result = line.json(
        "applications", "draft", "--title", "A study of chains", "--purpose", "Whether light chains predict death.",
        "--basis", "Act 552/2019", "--outputs", "Tables of counts", "--dataset", f"{line.rig.dataset}@2026-1:age",
        "--starts", str(today), "--ends", str(today + timedelta(days=20)),
    )  # fmt: skip
    return str(result["record"]["id"])


def approve(lines: Lines) -> str:
    aino = lines("aino")
    application = draft(aino)
    assert aino.run("applications", "submit", application).exit_code == 0
    assert lines("sanna").run("applications", "judge", application, "approve").exit_code == 0
    answer = lines("sami").json("applications", "judge", application, "approve")
    return str(answer["record"]["permit"])


def keys(rig: Rig) -> list[str]:
    return ["--key", rig.ports.signer.key.public.vkey]  # type: ignore[attr-defined]


def test_from_draft_to_a_permit_that_verifies_offline(line: Lines, tmp_path: Path) -> None:
    permit = approve(line)
    aino = line("aino")
    assert permit in aino.run("permits", "list").stdout
    paper, statuses = tmp_path / "permit.json", tmp_path / "status.json"
    assert aino.run("permits", "paper", permit, "--to", str(paper)).exit_code == 0
    assert line("").run("permits", "status", "--to", str(statuses)).exit_code == 0
    offline = Line(aino.rig, tmp_path / "elsewhere")
    words = ["permits", "verify", str(paper), "--status", str(statuses), *keys(aino.rig)]
    checked = offline.run(*words, SULKU_SERVER="http://127.0.0.1:1")
    assert checked.exit_code == 0, checked.stderr
    assert "A study of chains" in checked.stdout
    edited = json.loads(paper.read_text())
    edited["payload"] = edited["payload"][:-8] + "AAAA" + edited["payload"][-4:]
    paper.write_text(json.dumps(edited))
    assert offline.run("permits", "verify", str(paper), *keys(aino.rig)).exit_code == 7


def test_saving_keeps_the_answers_that_are_left_out(line: Lines) -> None:
    aino = line("aino")
    application = draft(aino)
    aino.json("applications", "draft", application, "--title", "Another title")
    form = aino.json("applications", "show", application)["form"]
    assert (form["title"], form["basis"]) == ("Another title", "Act 552/2019")


def test_the_ledger_is_exported_and_verified_without_the_server_and_a_changed_byte_is_found(line: Lines, tmp_path: Path) -> None:
    approve(line)
    auli, bundle = line("auli"), tmp_path / "ledger.zip"
    exported = auli.run("ledger", "export", "--to", str(bundle))
    assert exported.exit_code == 0, exported.stderr
    offline = Line(auli.rig, tmp_path / "elsewhere")
    report = offline.run("ledger", "verify", str(bundle), *keys(auli.rig), "--json", SULKU_SERVER="http://127.0.0.1:1")
    assert report.exit_code == 0, report.stderr
    assert json.loads(report.stdout)["anchored"] is True
    assert "fingerprints" in offline.run("ledger", "verify", str(bundle)).stdout
    data = bytearray(bundle.read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        entry = next(one for one in archive.infolist() if "entries" in one.filename)
        place = entry.header_offset + 30 + len(entry.filename) + entry.file_size // 2
    data[place] ^= 1
    bundle.write_bytes(data)
    broken = offline.run("ledger", "verify", str(bundle), *keys(auli.rig))
    assert broken.exit_code == 7
    assert "No:" in broken.stderr


def test_searching_pages_through_the_ledger(line: Lines) -> None:
    approve(line)
    auli = line("auli")
    first = auli.json("ledger", "search", "--most", "2")
    second = auli.json("ledger", "search", "--most", "2", "--before", str(first["before"]))
    assert first["entries"][-1]["index"] > second["entries"][0]["index"]
    assert "More: --before" in auli.run("ledger", "search", "--most", "2").stdout
    assert auli.run("ledger", "check").exit_code == 0
    decision = next(one["clearance"]["decision"] for one in first["entries"] + second["entries"] if one["clearance"].get("decision"))
    assert auli.run("ledger", "replay", decision).exit_code == 0


def test_the_head_is_for_everybody_and_can_be_kept(line: Lines, tmp_path: Path) -> None:
    line("auli").run("ledger", "export", "--to", str(tmp_path / "bundle.zip"))
    kept = tmp_path / "checkpoint"
    assert line("").run("ledger", "head", "--to", str(kept)).exit_code == 0
    assert line("auli").run("ledger", "consistent", str(kept)).exit_code == 0
    assert line("").run("register", "list").exit_code == 0
    assert line("").run("datasets", "list").exit_code == 0


def test_every_refusal_says_what_why_and_what_next(line: Lines) -> None:
    result = line("aino").run("people", "list")
    assert result.exit_code == 3
    assert [part in result.stderr for part in ("No:", "Why: role-not-allowed", "Next:")] == [True, True, True]
    assert "dec_" in result.stderr
    assert result.stdout == ""
    document = json.loads(line("aino").run("people", "list", "--json").stderr)
    assert (document["code"], document["status"]) == ("denied", 403)


@pytest.mark.parametrize(
    ("who", "words", "status"),
    [
        ("aino", ["permits", "frobnicate"], 2),
        ("aino", ["permits", "show"], 2),
        ("aino", ["applications", "draft", "--dataset", "nonsense"], 2),
        ("aino", ["applications", "draft", "--starts", "1999-99-99999"], 2),
        ("aino", ["people", "list"], 3),
        ("", ["permits", "list"], 3),
        ("aino", ["permits", "show", "per_0000000000000000"], 4),
        ("aino", ["applications", "submit", "app_0000000000000000"], 3),
    ],
)
def test_exit_statuses_tell_the_families_apart(line: Lines, who: str, words: list[str], status: int) -> None:
    assert line(who).run(*words).exit_code == status


def test_a_conflict_and_a_broker_that_is_away_have_their_own_exit_status(line: Lines) -> None:
    aino = line("aino")
    application = draft(aino)
    assert aino.run("applications", "submit", application).exit_code == 0
    assert aino.run("applications", "submit", application).exit_code == 5
    away = aino.run("permits", "list", "--server", "http://127.0.0.1:1")
    assert away.exit_code == 6
    assert "server-unreachable" in away.stderr


def test_every_code_of_the_tree_has_the_exit_status_of_its_class() -> None:
    assert exit_of(errors.LedgerBrokenError.code, 500) == 7
    assert exit_of(errors.StaleError.code, 409) == 5
    assert exit_of("a-code-of-the-future", 404) == 4
    assert exit_of("a-code-of-the-future", 599) == 6


def test_what_cannot_be_undone_needs_a_yes(line: Lines) -> None:
    aino = line("aino")
    application = draft(aino)
    refused = aino.run("applications", "withdraw", application)
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert aino.json("applications", "show", application)["state"] == "draft"
    assert aino.run("applications", "withdraw", application, "--yes").exit_code == 0
    assert aino.json("applications", "show", application)["state"] == "withdrawn"


def test_roles_are_chosen_once_or_from_now_on(line: Lines) -> None:
    sanna = line("sanna")
    assert sanna.json("role")["role"] == "steward"
    assert sanna.json("whoami", "--as", "researcher")["role"] == "researcher"
    assert sanna.json("role", "researcher")["role"] == "researcher"
    assert sanna.json("whoami")["role"] == "researcher"
    assert sanna.run("role", "auditor").exit_code == 4
    assert sanna.json("whoami")["role"] == "researcher"


def test_operators_keep_the_directory(line: Lines) -> None:
    otto = line("otto")
    made = otto.json(
        "people", "register", "--name", "Eeva", "--email", "eeva@example.org", "--organisation", "north", "--role", "researcher"
    )
    person = made["record"]["id"]
    assert otto.json("people", "roles", person, "--role", "steward")["record"]["roles"] == ["steward"]
    assert otto.run("people", "unbind", person, "--reason", "a new account there", "--yes").exit_code == 5  # nothing is bound yet
    assert line("risto").run("whoami").exit_code == 0
    risto = otto.rig.ids["risto"]
    assert otto.run("people", "unbind", risto, "--reason", "a new account there").exit_code == 2  # nobody said that they are sure
    assert otto.json("people", "unbind", risto, "--reason", "a new account there", "--yes")["record"]["subject"] == ""
    assert line("risto").run("whoami").exit_code == 3  # the token from before
    assert otto.run("people", "leave", person, "--reason", "left us", "--yes").exit_code == 0
    assert person in otto.run("people", "list").stdout


def test_a_steward_catalogues_a_dataset_and_a_mistyped_entry_is_refused_field_by_field(line: Lines, tmp_path: Path) -> None:
    entry: dict[str, Any] = {
        "name": "falls", "title": "Falls", "description": "", "controller": "The authority", "sensitivity": "special", "terms": "",
        "edition": {
            "version": "1", "digest": "0" * 64, "persons": 2, "person_key": "person",
            "files": [{"name": "a.csv", "size": 10, "rows": 2, "sha256": "1" * 64}],
            "variables": [{"name": "person", "kind": "integer"}],
        },
    }  # fmt: skip
    file, sanna = tmp_path / "entry.json", line("sanna", "steward")
    file.write_text(json.dumps(entry | {"title": "Fa\u202ells", "edition": entry["edition"] | {"variables": entry["edition"]["variables"] * 2}}))
    refused = sanna.run("datasets", "catalogue", "--from", str(file))
    assert refused.exit_code == 2
    assert "title: unsafe-text: " in refused.stderr
    assert "edition.variables[1].name: duplicate: " in refused.stderr
    file.write_text(json.dumps(entry))
    dataset = sanna.json("datasets", "catalogue", "--from", str(file))["record"]["id"]
    assert sanna.json("datasets", "show", dataset)["editions"][0]["variables"] == [{"name": "person", "kind": "integer", "label": ""}]
    file.write_text(json.dumps(entry["edition"] | {"version": "2"}))
    assert sanna.run("datasets", "revise", dataset, "--from", str(file)).exit_code == 0


def test_a_tunnel_is_asked_for_and_closed(line: Lines) -> None:
    permit = approve(line)
    aino = line("aino")
    tunnel = aino.json("tunnels", "open", permit, "--minutes", "10", "--no-wait")["record"]["id"]
    assert aino.json("tunnels", "show", tunnel)["state"] == "requested"
    assert aino.json("tunnels", "close", tunnel)["state"] == "closing"
    halted = line("sami").run("tunnels", "halt", "permit", permit, "--reason", "only to be sure", "--yes")
    assert "none was live" in halted.stdout
    assert line("sami").run("permits", "suspend", permit, "--reason", "a complaint came in").exit_code == 0
    assert line("sami").run("permits", "resume", permit).exit_code == 0


def test_no_file_is_ever_overwritten(line: Lines, tmp_path: Path) -> None:
    kept = tmp_path / "status.json"
    assert line("").run("permits", "status", "--to", str(kept)).exit_code == 0
    before = kept.read_bytes()
    assert line("").run("permits", "status", "--to", str(kept)).exit_code == 2
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a.csv"', "a.csv"),
        ('attachment; filename="../../a.csv"', "a.csv"),
        ('attachment; filename="..\\a.csv"', "a.csv"),
        ('attachment; filename=".bashrc"', "bashrc"),
        ('attachment; filename="a\x1b.csv"', ""),
        ("", ""),
    ],
)
def test_a_servers_name_for_a_file_is_only_a_name(header: str, name: str) -> None:
    assert file_name(header) == name


def test_what_is_wanted_is_read_strictly() -> None:
    assert wanted("dst_x@1.0:age, sex") == {"dataset": "dst_x", "version": "1.0", "variables": ["age", "sex"]}
    for text in ("dst_x", "dst_x@1.0", "dst_x:age", "@:"):
        with pytest.raises(InvalidInputError):
            wanted(text)


def test_every_file_is_judged_once_by_its_present_digest() -> None:
    items: list[dict[str, Any]] = [{"output": "out_a", "rebuilt": "1"}, {"output": "out_b", "rebuilt": "2"}]
    assert [one["verdict"] for one in marks(items, ["all"], [])] == ["approve", "approve"]
    mixed = marks(items, ["all"], ["out_b=small-count:too few: three"])
    assert mixed[1] == {"output": "out_b", "rebuilt": "2", "verdict": "change", "reason": "small-count", "comment": "too few: three"}
    for approve_, change in ((["out_a"], []), (["out_a", "out_b"], ["out_b=small-count"]), (["all", "out_c"], ["out_c=x"]), ([], [])):
        with pytest.raises(InvalidInputError):
            marks(items, approve_, change)


def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not hasattr(group, "commands"):
        return [(path, group)]
    return [one for name, inner in group.commands.items() for one in commands(inner, (*path, name))]


def test_every_command_speaks_json_and_says_what_it_does() -> None:
    import typer.main

    found = commands(typer.main.get_command(app))
    assert len(found) > 50
    for path, command in found:
        if path == ("doctor",):  # the server's own command answers, with its own options
            continue
        assert "--json" in {option for one in command.params for option in one.opts}, path
        assert command.help, path
