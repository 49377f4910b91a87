"""Tables, names, file kinds and image containers: hostile bytes in, one canonical form out, or a refusal that says where."""

from __future__ import annotations

import csv
import io
import json
import pickle
import struct
import unicodedata
import zlib
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku.disclosure import tables, texts
from sulku.disclosure.characters import clean, forbidden, offence
from sulku.disclosure.files import MAX_BYTES, Media, identify, rebuilt_name, safe_name
from sulku.disclosure.images import check_jpeg, check_png, essential_png, require_plain_png
from sulku.disclosure.tables import CellKind, canonical, parse, rebuild
from sulku.errors import UnreadableImageError, UnreadableTableError, UnreadableTextError, UnsafeNameError


def refused(data: bytes | str) -> list[str]:
    """Return the codes with which a table is refused."""
    with pytest.raises(UnreadableTableError) as caught:
        parse(data.encode() if isinstance(data, str) else data)
    return [finding.code.value for finding in caught.value.findings]


def test_a_plain_table_leaves_as_it_came() -> None:
    for text in ("a,b\nx,1\ny,2.5\n", 'a,b\n"x, y",1\n"say ""hi""",2\n', "Älvsbyn,Łódź\nvä,90\n"):
        assert rebuild(parse(text.encode())) == text.encode()


@pytest.mark.parametrize(
    ("came", "left"),
    [
        ("a,b\r\nx,1\r\n", "a,b\nx,1\n"),
        ("\ufeffa,b\nx,1", "a,b\nx,1\n"),
        ("a;b\nx;1,5\n", "a,b\nx,1.5\n"),
        ("a\tb\nx\t1\n", "a,b\nx,1\n"),
        ('"a","b"\n"x","1"\n', "a,b\nx,1\n"),
        ("a,b\n  x   y\u00a0z ,1\n", "a,b\nx y z,1\n"),
        ("a,b\nJa\u0308,1\n", "a,b\nJä,1\n"),
        ("g,n\nx,<10\ny,20\n", "g,n\nx,[suppressed]\ny,20\n"),
        ("g,n\nx,NaN\ny,20\n", "g,n\nx,\ny,20\n"),
        ("g,m\nx,0.123456789\ny,+2.50\n", "g,m\nx,0.123457\ny,2.5\n"),
        ("g,m\nx,12 (3.123456789%)\n", "g,m\nx,12 (3.12346%)\n"),
        ('h\n"a;b"\n', 'h\n"a;b"\n'),
    ],
)
def test_one_form_for_what_means_the_same(came: str, left: str) -> None:
    assert rebuild(parse(came.encode())) == left.encode()


def test_labels_are_left_alone() -> None:
    text = "age_band,muni,n\n<65,091,20\n65+,005,30\n"
    assert rebuild(parse(text.encode())) == text.encode()
    assert parse(text.encode()).rows[0][1].kind is CellKind.TEXT


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0", "0"), ("-0.000", "0"), ("1234567", "1234567"), ("1234567.891", "1234568"), ("0.1000", "0.1"), ("3.0", "3"),
        ("999999.96", "1000000"), ("1.8158325950483552e-21", "1.81583E-21"), ("0.0000012345678", "0.00000123457"),
        ("123456789012345678", "1.23457E+17"), ("1e300", "1E+300"), ("2.5", "2.5"), ("100", "100"),
    ],
)  # fmt: skip
def test_numbers_keep_six_digits_and_counts_keep_all(number: str, text: str) -> None:
    assert canonical(Decimal(number)) == text


def test_spare_digits_are_counted() -> None:
    table = parse(b"g,m\na,0.12345678901\nb,0.5\n")
    assert table.trimmed == 1
    assert parse(b"g,m\na,0.50\nb,0.5\n").trimmed == 0


@pytest.mark.parametrize("start", ["=1+1", "+cmd", "-x", "@SUM(A1)", "＝1", "=", '=HYPERLINK("x")'])
def test_cells_that_spreadsheets_run_are_refused(start: str) -> None:
    quoted = start.replace('"', '""')
    assert refused(f'a,b\n"{quoted}",1\n') == ["formula"]
    assert refused(f'"{quoted}",b\nx,1\n') == ["formula"]
    assert parse(b"a,b\n-1.5,1\n+2,1\n").rows[0][0].number == Decimal("-1.5")


