"""Rounds compared, texts opened and erased, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.client.conftest import Line
from tests.client.test_commands import draft, keys

Lines = Callable[..., Line]
GROUND = "GDPR Art. 17(1)(a), request 2026/41"


def test_show_says_what_changed_since_the_last_round(line: Lines) -> None:
    aino, sami = line("aino"), line("sami")
    application = draft(aino)
    aino.json("applications", "submit", application)
    assert sami.json("applications", "show", application)["changes"] == {"since": 0, "points": [], "answers": []}
    assert "changes" not in sami.run("applications", "show", application).stdout
    sami.json("applications", "return", application, "--point", "Name the law.")
    aino.json("applications", "draft", application, "--basis", "Act 552/2019, section 38")
    aino.json("applications", "submit", application)
    shown = sami.json("applications", "show", application)["changes"]
    assert shown == {
        "since": 1,
        "points": ["Name the law."],
        "answers": [{"field": "basis", "before": "Act 552/2019", "now": "Act 552/2019, section 38"}],
    }
    assert "Act 552/2019, section 38" in sami.run("applications", "show", application).stdout


def test_an_operator_erases_and_an_auditor_reads_who_and_when(line: Lines, tmp_path: Path) -> None:
    otto, auli = line("otto"), line("auli")
    options = ("--name", "Kalle Kataja", "--email", "kalle@example.org", "--organisation", "uni-north", "--role", "researcher")
    kalle = otto.json("people", "register", *options)["record"]["id"]
    index = str(auli.json("ledger", "search", "--type", "person.registered")["entries"][0]["index"])
    opened = auli.json("ledger", "texts", index)
    assert {one["field"]: (one["text"], one["fits"]) for one in opened["texts"]}["name"] == ('"Kalle Kataja"', True)
    assert "checks" in auli.run("ledger", "texts", index).stdout
    erase = ("ledger", "erase", kalle, "--ground", GROUND)
    unsure = otto.run(*erase)
    assert (unsure.exit_code, "cannot be undone" in unsure.stderr) == (2, True)
    early = otto.run(*erase, "--yes")
    assert (early.exit_code, "Wait until it is closed" in early.stderr) == (5, True)
    otto.json("people", "leave", kalle, "--reason", "left the university", "--yes")
    assert auli.run(*erase, "--yes").exit_code == 3
    (done,) = otto.json(*erase, "--yes")["items"]
    assert (done["record"], done["texts"] > 1, len(done["entries"])) == (kalle, True, 1)
    again = otto.run(*erase, "--yes")
    assert (again.exit_code, f"{kalle}: nothing is left to erase." in again.stdout) == (0, True)
    gone = auli.run("ledger", "texts", index).stdout
    assert [part in gone for part in ("erased", otto.rig.ids["otto"], GROUND, "The tree still holds.", "Kalle")] == [True] * 4 + [False]
    assert "Kalle" not in otto.run("people", "list").stdout
    assert auli.run("ledger", "check").exit_code == 0
    bundle = tmp_path / "ledger.zip"
    assert auli.run("ledger", "export", "--private", "--to", str(bundle)).exit_code == 0
    report = auli.run("ledger", "verify", str(bundle), *keys(auli.rig), "--json")
    assert report.exit_code == 0, report.stderr
    assert json.loads(report.stdout)["anchored"] is True
    assert b"Kalle" not in bundle.read_bytes()
    missing = auli.run("ledger", "replay", opened_decision(auli, index))
    assert missing.exit_code == 4


def opened_decision(auli: Line, index: str) -> str:
    entries = auli.json("ledger", "search", "--type", "person.registered")["entries"]
    return str(next(one for one in entries if str(one["index"]) == index)["clearance"]["decision"])
