"""The isolated reader: hostile bytes in by stdin, findings and what may be shown out by stdout; runs inside bubblewrap.

It first checks that it is alone (no network, nothing to write to), says hello, and only then reads its input.
Input: one line of JSON ``{"task", "profile", "files": [{"name", "manifest", "size"}]}``, then the files' bytes.
Output: the hello line, one line of JSON, then the pixels of an image, if any.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import warnings
from typing import Any

from PIL import Image

from sulku.disclosure import images, manifest, profiles, tables, texts
from sulku.disclosure.check import check_table, check_together, ordered
from sulku.disclosure.columns import roles
from sulku.disclosure.files import Media, identify
from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.errors import UnreadableImageError, UnreadableTableError

HELLO = b"sulku-inspect 1\n"  # inspection.py knows it too; this program imports nothing of the broker, nor it this
Answer = tuple[dict[str, Any], bytes]
# Five bits a channel: the upper five stay, and white and black stay what they are. Low bits are where pictures hide text.
LEVELS = [(level & 0xF8) | (level >> 5) for level in range(256)]


def require_isolated() -> None:
    """Stop unless there is no network but an idle loopback, no other user's files and nothing to write to."""
    if [name for _, name in socket.if_nameindex()] != ["lo"] or os.getuid() == 0:
        raise SystemExit("not isolated: the network or the user is the host's")
    if not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise SystemExit("not isolated: the file system can be written to")


def inspect(data: bytes, entry: dict[str, Any], profile: profiles.Profile) -> Answer:
    """Return what one file is, what was found in it, and its rebuilt form."""
    said = manifest.parse(entry["manifest"])
    media, problems = identify(data, entry["name"])
    if media is None:
        return _answer("refused", problems), b""
    try:
        if media is Media.TABLE:
            return _table(data, said, profile), b""
        if media is Media.TEXT:
            text = texts.rebuild(data)
            return _answer(media, texts.check_text(text, said, profile), {"lines": text.count("\n")}, text=text), b""
        return _image(data, media, said, profile)
    except UnreadableTableError as error:  # texts too
        return _answer(media, error.findings), b""
    except (UnreadableImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return _answer(media, [found(Code.UNREADABLE, Severity.BLOCK, f"{error}.")]), b""
    except (OSError, ValueError, SyntaxError, MemoryError, IndexError, OverflowError) as error:
        message = f"the {media} cannot be decoded ({type(error).__name__})."
        return _answer(media, [found(Code.UNREADABLE, Severity.BLOCK, message)]), b""


def compare(files: list[tuple[bytes, dict[str, Any]]], profile: profiles.Profile) -> Answer:
    """Return what the rebuilt tables of one submission give away together."""
    read = [(entry["name"], tables.parse(data, profile.digits), manifest.parse(entry["manifest"])) for data, entry in files]
    return _answer("tables", check_together(read, profile)), b""


def _table(data: bytes, said: manifest.Manifest, profile: profiles.Profile) -> dict[str, Any]:
    table = tables.parse(data, profile.digits)
    had = [role.value for role in roles(table, said)]
    summary = {"rows": len(table.rows), "columns": len(table.header), "roles": had}
    return _answer(Media.TABLE, check_table(table, said, profile), summary, rows=tables.texts(table))


def _image(data: bytes, media: Media, said: manifest.Manifest, profile: profiles.Profile) -> Answer:
    beside = images.check_png(data) if media is Media.PNG else images.check_jpeg(data)
    picture = repaint(images.essential_png(data) if media is Media.PNG else data, media)
    findings = [*beside, *images.check_figure(said, profile)]
    summary = {"width": picture.width, "height": picture.height}
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=6)
    return _answer(media, ordered(findings), summary), out.getvalue()


def repaint(data: bytes, media: Media) -> Image.Image:
    """Return a new RGB image with the same pixels at five bits a channel, on white, and nothing else.

    Raises:
        UnreadableImageError: It is too large, or has more than one frame.
    """
    Image.MAX_IMAGE_PIXELS = images.MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    picture = Image.open(io.BytesIO(data), formats=[media.upper()])
    if max(picture.size) > images.MAX_SIDE:  # the area is limited by Pillow, as set above
        raise UnreadableImageError(f"the image has {picture.width} by {picture.height} pixels")
    if getattr(picture, "n_frames", 1) != 1:
        raise UnreadableImageError("the image has several frames")
    picture.load()
    if picture.mode.startswith("I"):  # 16 bits of grey
        flat = picture.convert("I").point(lambda level: level * (1 / 256)).convert("L").convert("RGB")
    elif picture.has_transparency_data:
        clear = picture.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    else:
        flat = picture.convert("RGB")
    return Image.frombytes("RGB", flat.size, flat.point(LEVELS * 3).tobytes())


def _answer(kind: str, findings: Any, summary: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    listed: list[Finding] = list(findings)
    return {"kind": str(kind), "findings": [one.document() for one in listed], "summary": summary or {}, **more}


def main() -> None:
    """Answer one question, then end."""
    require_isolated()
    sys.stdout.buffer.write(HELLO)
    sys.stdout.buffer.flush()
    asked = json.loads(sys.stdin.buffer.readline())
    profile = profiles.parse(asked["profile"])
    files = [(sys.stdin.buffer.read(entry["size"]), entry) for entry in asked["files"]]
    if asked["task"] == "compare":
        answer, pixels = compare(files, profile)
    else:
        answer, pixels = inspect(*files[0], profile)
    line = json.dumps(answer, separators=(",", ":")).encode()
    sys.stdout.buffer.write(line + b"\n" + pixels)


if __name__ == "__main__":
    main()