HIDDEN = "\u202e\u200b\u200d\u2066\ufe0f\u00ad\u034f\u3164\u2800\ue000\U000e0041\U000e0101\ufeff\u2028"


@pytest.mark.parametrize("character", [*HIDDEN, "\x00", "\x1b", "\x85", "\x7f", "\r", "٣", "３", "\u0378"])
def test_hidden_characters_are_refused_with_their_place(character: str) -> None:
    with pytest.raises(UnreadableTableError) as caught:
        parse(f"a,b\nx,1\ny{character}z,2\n".encode())
    (finding,) = caught.value.findings
    assert finding.code == "forbidden-character"
    assert finding.where.row == 1 or finding.where.line == 3
    assert character not in finding.message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "shape"), (b"a,b\n", "shape"), (b"a,b\n1\n", "shape"), (b"a,b\n1,2,3\n", "shape"), (b"a,a\n1,2\n", "shape"), (b"A,a\n1,2\n", "shape"),
        (b"a,\n1,2\n", "shape"), (b'a,b\n"x\ny",1\n', "shape"), (b'a,b\n"x,1\n', "shape"), (b'a,b\n"x"y,1\n', "shape"),
        (b"a,b\n\xff,1\n", "encoding"), (b"a,b\n\xc0\x80,1\n", "encoding"), (b"a,b\n\xed\xa0\x80,1\n", "encoding"),
        (b"a,b\n" + b"x" * 201 + b",1\n", "too-large"), (b"a\n" + b"1\n" * 5001, "too-large"),
        (b",".join(b"c%d" % n for n in range(201)) + b"\n" + b",".join([b"1"] * 201) + b"\n", "too-large"),
        (b"a,b\n\n1,2\n", "shape"),
    ],
)  # fmt: skip
def test_what_is_not_a_strict_table_is_refused(data: bytes, code: str) -> None:
    assert code in refused(data)


CELL = st.one_of(
    st.text(max_size=12),
    st.text("0123456789.,-+eE%<≤()[]*; \"'=@\u00a0\u0301", max_size=12),
    st.integers(-(10**18), 10**18).map(str),
    st.floats().map(str),
    st.sampled_from(["NA", "*", "[suppressed]", "[REDACTED]", "<10", "12 (3.4%)", "0.50", "1e-300", ""]),
)
HEADING = st.one_of(CELL, st.sampled_from(["n", "age", "count", "F", "M", "Total"]))


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """Well-formed CSV with hostile cells, in one of the accepted dialects."""
    width = draw(st.integers(1, 4))
    header = draw(st.lists(HEADING, min_size=width, max_size=width))
    body = draw(st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=4))
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=draw(st.sampled_from(",;\t")), quoting=draw(st.sampled_from([0, 1])), lineterminator="\n").writerows(
        [header, *body]
    )
    return out.getvalue().encode("utf-8", "surrogatepass")


@given(st.one_of(hostile(), st.binary(max_size=60)))
def test_what_is_accepted_is_canonical_and_shows_all_that_it_holds(data: bytes) -> None:
    try:
        table = parse(data)
    except UnreadableTableError:
        return
    once = rebuild(table)
    again = parse(once)
    assert again == table
    assert rebuild(again) == once
    assert again.trimmed == 0
    text = once.decode()
    assert not [character for character in text.replace("\n", "") if forbidden(character)]
    assert all(unicodedata.category(character)[0] != "C" for character in text.replace("\n", ""))
    for row in csv.reader(io.StringIO(text, newline=""), strict=True):
        assert len(row) == len(table.header)
        for cell in row:
            assert not cell.startswith(("=", "@"))
            assert not cell.startswith(("+", "-")) or cell == "-" or Decimal(cell.rstrip("%")) is not None
    assert tables.write(tables.texts(table)) == once


