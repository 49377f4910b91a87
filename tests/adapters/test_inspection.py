"""The isolated reader with the real bubblewrap: what it reads, what it cannot reach, and hostile readers that are refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, PngImagePlugin

import sulku
from broker.adapters.inspection import HELLO, Inspection, Inspector
from sulku.codec import plain
from sulku.disclosure.images import require_plain_png
from sulku.errors import ConfigurationError, InspectionUnavailableError, NothingRebuiltError
from tests.core.disclosed import BY_AGE, BY_CHAPTER, OLS_LIKE, PEOPLE, SHIPPED
from tests.soon import eventually

PROFILE = SHIPPED["default"]
FIGURE = {"kind": "plot", "smallest": 12}


def inspect(name: str, data: bytes, manifest: object = None, inspector: Inspector | None = None) -> Inspection:
    """Inspect under the default profile."""
    return (inspector or Inspector()).inspect(name, data, {} if manifest is None else manifest, PROFILE)


def codes(inspection: Inspection) -> list[str]:
    """Return the codes of the findings."""
    return [one.code.value for one in inspection.findings]


def figure(mode: str = "RGB", size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Draw a small bar chart."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for bar in range(4):
        draw.rectangle((bar * 20 + 4, 50 - bar * 11, bar * 20 + 16, 55), fill=(31, 119, 180))
    return image.convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the image as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(data: bytes) -> Image.Image:
    """Decode a rebuilt image."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_a_good_table_is_rebuilt_and_shown_as_it_leaves() -> None:
    result = inspect("by age.csv", BY_AGE.replace("\n", "\r\n").encode(), PEOPLE)
    assert result.deliverable() == BY_AGE.encode()
    assert (result.kind, result.rebuilt_name, result.media_type) == ("csv", "by age.csv", "text/csv; charset=utf-8")
    assert result.preview == tuple(tuple(line.split(",")) for line in BY_AGE.splitlines())
    assert not result.blocked
    assert result.findings == ()
    assert (result.summary["rows"], result.summary["roles"]) == (4, ["label", "count", "count"])
    assert plain(result.summary) == result.summary


def test_a_bad_table_is_blocked_but_shown() -> None:
    result = inspect("chapter.csv", BY_CHAPTER.encode(), PEOPLE)
    assert result.blocked
    assert result.summary["codes"]["small-count"] == 4
    assert result.rebuilt == BY_CHAPTER.encode()


def test_text_leaves_as_plain_text() -> None:
    result = inspect("model.md", OLS_LIKE.encode(), {"kind": "model"})
    assert (result.kind, result.rebuilt_name, codes(result)) == ("text", "model.txt", [])
    assert result.preview == result.rebuilt.decode() == OLS_LIKE


def test_tables_of_one_submission_are_compared() -> None:
    inspector = Inspector()
    less = BY_AGE.replace("1647", "1646")
    found = inspector.compare([("a.csv", BY_AGE.encode(), PEOPLE), ("b.csv", less.encode(), PEOPLE)], PROFILE)
    assert [(one.code.value, one.where.row_name, one.where.file) for one in found] == [("differencing", "50–59", "a.csv")]
    assert inspector.compare([("a.csv", BY_AGE.encode(), PEOPLE), ("b.csv", BY_AGE.encode(), PEOPLE)], PROFILE) == ()
    assert inspector.compare([("a.csv", BY_AGE.encode(), PEOPLE)], PROFILE) == ()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"])
def test_images_of_every_mode_are_repainted(mode: str) -> None:
    image = figure("I").point(lambda level: level * 256).convert("I;16") if mode == "I;16" else figure(mode)
    result = inspect("bars.png", saved(image), FIGURE)
    assert (result.findings, result.media_type) == ((), "image/png")
    assert result.preview == result.rebuilt
    require_plain_png(result.rebuilt)
    out = pixels(result.rebuilt)
    assert (out.mode, out.size, out.info) == ("RGB", (80, 60), {})
    expected = figure("L" if mode == "I;16" else mode).convert("RGB")
    worst = max(abs(a - b) for a, b in zip(expected.tobytes(), out.tobytes(), strict=True))
    assert worst <= 7, "the picture looks the same"


def test_low_bits_do_not_leave_and_rebuilding_again_changes_nothing() -> None:
    noisy = Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3))
    first = inspect("x.png", saved(noisy), FIGURE).deliverable()
    assert all(level == (level & 0xF8) | (level >> 5) for level in pixels(first).tobytes())
    assert pixels(inspect("x.png", first, FIGURE).deliverable()).tobytes() == pixels(first).tobytes()
    extremes = Image.new("RGB", (2, 1))
    extremes.putpixel((1, 0), (255, 255, 255))
    assert pixels(inspect("x.png", saved(extremes), FIGURE).deliverable()).tobytes() == b"\0\0\0\xff\xff\xff"


