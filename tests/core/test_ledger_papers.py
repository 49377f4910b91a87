"""No paper in a bundle can be changed, added or taken out; and no archive does harm to whoever reads it."""

from __future__ import annotations

import io
import zipfile

import pytest

from sulku.crypto import seal, sign
from sulku.errors import BundleError, CommitmentError, IntegrityError, LedgerBrokenError, SignatureError
from sulku.ledger import bundle, canonical, papers
from sulku.ledger.verify import verify
from tests.core.ledgers import KEY, SALT, broken, edit, flip, full, note, plain, record, rezip, unzip

FULL = full()
PAPERS = FULL.build()
NAMES = [name for name, _ in unzip(PAPERS)]


@pytest.mark.parametrize("path", NAMES)
def test_no_file_can_be_changed(path: str) -> None:
    with pytest.raises(IntegrityError):
        verify(edit(PAPERS, path, lambda held: flip(held, len(held) // 2)), [KEY.public])


@pytest.mark.parametrize("path", NAMES)
def test_no_file_can_be_left_out(path: str) -> None:
    with pytest.raises(IntegrityError):
        verify(rezip((name, held) for name, held in unzip(PAPERS) if name != path), [KEY.public])


@pytest.mark.parametrize("path", NAMES)
def test_no_file_can_be_there_twice_or_elsewhere(path: str) -> None:
    files = unzip(PAPERS)
    twice = [row for name, held in files for row in ([(name, held)] * 2 if name == path else [(name, held)])]
    last = [row for row in files if row[0] != path] + [(path, dict(files)[path])]
    for wrong in (twice, *([last] if last != files else [])):
        with pytest.raises(IntegrityError):
            verify(rezip(wrong), [KEY.public])


@pytest.mark.parametrize(
    "path", ["a", "permits", "tile", "permits/per_2.json/x", "private/0000000000000004.json", "zzz/a"]
)
def test_nothing_can_be_added(path: str) -> None:
    files = sorted([*unzip(PAPERS), (path, b"{}")], key=lambda row: NAMES.index(row[0]) if row[0] in NAMES else 8.5)
    with pytest.raises(IntegrityError):
        verify(rezip(files), [KEY.public])


@pytest.mark.parametrize("path", [name for name in NAMES if name != "manifest.json" and not name.startswith("tile/")])
def test_a_paper_comes_once_and_in_its_place(path: str) -> None:
    """Said at once, before the manifest is reached: a second ring of keys must not change who is believed."""
    files = unzip(PAPERS)
    here = [name for name, _ in files].index(path)
    for place in range(here + 1, len(files) - 3):
        with pytest.raises(BundleError, match="does not belong here"):
            verify(rezip([*files[:place], files[here], *files[place:]]), [KEY.public])


def test_an_earlier_checkpoint_lies_under_its_own_size() -> None:
    wrong = [(name.replace("000004", "000005"), held) for name, held in unzip(PAPERS)]
    with pytest.raises(BundleError, match="another size"):
        verify(rezip(wrong), [KEY.public])


def test_too_many_rings_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(papers, "RINGS", 0)
    with pytest.raises(BundleError, match="rings"):
        verify(PAPERS, [KEY.public])


def test_an_edited_permit_is_named() -> None:
    with pytest.raises(SignatureError, match=r"permits/per_1\.1\.json"):
        verify(edit(PAPERS, "permits/per_1.1.json", lambda held: held.replace(b"eyJ", b"eyI", 1)), [KEY.public])


@pytest.mark.parametrize("section", ["permits", "releases"])
def test_a_paper_signed_outside_the_ledger_is_told(section: str) -> None:
    world = full()
    kind = sign.PERMIT if section == "permits" else sign.RELEASE
    getattr(world, section)["secret"] = sign.sign(kind, canonical.encode({"v": 1, "id": "secret"}), KEY)
    error = broken(world.build())
    assert f"no record mentions {section}/secret.json" in str(error)


def test_a_permit_is_no_release() -> None:
    world = full()
    world.releases["rel_2"] = world.permits["per_1.1"]
    with pytest.raises(SignatureError, match=r"releases/rel_2\.json"):
        verify(world.build(), [KEY.public])


def test_a_decision_that_no_record_names_is_told() -> None:
    world = full()
    world.decisions.append(b'{"input":"another"}')
    assert "no record mentions decisions/" in str(broken(world.build()))


def test_a_decision_under_another_name_is_told() -> None:
    path = next(name for name in NAMES if name.startswith("decisions/"))
    with pytest.raises(BundleError, match="named after"):
        verify(edit(PAPERS, path, lambda held: held + b" "), [KEY.public])


def test_a_paper_that_holds_a_checkpoint_of_another_history_contradicts_it() -> None:
    world = full()
    world.earlier = []
    other = note([*world.entries[:1], record(1, {"other": 1})]).decode()
    document = canonical.encode({"v": 1, "id": "per_2", "checkpoint": other})
    world.permits["per_2"] = sign.sign(sign.PERMIT, document, KEY)
    world.entries[5] = record(5, {"document": seal.fingerprint(document)})
    error = broken(world.build())
    assert "permits/per_2.json" in str(error)
    assert (error.index, error.last) == (0, 1)


def test_a_checkpoint_that_the_auditor_kept_shows_a_cut_or_rewritten_ledger() -> None:
    longer, other = note(plain(8).entries), note([*plain(4).entries, record(4, {"other": 1})])
    with pytest.raises(LedgerBrokenError, match="cut to 7"):
        verify(PAPERS, [KEY.public], known=[longer])
    with pytest.raises(LedgerBrokenError, match="you kept"):
        verify(PAPERS, [KEY.public], known=[other])


@pytest.mark.parametrize(
    "opening",
    [
        bundle.Opening(3, "body.reason", SALT, "not yet: n < 4"),
        bundle.Opening(3, "body.reason", b"t" * 32, "not yet: n < 5"),
        bundle.Opening(3, "body.other", SALT, "not yet: n < 5"),
        bundle.Opening(3, "body.reason.deeper", SALT, "not yet: n < 5"),
        bundle.Opening(4, "body.reason", SALT, "not yet: n < 5"),
    ],
)
def test_an_opening_that_does_not_open_is_told(opening: bundle.Opening) -> None:
    world = full()
    world.openings = [opening]
    for records in (True, False):
        with pytest.raises(CommitmentError, match=f"record {opening.index}"):
            verify(world.build(), [KEY.public], records=records)


def test_an_opening_of_no_record_is_told() -> None:
    world = full()
    world.openings = [bundle.Opening(99, "body.reason", SALT, "x")]
    with pytest.raises(BundleError, match="no such record"):
        verify(world.build(), [KEY.public])


# --- bytes and harm --------------------------------------------------------------------------------------------------


def test_there_is_no_byte_in_a_bundle_that_may_change() -> None:
    data = PAPERS
    for place in range(len(data)):
        with pytest.raises(IntegrityError):
            verify(flip(data, place, 1 << place % 8), [KEY.public])


def test_there_is_no_byte_that_may_be_missing_or_follow() -> None:
    for size in range(0, len(PAPERS), 7):
        with pytest.raises(IntegrityError):
            verify(PAPERS[:size], [KEY.public])
    with pytest.raises(BundleError):
        verify(PAPERS + b"\0", [KEY.public])


def zipped(files: list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for path, data in files:
            made.writestr(zipfile.ZipInfo(path), data, how)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a bundle",
        zipped([]),
        zipped([("../../etc/cron.d/x", b"* * * * *")]),
        zipped([("/etc/passwd", b"")]),
        zipped([("README.txt", bytes(10_000_000))], zipfile.ZIP_DEFLATED),
        rezip([]),
        rezip([("README.txt", b"")]),
        rezip([("checkpoint", note(plain(1).entries))]),
        rezip([("keys.json", b'{"rings":[],"v":1}'), ("checkpoint", note([]))]),
        rezip([("keys.json", b'{"rings":' + b"[" * 10_000)]),
        rezip([("keys.json", b'{"rings":[' + b"0," * papers.RINGS + b'0],"v":1}')]),
        rezip([("keys.json", b'{"rings":{},"v":1}')]),
        rezip([("keys.json", b'{"rings":0,"v":1}')]),
        rezip([("permits/a.json", b"{}")]),
        rezip([("tile/entries/000", bytes(1000))]),
    ],
)
def test_what_is_no_bundle_or_means_harm_is_refused_clearly(data: bytes) -> None:
    for trusted in ([KEY.public], []):
        with pytest.raises(IntegrityError):
            verify(data, trusted)


@pytest.mark.parametrize(
    "data", [b"[]", b'{"v":1}', b'{"index":3,"openings":1,"v":1}', b'{"index":"3","openings":[],"v":1}',
             b'{"index":3,"openings":[{"field":1,"salt":"","text":""}],"v":1}',
             b'{"index":3,"openings":[{"field":"a","salt":"zz","text":"x"}],"v":1}',
             b'{"index":3,"openings":[{"field":"a","salt":"00","text":"x"}],"v":1}',
             b'{"index":3,"openings":[{"field":"a","salt":0,"text":"x"}],"v":1}', b'{"index":4,"openings":[],"v":1}'],
)  # fmt: skip
def test_openings_of_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="private/0000000000000003"):
        verify(edit(PAPERS, "private/0000000000000003.json", lambda held: data), [KEY.public])


def test_too_many_claims_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(papers, "CLAIMS", 11)
    assert verify(PAPERS, [KEY.public]).size == 7
    monkeypatch.setattr(papers, "CLAIMS", 10)
    with pytest.raises(BundleError, match="claims"):
        verify(PAPERS, [KEY.public])
