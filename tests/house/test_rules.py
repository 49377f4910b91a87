"""The house rules that neither the type checker nor the import contracts can see, each with a case that breaks it."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sulku import errors, events, nouns

ROOT = Path(__file__).parents[2]
CODE = sorted(path for folder in ("src", "broker", "hub") for path in (ROOT / folder).rglob("*.py") if "migrations/versions" not in str(path))
LONGEST_MODULE, LONGEST_FUNCTION = 400, 50


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def within(*folders: str) -> list[Path]:
    return [path for path in CODE if any((ROOT / folder) in path.parents or (ROOT / folder) == path for folder in folders)]


def calls(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each call's dotted name and line."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def offenders(paths: list[Path], pattern: str) -> list[str]:
    found = re.compile(pattern)
    return [f"{path.relative_to(ROOT)}:{line} {name}" for path in paths for name, line in calls(tree(path)) if found.search(name)]


def test_there_is_one_commit() -> None:
    """``seal.commit`` makes a commitment, which is another thing; within ``seal`` it has no prefix."""
    unit = ROOT / "broker/store/unit.py"
    others = [path for path in CODE if path not in {unit, ROOT / "src/sulku/crypto/seal.py"}]
    assert not [line for line in offenders(others, r"(^|\.)commit$") if "seal.commit" not in line]
    assert len(offenders([unit], r"(^|\.)commit$")) == 1


def test_the_clock_is_read_in_one_place() -> None:
    """Programs of their own (supervisor, gateway, what runs in a workspace) and waiting loops read monotonic clocks only."""
    wall = r"(datetime\.(now|utcnow|today)|date\.today|^time\.time|^time\.time_ns)$"
    allowed = {ROOT / "broker/adapters/clock.py", ROOT / "broker/gateway/clock.py"}
    inside = within("hub/images", "src/sulku_client")
    assert not offenders([path for path in CODE if path not in allowed and path not in inside], wall)
    assert offenders([ROOT / "broker/adapters/clock.py"], wall)


def test_the_core_reads_no_clock_and_draws_no_lots() -> None:
    pure = [path for path in within("src/sulku") if "crypto" not in path.parts and path.name != "ids.py"]
    assert not offenders(pure, r"^(time|random|secrets|uuid)\.|os\.urandom|^open$|\.read_(text|bytes)$|\.write_(text|bytes)$")


def test_randomness_is_drawn_in_crypto_and_ids() -> None:
    allowed = [*within("src/sulku/crypto", "hub/images", "broker/store/migrations"), ROOT / "src/sulku/ids.py"]
    assert not offenders([path for path in CODE if path not in allowed], r"^(secrets|random|uuid)\.|os\.urandom$")


def test_only_policy_mints_a_yes_or_a_no() -> None:
    allowed = {ROOT / "broker/adapters/policy.py", ROOT / "src/sulku/clearance.py", ROOT / "broker/store/spool.py"}
    assert not offenders([path for path in CODE if path not in allowed], r"^(clearance\.)?(Clearance|Refusal)$")


def test_http_errors_are_ours() -> None:
    assert not offenders(CODE, r"HTTPException$")


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_stays_short(path: Path) -> None:
    text = path.read_text("utf-8")
    module = ast.parse(text)
    assert ast.get_docstring(module) or not text.strip(), "the first line says what the file is"
    assert text.count("\n") <= LONGEST_MODULE, f"{text.count(chr(10))} lines"
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            documented = node.body[0].end_lineno - node.lineno if ast.get_docstring(node) else 0  # type: ignore[operator]
            assert length - documented <= LONGEST_FUNCTION, f"{node.name} has {length - documented} lines"


def test_every_error_has_a_code_of_its_own_and_a_remedy() -> None:
    every = [error for error in _tree(errors.SulkuError) if error.__module__.startswith("sulku.errors")]
    codes = [error.code for error in every if "code" in vars(error)]  # the others pass on the code of somebody else
    assert len(set(codes)) == len(codes), sorted(code for code in codes if codes.count(code) > 1)
    for error in every[1:]:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)
        assert error.fix.endswith((".", "!")) or error.remedy is not errors.SulkuError.remedy
        assert error.__doc__


def _tree(root: type[errors.SulkuError]) -> Iterator[type[errors.SulkuError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("sulku"):
            yield from _tree(child)


def test_every_event_is_named_in_the_past_and_documented() -> None:
    assert nouns.TABLE
    known = {noun.name for noun in nouns.TABLE.values()} | {"refusal", "record"}
    for (kind, schema), event in events.REGISTRY.items():
        assert kind.partition(".")[0] in known, kind
        assert schema >= 1
        assert event.__doc__, kind
        assert set(event.__dataclass_fields__) >= event.PRIVATE, kind  # type: ignore[attr-defined]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_nothing_of_this_machine_is_in_the_tree() -> None:
    """No registry's host, no home folder, no build folder, no lock that records addresses."""
    names = {path.name for path in tracked()}
    assert not names & {"uv.lock", "pylock.toml"}
    wrong = re.compile(r"https?://[^\s/]*(pypi|registry|mirror|artifact|nexus|goproxy)[^\s/]*/|/root/\.|/home/[a-z]+/\.cache")
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            assert path.suffix in {".png", ".woff2", ".ico"}, f"{path} is a binary"
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in wrong.finditer(text)]
    assert not found


def test_the_rules_can_fail(tmp_path: Path) -> None:
    """A rule that cannot fail is no rule: each pattern finds what it forbids."""
    bad = tmp_path / "bad.py"
    bad.write_text("import time\ntime.time()\nsession.commit()\nClearance(1)\nraise HTTPException(404)\nsecrets.token_hex()\n")
    found = [name for name, _ in calls(tree(bad))]
    assert found == ["time.time", "session.commit", "Clearance", "HTTPException", "secrets.token_hex"]


def test_every_break_of_the_story_finds_what_it_breaks() -> None:
    """`make test-broken` takes minutes; that its changes still fit the code is seen here."""
    from tests.stories.broken import BREAKS

    assert {one.step for one in BREAKS} == {1, 2, 3, 4, 5, 6, 7}
    assert [one.file for one in BREAKS if (ROOT / one.file).read_text().count(one.old) != 1] == []