def test_transparent_pixels_do_not_hide_a_second_picture() -> None:
    hidden = Image.new("RGBA", (10, 10), (200, 10, 10, 0))
    assert set(pixels(inspect("x.png", saved(hidden), FIGURE).deliverable()).tobytes()) == {255}


SECRET = b"P000001;F;1962-03-04;1204.55"


def smuggled() -> Iterator[tuple[str, bytes]]:
    """Images that look plain and carry rows: in text chunks, Exif, an ICC profile, a comment, after the end."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", SECRET.decode() * 20)
    info.add_itxt("XML:com.adobe.xmp", SECRET.decode() * 20)
    yield "a.png", saved(figure(), pnginfo=info)
    yield "b.png", saved(figure()) + SECRET * 20
    yield "c.png", saved(figure(), icc_profile=SECRET * 20)
    exif = Image.Exif()
    exif[0x9286] = SECRET * 20
    yield "d.jpg", saved(figure(), "JPEG", exif=exif)
    yield "e.jpg", saved(figure(), "JPEG", comment=SECRET * 20)
    yield "f.jpg", saved(figure(), "JPEG") + SECRET * 20
    palette = figure("P")
    yield "g.png", saved(palette, transparency=0)


@pytest.mark.parametrize(("name", "data"), list(smuggled()), ids=lambda value: value if isinstance(value, str) else "")
def test_nothing_but_pixels_leaves(name: str, data: bytes) -> None:
    result = inspect(name, data, FIGURE)
    require_plain_png(result.deliverable())
    assert SECRET not in result.rebuilt
    assert result.rebuilt_name == f"{name[0]}.png"
    if name[0] in "abdef":
        assert codes(result) == ["hidden-data"]


def test_the_decoder_does_not_even_see_what_is_dropped() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20)))  # Pillow alone refuses to read on
    plain_png = saved(figure())
    result = inspect("x.png", plain_png[:33] + text + plain_png[33:], FIGURE)
    assert result.rebuilt == inspect("x.png", plain_png, FIGURE).rebuilt
    assert codes(result) == ["hidden-data"]


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side: int) -> bytes:
    """A tiny PNG that claims to be enormous."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def animated() -> bytes:
    """An APNG of two frames."""
    return saved(figure(), save_all=True, append_images=[Image.new("RGB", (80, 60), "red")])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bomb.png", bomb(60000)),
        ("wide.png", saved(Image.new("1", (5000, 5000)))),
        ("long.png", saved(Image.new("RGB", (12001, 1)))),
        ("cut.png", saved(figure())[:-30]),
        ("cut.jpg", saved(figure(), "JPEG")[:200]),
        ("moving.png", animated()),
        ("noise.png", b"\x89PNG\r\n\x1a\n" + b"\xff" * 500),
        ("noise.jpg", b"\xff\xd8\xff" + b"\x00" * 500),
    ],
)
def test_broken_and_enormous_images_are_refused(name: str, data: bytes) -> None:
    result = inspect(name, data, FIGURE)
    assert codes(result) == ["unreadable"]
    with pytest.raises(NothingRebuiltError):
        result.deliverable()


def test_a_figure_must_say_how_few_people_it_shows() -> None:
    assert codes(inspect("x.png", saved(figure()))) == ["picture"]
    assert codes(inspect("x.png", saved(figure()), {"smallest": 9})) == ["small-count"]
    assert codes(inspect("x.png", saved(figure()), {"smallest": 10})) == []


def test_a_programs_signature_in_an_image_is_no_alarm() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "Matplotlib version3.11.2, https://matplotlib.org/")
    assert codes(inspect("x.png", saved(figure(), pnginfo=info, dpi=(100, 100)), FIGURE)) == []


@pytest.mark.parametrize(
    ("name", "data", "manifest", "code"),
    [
        ("model.pkl", b"\x80\x04\x95", {}, "kind-not-accepted"),
        ("a.csv", saved(figure()), {}, "not-what-its-name-says"),
        ("../a.csv", b"a,b\n1,2\n", {}, "unsafe-name"),
        ("gpj.\u202ecsv", b"a,b\n1,2\n", {}, "unsafe-name"),
        ("a.csv", b"a,b\n1,2\n", {"kind": "novel"}, "manifest"),
        ("a.csv", b"a,b\n1,2\n", [], "manifest"),
        ("a.csv", b"a,b\n=1,2\n", {}, "formula"),
        ("a.csv", b"\xff\xfe", {}, "encoding"),
        ("a.txt", "a\u202eb".encode(), {}, "forbidden-character"),
        ("a.csv", b"x" * (16 * 2**20 + 1), {}, "too-large"),
    ],
)
def test_what_cannot_leave_has_a_finding_and_no_bytes(name: str, data: bytes, manifest: object, code: str) -> None:
    result = inspect(name, data, manifest)
    assert codes(result) == [code]
    assert result.blocked
    assert result.findings[0].message in result.text
    assert (result.rebuilt, result.rebuilt_name, result.preview) == (b"", "", b"")
    assert result.summary["blocked"] is True