@given(
    st.lists(st.lists(st.integers(0, 10**9), min_size=2, max_size=5), min_size=1, max_size=6).filter(
        lambda rows: len(set(map(len, rows))) == 1
    )
)
def test_every_table_of_plain_counts_is_accepted_unchanged(rows: list[list[int]]) -> None:
    lines = [",".join(f"c{n}" for n in range(len(rows[0]))), *(",".join(map(str, row)) for row in rows)]
    data = ("\n".join(lines) + "\n").encode()
    assert rebuild(parse(data)) == data


@given(st.text(max_size=80))
def test_rebuilt_text_is_canonical_and_shows_all_that_it_holds(text: str) -> None:
    try:
        once = texts.rebuild(text.encode("utf-8", "surrogatepass"))
    except UnreadableTextError:
        return
    assert texts.rebuild(once.encode()) == once
    assert not [character for character in once.replace("\n", "") if forbidden(character)]


@given(st.text(max_size=30))
def test_cleaning_is_done_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_what_comes_back_from_isolation_is_checked_again() -> None:
    for rows in (
        [["a"], ["\u202ex"]],
        [["a"], ["=1"]],
        [["a"], ["x", "y"]],
        [["a"]],
        [[], []],
        "x",
        [["a"], [1]],
        [["a"], ["x  y"]],
        [["a"], ["x" * 300]],
    ):
        with pytest.raises(UnreadableTableError):
            tables.write(tables.rows_of(rows))
    for text in ("a\u202eb\n", "a\x00", "no line end", 7, "a\u0308\n"):
        with pytest.raises(UnreadableTextError):
            texts.require_rebuilt(text)
    assert texts.require_rebuilt("fine\n") == "fine\n"


@pytest.mark.parametrize("name", ["table 1.csv", "Kuvio_2-b.png", "ä.txt", "a.b.csv", "x"])
def test_ordinary_names_are_safe(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".bashrc", "a/b.csv", "a\\b.csv", "../x.csv", "a..b.csv", "a\x00.csv", "a\n.csv", "gpj.\u202ecsv", "a\u200b.csv", "-rf.csv", " a.csv",
     "a.csv ", "a.", "CON", "nul.csv", "com1.txt", "a\u0308.csv", "x" * 101, "ä" * 101, "a:b.csv", "a*.csv", "a?.csv", "<a>.csv", "a|b.csv", 'a"b.csv',
     "$x.csv", "`x`.csv", "a;b.csv", "a&b.csv", "a%2e.csv", "a\u00a0b.csv", "a\ue000.csv", "\ud800.csv", "漢" * 70],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UnsafeNameError):
        safe_name(name)


PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff\xe0"


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.csv", b"a,b\n1,2\n", Media.TABLE),
        ("a.md", b"# hi", Media.TEXT),
        ("a.txt", b"PK is a heading", Media.TEXT),
        ("A.PNG", PNG, Media.PNG),
        ("a.jpeg", JPEG, Media.JPEG),
    ],
)
def test_accepted_kinds(name: str, data: bytes, what: Media) -> None:
    assert identify(data, name) == (what, ())
    assert rebuilt_name(name, what).endswith((".csv", ".txt", ".png"))


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("model.pkl", pickle.dumps([1]), "kind-not-accepted"),
        ("a.csv", pickle.dumps([1]), "kind-not-accepted"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "kind-not-accepted"),
        ("a.svgz", b"\x1f\x8b\x08\x00", "kind-not-accepted"),
        ("a.txt", b"\xef\xbb\xbf <!DOCTYPE html><p>", "kind-not-accepted"),
        ("a.md", b"<?xml version='1.0'?>", "kind-not-accepted"),
        ("a.html", b"plain words", "kind-not-accepted"),
        ("a.pdf", b"%PDF-1.7", "kind-not-accepted"),
        ("a.txt", b"%PDF-1.7", "kind-not-accepted"),
        ("a.zip", b"PK\x03\x04", "kind-not-accepted"),
        ("a.xlsx", b"PK\x03\x04", "kind-not-accepted"),
        ("a.ipynb", b'{"cells": []}', "kind-not-accepted"),
        ("a.txt", json.dumps({"metadata": {}, "nbformat": 4}).encode(), "kind-not-accepted"),
        ("a.json", b"{}", "kind-not-accepted"),
        ("a", b"words", "kind-not-accepted"),
        ("a.gif", b"GIF89a", "kind-not-accepted"),
        ("a.csv", b"a,b\n\x00\n", "kind-not-accepted"),
        ("a.csv", PNG, "not-what-its-name-says"),
        ("a.png", JPEG, "not-what-its-name-says"),
        ("a.png", b"words", "kind-not-accepted"),
        ("a.csv", b"", "shape"),
        ("a.csv", b"x" * (MAX_BYTES + 1), "too-large"),
    ],
)
def test_everything_else_is_refused(name: str, data: bytes, code: str) -> None:
    media, findings = identify(data, name)
    assert media is None
    assert [(one.code.value, one.severity.value) for one in findings] == [(code, "block")]


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


