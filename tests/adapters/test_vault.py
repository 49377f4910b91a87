"""Datasets come in as ordinary CSV files or not at all, and a tunnel sees exactly the columns that its permit names."""

from __future__ import annotations

import csv
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.adapters.vault import FileVault
from sulku import ids
from sulku.errors import IntegrityError, InvalidInputError, NotFoundError, SulkuError, UnsafeFileError, UnsafeNameError
from sulku.permits import Grant

ROWS = "person,age,sex,light\n1,70,F,1.5\n2,64,M,0.9\n2,65,M,\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "chains.csv").write_text(ROWS)
    return folder


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[FileVault]:
    yield FileVault(tmp_path / "vault")
    for path in (tmp_path / "vault").rglob("*"):
        path.chmod(0o700)


def everything(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "vault" / "datasets").rglob("*") if path.is_file())


def grant(dataset: str, digest: str, *variables: str) -> Grant:
    return Grant(dataset, "chains", "1", digest, variables, "special")


def test_a_folder_of_csv_files_comes_in_and_is_described(vault: FileVault, source: Path, tmp_path: Path) -> None:
    dataset = ids.new("dst")
    (source / "more.csv").write_text("person,note\n3,late\n")
    edition = vault.take_in(dataset, "1", source, person_key="person", labels={"age": "Age, years"})
    assert [(file.name, file.rows) for file in edition.files] == [("chains.csv", 3), ("more.csv", 1)]
    kinds = {one.name: one.kind for one in edition.variables}
    assert kinds == {"person": "integer", "age": "integer", "sex": "text", "light": "number", "note": "text"}
    assert edition.persons == 3
    assert next(one.label for one in edition.variables if one.name == "age") == "Age, years"
    kept = tmp_path / "vault" / "datasets" / dataset / "1" / "chains.csv"
    assert kept.read_text() == ROWS
    assert not kept.stat().st_mode & 0o222
    assert not (tmp_path / "vault").stat().st_mode & 0o077


@pytest.mark.parametrize(("other", "kind"), [("2", "integer"), ("2.5", "number"), ("late", "text")])
def test_a_column_of_several_files_is_one_variable_of_a_kind_that_holds_all_of_it(
    vault: FileVault, source: Path, other: str, kind: str
) -> None:
    (source / "more.csv").write_text(f"person,age\n3,{other}\n")
    edition = vault.take_in(ids.new("dst"), "1", source, person_key="person")
    assert [one.kind for one in edition.variables if one.name == "age"] == [kind]
    assert [one.name for one in edition.variables] == ["person", "age", "sex", "light"]


def _climbing(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "chains.csv").write_text(ROWS)