def test_a_wrong_profile_stops_everything() -> None:
    with pytest.raises(ConfigurationError):
        Inspector().inspect("a.csv", b"a,n\nx,20\n", {}, {"threshold": 1})


def test_the_largest_table_is_read_within_the_limits() -> None:
    rows = "".join(f"g{n},{n % 90 + 10},{n % 80 + 11}\n" for n in range(5000))
    result = inspect("big.csv", f"group,F,M\n{rows}".encode(), PEOPLE)
    assert result.rebuilt.count(b"\n") == 5001


def test_many_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: inspect(f"t{n}.csv", f"g,n\na,{n + 50}\n".encode()).rebuilt, range(8)))
    assert results == [f"g,n\na,{n + 50}\n".encode() for n in range(8)]


# --- hostile readers: what a parser that has been taken over could try ---------------------------------------------------


@pytest.fixture
def taken_over(tmp_path: Path) -> Iterator[object]:
    """Return a maker of inspectors whose reader is the given program, after an honest hello."""

    def make(program: str, *, hello: bool = True, timeout: float = 20) -> Inspector:
        path = tmp_path / "reader.py"
        start = f"import sys\nsys.stdout.buffer.write({HELLO!r}); sys.stdout.buffer.flush()\n" if hello else "import sys\n"
        path.write_text(start + textwrap.dedent(program))
        return Inspector(child=path, timeout=timeout)

    return make


def answer(**changes: object) -> str:
    """Return a program that gives a forged answer."""
    forged = {"kind": "csv", "findings": [], "summary": {}, "rows": [["g"], ["x"]], **changes}
    line = json.dumps(forged).encode() + b"\n"
    return f"sys.stdout.buffer.write({line!r})"


def test_a_reader_that_answers_well_is_believed(taken_over) -> None:
    assert inspect("a.csv", b"g\nx\n", inspector=taken_over(answer())).rebuilt == b"g\nx\n"


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.kill(os.getpid(), 11)",
        "import os; os.abort()",
        "raise SystemExit(3)",
        "hog = b'x' * (4 << 30)",
        "sys.stdout.buffer.write(b'x' * (200 << 20))",
        answer() + "; sys.stdout.flush(); raise SystemExit(3)",
        "hog = bytes(2 << 30)\n" + answer(),
        answer() + "; sys.stdout.buffer.write(b'x' * (60 << 20))",
        "import os\nwhile True: os.write(1, b'{' * 65536)",
        "sys.stdout.buffer.write(b'[' * 100000 + b'\\n')",
        "sys.stdout.buffer.write(b'not json\\n')",
        "pass",
        answer(kind="exe"),
        answer(kind=7),
        answer(findings="none"),
        answer(findings=[{"code": "small-count"}]),
        answer(findings=[{"code": "invented", "severity": "block", "message": "m", "where": {}, "advice": ""}]),
        answer(rows=[["g"], ["\u202ex"]]),
        answer(rows=[["g"], ["=1+1"]]),
        answer(rows=[["g"], ["x", "y"]]),
        answer(rows=None),
        answer(rows={"g": 1}),
        answer(summary={"x": 1.5}),
        answer(kind="text", text="a\u200bb\n"),
        answer(kind="text", text=5),
        answer(kind="png"),
        answer(kind="png") + "; sys.stdout.buffer.write(b'\\x89PNG\\r\\n\\x1a\\n' + b'rows')",
        answer(kind="refused"),
    ],
)
def test_a_reader_that_dies_or_lies_leads_to_refusal(taken_over, program: str) -> None:
    result = inspect("a.csv", b"g\nx\n", inspector=taken_over(program))
    assert codes(result) == ["unreadable"]
    assert result.blocked
    assert result.rebuilt == b""


def test_a_rebuilt_image_that_carries_more_is_refused(taken_over) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "rows")
    for data, fine in ((saved(figure()), True), (saved(figure(), pnginfo=info), False)):
        program = answer(kind="png") + f"; sys.stdout.buffer.write({data!r})"
        assert bool(inspect("a.png", b"x", inspector=taken_over(program)).rebuilt) is fine


