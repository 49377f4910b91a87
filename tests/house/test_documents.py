"""What the pages point at is there: each test that they name as evidence, and each file of the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sulku import errors

ROOT = Path(__file__).parents[2]
PAGES = sorted(one for one in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if "_build" not in one.parts)
TESTS = frozenset(name for one in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", one.read_text(encoding="utf-8")))
NAMED = re.compile(r"`(test_\w+)`")
FILE = re.compile(r"`((?:broker|docs|hub|policies|src|tests|tools)/[\w./-]+)`")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pages
def test_every_test_and_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(NAMED.findall(text)) <= TESTS
    assert [name for name in FILE.findall(text) if not (ROOT / name).exists()] == []


def rows(page: str) -> list[str]:
    text = (ROOT / "docs" / "explanation" / page).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| attack", "| | mistake", "| ---"))]


@pytest.mark.parametrize(("page", "least"), [("threat-model.md", 30), ("threat-model-kubernetes.md", 25)])
def test_every_attack_of_the_threat_model_names_its_evidence(page: str, least: int) -> None:
    assert len(rows(page)) > least
    assert [row for row in rows(page) if not NAMED.search(row)] == []


def test_every_mistake_of_others_is_tried_here_and_every_trial_is_told() -> None:
    modules = (ROOT / "tests" / "cluster").glob("test_mistakes*.py")
    tried = {name for one in modules for name in re.findall(r"def (test_\w+)", one.read_text(encoding="utf-8"))}
    told = {int(found[1]): set(NAMED.findall(row)) for row in rows("threat-model-kubernetes.md") if (found := re.match(r"\| (\d+) \|", row))}
    assert set(told) == set(range(1, 13))
    assert [number for number, names in told.items() if not names & tried] == []
    assert tried - {name for names in told.values() for name in names} == set()


def test_the_page_of_errors_holds_every_code() -> None:
    text = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    codes = {one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.SulkuError)}
    assert len(codes) > 40
    assert [code for code in codes - {errors.SulkuError.code} if f"`{code}`" not in text] == []
