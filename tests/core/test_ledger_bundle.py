"""An honest bundle verifies, says what was checked, and is the same bytes each time."""

from __future__ import annotations

import gc
import io
import tracemalloc
from pathlib import Path

import pytest

from sulku.crypto import seal
from sulku.errors import BundleError, InvalidInputError, LedgerBrokenError, SignatureError, UnknownKeyError
from sulku.ledger import bundle, keyrings
from sulku.ledger.verify import Report, verify
from tests.core.ledgers import KEY, ORIGIN, START, STRANGER, World, full, grow, note, plain, record, ring, unzip


def counts(report: Report) -> dict[str, tuple[int, int]]:
    return {check.name: (check.done, check.total) for check in report.checks}


@pytest.mark.parametrize("size", [0, 1, 3, 255, 256, 257, 600])
def test_a_ledger_of_any_size_verifies(size: int) -> None:
    world = plain(size)
    report = verify(world.build(), [KEY.public])
    assert (report.origin, report.size, report.root) == (ORIGIN, size, grow(world.entries).root().hex())
    assert counts(report)["records"] == counts(report)["hashes"] == (size, size)


def test_a_ledger_with_a_third_level_of_tiles_verifies() -> None:
    size = 256 * 256 + 257
    report = verify(plain(size).build(), [KEY.public], records=False)
    assert counts(report)["hashes"] == (size, size)
    assert counts(report)["records"] == (0, size)


def test_a_bundle_with_every_kind_of_paper_verifies() -> None:
    report = verify(full().build(), [KEY.public])
    assert report.anchored
    assert counts(report) == {
        "keys": (1, 1),
        "checkpoint": (1, 1),
        "hashes": (7, 7),
        "records": (7, 7),
        "consistency": (3, 3),  # the head, the earlier one, and the one inside the permit
        "permits": (1, 1),
        "releases": (1, 1),
        "decisions": (2, 2),
        "private": (1, 1),
        "manifest": (9, 9),
    }


def test_without_reading_records_the_report_does_not_claim_it() -> None:
    report = verify(full().build(), [KEY.public], records=False)
    assert counts(report)["records"] == (0, 7)
    assert counts(report)["decisions"] == (0, 2)
    assert next(check.detail for check in report.checks if check.name == "permits") == "signed; records were not read"


def test_the_same_things_give_the_same_bytes() -> None:
    world = full()
    again = World(**{name: getattr(world, name) for name in World.__dataclass_fields__})
    again.decisions = world.decisions[::-1]
    assert again.build() == world.build()


def test_a_bundle_is_taken_apart_by_any_tool_and_laid_out_as_described() -> None:
    names = [name for name, _ in unzip(full().build())]
    assert names[:4] == ["README.txt", "keys.json", "checkpoint", "checkpoints/0000000000000004"]
    assert names[4:6] == ["permits/per_1.1.json", "releases/rel_1.json"]
    assert names[8:] == ["private/0000000000000003.json", "tile/entries/000.p/7", "tile/0/000.p/7", "manifest.json"]


def test_the_readme_names_the_command_the_key_and_its_fingerprint() -> None:
    text = dict(unzip(plain(1).build()))["README.txt"].decode()
    assert f"sulku ledger verify BUNDLE --key '{KEY.public.vkey}'" in text
    assert KEY.public.fingerprint in text


def test_a_stream_is_read_front_to_back_only(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(full().build())

    class Pipe(io.RawIOBase):
        def __init__(self, path: Path) -> None:
            self.inner = path.open("rb")

        def read(self, size: int = -1, /) -> bytes:
            return self.inner.read(size)

    with Pipe(tmp_path / "bundle") as pipe:
        assert verify(pipe, [KEY.public]).size == 7
        pipe.inner.close()


def test_memory_does_not_grow_with_the_ledger(tmp_path: Path) -> None:
    peaks = []
    for size in (1024, 16 * 1024):
        path = tmp_path / str(size)
        path.write_bytes(plain(size).build())
        with path.open("rb") as stream:
            gc.collect()
            tracemalloc.start()
            verify(stream, [KEY.public], records=False)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 4, "sixteen times the ledger"  # what a test before left to the collector counts too


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    verify(plain(600).build(), [KEY.public], progress=lambda *step: told.append(step))
    assert told == [("records", 256, 600), ("records", 512, 600), ("records", 600, 600)]


def test_a_checkpoint_that_the_auditor_kept_is_compared() -> None:
    world = plain(600)
    for size in (0, 1, 255, 256, 300, 512, 599, 600):
        assert verify(world.build(), [KEY.public], known=[note(world.entries[:size])]).size == 600


def test_several_commitments_of_one_record_are_opened() -> None:
    world = full()
    salt = bytes(32)
    world.entries[6] = record(6, {"a": {"deep": seal.commit(salt, "one")}, "b": seal.commit(salt, "two")})
    world.openings += [bundle.Opening(6, "body.b", salt, "two"), bundle.Opening(6, "body.a.deep", salt, "one")]
    assert counts(verify(world.build(), [KEY.public]))["private"] == (2, 2)


def test_a_store_that_disagrees_with_its_checkpoint_exports_nothing() -> None:
    world = plain(5)
    world.checkpoint = note(world.entries[:4])
    with pytest.raises(LedgerBrokenError):
        world.build()
    world.checkpoint = note([*world.entries[:4], record(4, {"other": 1})])
    with pytest.raises(LedgerBrokenError):
        world.build()


def test_a_bundle_is_not_made_with_a_key_that_its_readers_cannot_know() -> None:
    world = plain(1)
    world.key = STRANGER
    with pytest.raises(UnknownKeyError):
        world.build()


def test_what_could_not_be_read_back_is_not_written() -> None:
    world = plain(1)
    world.permits = {"../per_1": b"{}"}
    with pytest.raises(BundleError):
        world.build()
    world = plain(1)
    world.decisions = [b" " * (bundle.PAPER_LIMIT + 1)]
    with pytest.raises(InvalidInputError):
        world.build()
    world = plain(1)
    world.checkpoint = b"none"
    with pytest.raises(SignatureError):
        world.build()


def test_a_ring_can_be_published_only_by_somebody() -> None:
    with pytest.raises(InvalidInputError):
        keyrings.publish(ring(), START)