def test_a_reader_that_hangs_is_stopped_with_all_its_children(taken_over, tmp_path: Path) -> None:
    inspector = taken_over("import os, time\nos.fork()\nos.setsid()\ntime.sleep(1234.5)", timeout=10)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(inspect, "a.csv", b"g\nx\n", None, inspector)
        eventually(lambda: len(inside(tmp_path)) >= 2)
        assert codes(running.result()) == ["unreadable"]
    eventually(lambda: inside(tmp_path) == [])


def inside(place: Path) -> list[str]:
    """Return the processes in whose file system a file of ``place`` is mounted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            if f"{place.name}/reader.py" in path.read_text():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_reader_that_spins_is_stopped(taken_over) -> None:
    assert codes(inspect("a.csv", b"g\nx\n", inspector=taken_over("while True: pass", timeout=6))) == ["unreadable"]


PROBE = """
import json, os, socket
tries = {}
def attempt(name, do):
    try:
        do()
        tries[name] = "open"
    except OSError:
        tries[name] = "shut"
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", int(PORT)), 2))
attempt("file", lambda: open(SECRET).read())
attempt("etc", lambda: os.listdir("/etc"))
attempt("proc", lambda: os.listdir("/proc/1"))
attempt("home", lambda: os.listdir("/home"))
attempt("write", lambda: open("/app/x", "w"))
attempt("tmp", lambda: open("/tmp/x", "w"))
attempt("usr", lambda: open("/usr/x", "w"))
attempt("code", lambda: open("/app/sulku/ids.py", "a"))
attempt("signal", lambda: os.kill(int(PARENT), 0))
attempt("root", lambda: os.setuid(0))
tries["environment"] = "open" if "HOME" in os.environ or "PATH_SECRET" in os.environ else "shut"
tries["descriptors"] = "open" if any(os.path.exists(f"/dev/fd/{n}") for n in range(3, 64)) else "shut"
finding = {"code": "unreadable", "severity": "note", "message": json.dumps(tries), "where": {}, "advice": ""}
sys.stdout.buffer.write(json.dumps({"kind": "csv", "findings": [finding], "summary": {}, "rows": [["g"], ["x"]]}).encode() + b"\\n")
"""


def test_the_reader_reaches_nothing(taken_over, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH_SECRET", "x")
    secret = tmp_path / "secret"
    secret.write_text("key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 2).close()  # the canary is alive, seen from outside
        values = f"PORT, SECRET, PARENT = {port}, {str(secret)!r}, {os.getpid()}\n"
        result = inspect("a.csv", b"g\nx\n", inspector=taken_over(values + PROBE))
    tries = json.loads(result.findings[0].message)
    assert len(tries) == 13
    assert {name for name, how in tries.items() if how != "shut"} == set()


# --- no isolation, no reading --------------------------------------------------------------------------------------------


def fake(tmp_path: Path, script: str) -> str:
    """Write a program that stands in for bubblewrap."""
    path = tmp_path / "bwrap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_it_proves_itself() -> None:
    Inspector().probe()


@pytest.mark.parametrize("script", ["echo 'no namespaces' >&2; exit 1", "exit 0", "kill -9 $$"])
def test_without_bubblewrap_nothing_is_read(tmp_path: Path, script: str) -> None:
    for inspector in (Inspector(bwrap=fake(tmp_path, script)), Inspector(bwrap="/nonexistent/bwrap")):
        with pytest.raises(InspectionUnavailableError):
            inspect("a.csv", b"g,n\nx,20\n", inspector=inspector)
        with pytest.raises(InspectionUnavailableError):
            inspector.probe()


def test_a_bubblewrap_that_isolates_nothing_is_noticed_by_the_reader(tmp_path: Path) -> None:
    child = Path(sys.modules["broker.adapters.inspection"].__file__).with_name("inspect_child.py")
    start = f"PYTHONPATH={Path(sulku.__file__).parents[1]} exec"
    half = f"{shutil.which('bwrap')} --unshare-user --unshare-net --uid 65534 --gid 65534 --dev-bind / /"
    for by, why in (("", "network or the user"), (half, "written to")):
        inspector = Inspector(bwrap=fake(tmp_path, f"{start} {by} {sys.executable} {child}"))
        with pytest.raises(InspectionUnavailableError, match=why):
            inspect("a.csv", b"g,n\nx,20\n", inspector=inspector)


def test_the_broker_never_loads_image_code() -> None:
    program = (
        "import sys, broker.adapters.inspection as i; i.Inspector().probe(); sys.exit('PIL' in sys.modules or 'csv' not in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}, check=False
    )
    assert run.returncode == 0