def _listening(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # a socket's path has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("chains2.csv")
    finally:
        os.chdir(here)


SPOILT: dict[str, Callable[[Path], object]] = {
    "symlink": lambda folder: (folder / "link.csv").symlink_to("/etc/passwd"),
    "symlink-inside": lambda folder: (folder / "link.csv").symlink_to("chains.csv"),
    "dangling": lambda folder: (folder / "link.csv").symlink_to("nowhere.csv"),
    "hard-link": lambda folder: (folder / "twin.csv").hardlink_to(folder / "chains.csv"),
    "pipe": lambda folder: os.mkfifo(folder / "pipe.csv"),
    "device": lambda folder: os.mknod(folder / "zero.csv", 0o20600, os.makedev(1, 5)),
    "socket": _listening,
    "folder": _climbing,
    "hidden": lambda folder: (folder / ".chains.csv").write_text(ROWS),
    "backslash": lambda folder: (folder / "..\\up.csv").write_text(ROWS),
    "direction-mark": lambda folder: (folder / "a\u202evsc.csv").write_text(ROWS),
    "newline": lambda folder: (folder / "a\nb.csv").write_text(ROWS),
    "not-utf-8-name": lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff.csv")).write_text(ROWS),
}


@pytest.mark.parametrize("how", SPOILT)
def test_anything_but_an_ordinary_file_keeps_the_whole_folder_out(vault: FileVault, source: Path, tmp_path: Path, how: str) -> None:
    try:
        SPOILT[how](source)
    except PermissionError:
        pytest.skip("only root makes devices")
    dataset = ids.new("dst")
    with pytest.raises((UnsafeFileError, UnsafeNameError)) as refused:
        vault.take_in(dataset, "1", source, person_key="person")
    assert refused.value.remedy()
    assert everything(tmp_path) == []
    with pytest.raises(NotFoundError):
        vault.materialise(grant(dataset, "0" * 64, "age"))


def test_a_folder_that_is_a_link_is_not_followed(vault: FileVault, source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(source)
    with pytest.raises((SulkuError, OSError)):
        vault.take_in(ids.new("dst"), "1", tmp_path / "elsewhere", person_key="person")
    assert everything(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "person,age\n1\n",
        "person,age\n1,2,3\n",
        'person,age\n1,"2\n',
        "age,sex\n1,F\n",
        "",
        "person,age\n",
        "person,person\n1,1\n",
    ],
    ids=["short-row", "long-row", "open-quote", "no-person", "empty", "no-rows", "two-columns-of-one-name"],
)
def test_what_is_no_table_of_persons_is_refused_with_its_place(vault: FileVault, source: Path, tmp_path: Path, text: str) -> None:
    (source / "bad.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=r"bad\.csv"):
        vault.take_in(ids.new("dst"), "1", source, person_key="person")
    assert everything(tmp_path) == []


@pytest.mark.parametrize("header", ["person,", "person, age", "person,a\u202ege", "person," + "x" * 201])
def test_a_column_that_the_catalogue_could_not_keep_is_refused_before_it_is_taken_in(
    vault: FileVault, source: Path, tmp_path: Path, header: str
) -> None:
    (source / "chains.csv").write_text(f"{header}\n1,70\n")
    with pytest.raises(InvalidInputError) as refused:
        vault.take_in(ids.new("dst"), "1", source, person_key="person")
    assert [field for field, _ in refused.value.fields] == ["edition.variables[1].name"]
    assert everything(tmp_path) == []


def test_bytes_that_are_no_text_are_refused(vault: FileVault, source: Path, tmp_path: Path) -> None:
    (source / "bad.csv").write_bytes(b"person,name\n1,\xff\xfe\n")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        vault.take_in(ids.new("dst"), "1", source, person_key="person")
    assert everything(tmp_path) == []


def test_an_empty_folder_is_no_dataset(vault: FileVault, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError):
        vault.take_in(ids.new("dst"), "1", tmp_path / "empty", person_key="person")


@pytest.mark.parametrize("version", ["../1", "..", "a/b", ".1", ""])
def test_a_version_does_not_climb(vault: FileVault, source: Path, version: str) -> None:
    with pytest.raises(UnsafeNameError):
        vault.take_in(ids.new("dst"), version, source, person_key="person")


def test_a_version_never_changes(vault: FileVault, source: Path) -> None:
    dataset = ids.new("dst")
    first = vault.take_in(dataset, "1", source, person_key="person")
    (source / "chains.csv").write_text("person,age\n9,9\n")
    with pytest.raises(InvalidInputError, match="never changes"):
        vault.take_in(dataset, "1", source, person_key="person")
    assert vault.take_in(dataset, "2", source, person_key="person").digest != first.digest


def test_a_view_has_the_permitted_columns_of_every_row_and_no_others(vault: FileVault, source: Path) -> None:
    dataset = ids.new("dst")
    edition = vault.take_in(dataset, "1", source, person_key="person")
    volume = vault.materialise(grant(dataset, edition.digest, "age", "sex"))
    assert volume.name == "chains"
    assert [path.name for path in Path(volume.source).iterdir()] == ["chains.csv"]
    with (Path(volume.source) / "chains.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["age", "sex"], ["70", "F"], ["64", "M"], ["65", "M"]]
    assert vault.materialise(grant(dataset, edition.digest, "age", "sex")) == volume
    wider = vault.materialise(grant(dataset, edition.digest, "age", "sex", "light"))
    assert wider.source != volume.source
    assert "light" in (Path(wider.source) / "chains.csv").read_text()
    assert "light" not in (Path(volume.source) / "chains.csv").read_text()


def test_a_dataset_that_changed_since_it_was_catalogued_is_mounted_nowhere(vault: FileVault, source: Path, tmp_path: Path) -> None:
    dataset = ids.new("dst")
    edition = vault.take_in(dataset, "1", source, person_key="person")
    kept = tmp_path / "vault" / "datasets" / dataset / "1" / "chains.csv"
    kept.chmod(0o600)
    kept.write_text(ROWS.replace("70", "71"))
    with pytest.raises(IntegrityError):
        vault.materialise(grant(dataset, edition.digest, "age"))
    kept.write_text(ROWS)
    assert vault.materialise(grant(dataset, edition.digest, "age"))


def test_a_view_that_changed_since_it_was_made_is_mounted_nowhere(vault: FileVault, source: Path) -> None:
    dataset = ids.new("dst")
    edition = vault.take_in(dataset, "1", source, person_key="person")
    volume = vault.materialise(grant(dataset, edition.digest, "age"))
    seen = Path(volume.source) / "chains.csv"
    seen.chmod(0o600)
    seen.write_text("age\n99\n")
    with pytest.raises(IntegrityError):
        vault.materialise(grant(dataset, edition.digest, "age"))


def test_nothing_that_somebody_put_beside_a_view_is_mounted_with_it(vault: FileVault, source: Path) -> None:
    dataset = ids.new("dst")
    edition = vault.take_in(dataset, "1", source, person_key="person")
    volume = vault.materialise(grant(dataset, edition.digest, "age"))
    Path(volume.source).chmod(0o700)
    (Path(volume.source) / "all.csv").write_text(ROWS)
    with pytest.raises(IntegrityError):
        vault.materialise(grant(dataset, edition.digest, "age"))


def test_another_version_than_the_permits_is_not_opened_by_its_digest(vault: FileVault, source: Path) -> None:
    dataset = ids.new("dst")
    first = vault.take_in(dataset, "1", source, person_key="person")
    (source / "chains.csv").write_text("person,age\n9,9\n")
    second = vault.take_in(dataset, "2", source, person_key="person")
    with pytest.raises(IntegrityError):
        vault.materialise(grant(dataset, second.digest, "age"))
    with pytest.raises(NotFoundError):
        vault.materialise(Grant(dataset, "chains", "3", first.digest, ("age",), "special"))
    assert vault.materialise(grant(dataset, first.digest, "age"))


def test_a_narrowing_that_was_cut_short_is_done_anew(vault: FileVault, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ids.new("dst")
    edition = vault.take_in(dataset, "1", source, person_key="person")
    wanted = grant(dataset, edition.digest, "age")

    def die(*_: object) -> None:
        raise OSError("the disk is full")

    for step in ("rename", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, die)
            with pytest.raises(OSError, match="full"):
                vault.materialise(wanted)
    assert (Path(vault.materialise(wanted).source) / "chains.csv").read_text() == "age\n70\n64\n65\n"


def test_a_view_that_several_make_at_once_is_one(vault: FileVault, source: Path) -> None:
    dataset = ids.new("dst")
    edition = vault.take_in(dataset, "1", source, person_key="person")
    for variables in (("age",), ("person",), ("age", "person")):
        wanted = grant(dataset, edition.digest, *variables)
        gate = threading.Barrier(6)

        def make(wanted: Grant = wanted, gate: threading.Barrier = gate) -> str:
            gate.wait()
            return vault.materialise(wanted).source

        with ThreadPoolExecutor(6) as pool:
            (view,) = {one.result() for one in [pool.submit(make) for _ in range(6)]}
        assert [path.name for path in Path(view).parent.iterdir() if path.is_dir() and path.name.startswith("tmp")] == []


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not a folder that can be read"):
        FileVault(tmp_path / "vault").take_in(ids.new("dst"), "1", tmp_path / "nowhere", person_key="person")