HEAD = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
PIXELS = chunk(b"IDAT", zlib.compress(b"\x00\xff\xff\xff"))
END = chunk(b"IEND", b"")
PLAIN = PNG + HEAD + PIXELS + END


def test_a_png_of_pixels_is_plain() -> None:
    require_plain_png(PLAIN)
    assert check_png(PLAIN) == []


@pytest.mark.parametrize(
    "data",
    [
        PNG + HEAD + chunk(b"tEXt", b"x") + PIXELS + END,
        PLAIN + b"x",
        PLAIN[:-4] + b"\0\0\0\0",
        PNG + PIXELS + HEAD + END,
        PNG + HEAD + END,
        PNG + HEAD + PIXELS,
        PNG + HEAD + PIXELS.replace(PIXELS[-4:], b"\1\2\3\4") + END,
        PNG + HEAD + PIXELS + chunk(b"IEND", b"rows"),
        PNG,
        b"",
        JPEG,
    ],
    ids=["text", "trailing", "end-checksum", "order", "no-pixels", "no-end", "checksum", "full-end", "empty", "nothing", "jpeg"],
)
def test_a_rebuilt_png_may_carry_nothing_else(data: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        require_plain_png(data)


def test_what_rides_along_is_found_and_dropped() -> None:
    software = PNG + HEAD + chunk(b"tEXt", b"Software\0matplotlib") + PIXELS + END
    assert check_png(software) == []
    for aside in (chunk(b"tEXt", b"c\0" + b"row;" * 100), chunk(b"eXIf", b"x" * 300), chunk(b"zzZz", b"x" * 300)):
        (finding,) = check_png(PNG + HEAD + aside + PIXELS + END)
        assert finding.code == "hidden-data"
        assert essential_png(PNG + HEAD + aside + PIXELS + END) == PLAIN
    (trailing,) = check_png(PLAIN + b"PK\3\4rows")
    assert "8 bytes follow" in trailing.message
    with pytest.raises(UnreadableImageError):
        check_png(PNG + HEAD + chunk(b"acTL", b"\0" * 8) + PIXELS + END)
    with pytest.raises(UnreadableImageError):
        check_png(PLAIN[:-3])


def test_a_jpeg_is_walked_to_its_end() -> None:
    scan = b"\xff\xda\x00\x02" + b"\x12\xff\x00\x34\xff\xd0\x56"
    plain = b"\xff\xd8" + b"\xff\xe0\x00\x04ab" + scan + b"\xff\xd9"
    assert check_jpeg(plain) == []
    assert [one.code.value for one in check_jpeg(plain + b"rows")] == ["hidden-data"]
    comment = b"\xff\xd8" + b"\xff\xfe" + struct.pack(">H", 302) + b"x" * 300 + scan + b"\xff\xd9"
    assert [one.code.value for one in check_jpeg(comment)] == ["hidden-data"]
    for damaged in (plain[:-2], b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x00", b"\xff\xd8abcd"):
        with pytest.raises(UnreadableImageError):
            check_jpeg(damaged)


@given(st.binary(max_size=200))
def test_containers_never_fail_in_another_way(data: bytes) -> None:
    for walk, start in ((check_png, PNG), (check_jpeg, b"\xff\xd8\xff")):
        with suppress(UnreadableImageError):
            walk(start + data)


def test_offences_are_said_in_words() -> None:
    assert "U+202E (right-to-left override)" in offence("a\u202e")
    assert offence("Hyvinkää ≤ 5 m² – “ok”") == ""
