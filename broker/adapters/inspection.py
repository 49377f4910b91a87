"""Inspects outputs in a bubblewrap of their own: hostile bytes are never parsed in the broker's process.

What comes back is data that is checked again here, with code that decodes nothing: the rows of a table are written out as
CSV on this side (so what leaves is what the reviewer is shown), text is looked at character by character, and an image
must be a PNG of pixels and nothing else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sulku
from sulku.codec import Plain, plain, typed
from sulku.disclosure import images, manifest, profiles, tables, texts
from sulku.disclosure.files import MAX_BYTES, Media, rebuilt_name, safe_name
from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.disclosure.report import summarise, written
from sulku.errors import InspectionUnavailableError, InvalidInputError, NothingRebuiltError, UnsafeNameError

TIMEOUT: Final = 20  # seconds
CPU: Final = 15  # seconds
MEMORY: Final = 1 << 30  # bytes of address space
MAX_ANSWER: Final = 48 * 2**20  # bytes; the kernel stops the reader there
MAX_LINE: Final = 16 * 2**20  # bytes of JSON
HELLO: Final = b"sulku-inspect 1\n"  # said by the reader once it has seen that it is isolated
START: Final = "import sys, runpy; sys.path.insert(0, '/app'); runpy.run_path('/app/reader.py', run_name='__main__')"
ALONE: Final = ("unshare", "--user", "--map-current-user", "--net")  # bubblewrap's own way raises the loopback, which gVisor cannot
NOBODY: Final = "65534"
MEDIA_TYPES: Final = {
    Media.TABLE: "text/csv; charset=utf-8",
    Media.TEXT: "text/plain; charset=utf-8",
    Media.PNG: "image/png",
    Media.JPEG: "image/png",
}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an output is, what was found in it, and the form of it that may leave.

    Attributes:
        kind: ``csv``, ``text``, ``png``, ``jpeg``, or ``refused``.
        findings: Gravest first.
        rebuilt: The only bytes that may leave; empty if the file was refused.
        rebuilt_name, media_type: Of ``rebuilt``; empty with it.
        summary: Plain values: blocked, blocks, reviews, notes, codes; rows, columns and roles, or lines, or width and height.
        preview: All that leaves, to be shown as inert: rows of a table (headings first), text, or a PNG.
    """

    kind: str
    findings: tuple[Finding, ...]
    rebuilt: bytes = b""
    rebuilt_name: str = ""
    media_type: str = ""
    summary: dict[str, Plain] = field(default_factory=dict)
    preview: tuple[tuple[str, ...], ...] | str | bytes = b""

    @property
    def blocked(self) -> bool:
        """Whether a finding forbids release."""
        return any(finding.severity is Severity.BLOCK for finding in self.findings)

    @property
    def text(self) -> str:
        """The findings as the reviewer reads them, gravest first."""
        return written(self.findings)

    def deliverable(self) -> bytes:
        """Return the rebuilt bytes.

        Raises:
            NothingRebuiltError: The file was refused.
        """
        if not self.rebuilt:
            raise NothingRebuiltError("this output was refused by its inspection")
        return self.rebuilt


class _HostileError(Exception):
    """The reader died, was stopped, or answered nonsense: the file is refused."""


class Inspector:
    """Reads outputs, each in a process with no network, nothing to write to and little time and memory."""

    def __init__(self, *, bwrap: str = "bwrap", child: Path | None = None, timeout: float = TIMEOUT) -> None:
        """Keep which bubblewrap and which program to run; ``timeout`` is in seconds."""
        self._bwrap = bwrap
        self._child = child or Path(__file__).with_name("inspect_child.py")
        self._timeout = timeout

    def inspect(self, name: str, data: bytes, manifest: Plain, profile: Plain) -> Inspection:
        """Return the inspection of one file; whatever is wrong with the file itself becomes a finding that blocks.

        Args:
            name: As the researcher called it.
            data: Hostile bytes.
            manifest: The file's entry in the submission's manifest; hostile.
            profile: One entry of ``policies/data/disclosure.json``.

        Raises:
            InspectionUnavailableError: The isolation cannot be had; nothing was read.
            ConfigurationError: The profile is wrong.
        """
        limits = profiles.parse(profile)
        try:
            safe_name(name)
            said = plain_manifest(manifest)
        except UnsafeNameError as error:
            return _refused(Code.NAME, f"{error}.")
        except InvalidInputError as error:
            detail = "; ".join(f"{where} {why}" for where, why in error.fields)
            return _refused(Code.MANIFEST, f"{error}{f' ({detail})' if detail else ''}.")
        if len(data) > MAX_BYTES:
            return _refused(Code.TOO_LARGE, f"the file is larger than {MAX_BYTES // 2**20} MiB.")
        try:
            answer, pixels = self._ask("inspect", [(name, data, said)], limits)
            return _inspection(name, answer, pixels)
        except _HostileError as error:
            return _refused(Code.UNREADABLE, f"reading the file in isolation failed: {error}.")

    def compare(self, files: Sequence[tuple[str, bytes, Plain]], profile: Plain) -> tuple[Finding, ...]:
        """Return what the tables of one submission (name, rebuilt CSV, manifest entry) give away together.

        Raises:
            InspectionUnavailableError: The isolation cannot be had.
            ConfigurationError: The profile is wrong.
        """
        if len(files) < 2:
            return ()
        limits = profiles.parse(profile)
        try:
            asked = [(name, data, plain_manifest(entry)) for name, data, entry in files]
            return _findings(self._ask("compare", asked, limits)[0])
        except (_HostileError, InvalidInputError) as error:
            return (found(Code.UNREADABLE, Severity.BLOCK, f"comparing the tables in isolation failed: {error}."),)

    def probe(self) -> None:
        """Prove that the isolation works, by reading a small table in it.

        Raises:
            InspectionUnavailableError: It does not.
        """
        limits = profiles.Profile("probe", 1, 10, 10, 10, 50, 90, zeros_block=False, digits=6, rows=500, rounding=())
        if self.inspect("probe.csv", b"group,n\na,50\nb,60\n", {}, plain(limits)).rebuilt != b"group,n\na,50\nb,60\n":
            raise InspectionUnavailableError("the isolated reader does not read a plain table")

    def _ask(self, task: str, files: Sequence[tuple[str, bytes, Plain]], profile: profiles.Profile) -> tuple[Any, bytes]:
        entries = [{"name": name, "manifest": entry, "size": len(data)} for name, data, entry in files]
        question = json.dumps({"task": task, "profile": plain(profile), "files": entries}).encode() + b"\n"
        output, errors, status = self._run(question + b"".join(data for _, data, _ in files))
        hello, _, rest = output.partition(b"\n")
        if hello + b"\n" != HELLO:
            said = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"status {status}"]
            raise InspectionUnavailableError(f"the isolated reader did not start: {said[0][:200]}")
        if status != 0:
            raise _HostileError(f"the reader ended with status {status}" if status is not None else "it took too long")
        line, _, pixels = rest.partition(b"\n")
        if len(line) > MAX_LINE:
            raise _HostileError("the answer is too long")
        try:
            return json.loads(line), pixels
        except (ValueError, RecursionError):
            raise _HostileError("the answer makes no sense") from None

    def _run(self, question: bytes) -> tuple[bytes, bytes, int | None]:
        """Run the reader once. Answers go to memory files, whose size the kernel limits (``RLIMIT_FSIZE``)."""
        with _memory("question") as asked, _memory("answer") as output, _memory("errors") as errors:
            asked.write(question)
            asked.seek(0)
            try:
                process = subprocess.Popen(  # noqa: S603 - our own command; nothing in it comes from the file
                    self._command(), stdin=asked, stdout=output, stderr=errors, env={}, cwd="/"
                )
            except OSError as error:
                raise InspectionUnavailableError(f"the isolated reader cannot be started: {error}") from error
            status: int | None
            try:
                status = process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                process.kill()  # the reader dies with bubblewrap
                process.wait()
            for stream in (output, errors):
                stream.seek(0)
            return output.read(MAX_ANSWER), errors.read(4096), status

    def _command(self) -> list[str]:
        limiter, bwrap = shutil.which("prlimit"), shutil.which(self._bwrap)
        if not limiter or not bwrap:
            raise InspectionUnavailableError(f"{'bubblewrap' if limiter else 'prlimit'} is not installed")
        limits = [f"--fsize={MAX_ANSWER}", f"--as={MEMORY}", f"--cpu={CPU}", "--core=0", "--nofile=64"]
        return [limiter, *limits, *ALONE, bwrap, *_isolation(), *_binds(self._child), sys_python(), "-I", "-S", "-c", START]


def plain_manifest(data: Plain) -> Plain:
    """Return the manifest entry, checked, in plain form.

    Raises:
        InvalidInputError: It is wrong; ``fields`` says where.
    """
    return plain(manifest.parse(data))


def sys_python() -> str:
    """Return the real path of the interpreter, which the sandbox shows at the same place."""
    return os.path.realpath(sys.executable)


def _memory(name: str) -> Any:
    return os.fdopen(os.memfd_create(name), "w+b")


def _isolation() -> list[str]:
    return [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"),
        *("--cap-drop", "ALL", "--uid", NOBODY, "--gid", NOBODY, "--hostname", "inspection"),
    ]


def _binds(child: Path) -> list[str]:
    """Show only the interpreter, Pillow, our pure code and the reader; nothing of the host's configuration or data."""
    shown = [("/usr", "/usr")]
    base = os.path.realpath(sys.base_prefix)
    if not base.startswith("/usr"):
        shown.append((base, base))
    found_pillow = importlib.util.find_spec("PIL")  # located, not imported: no image code in this process
    if found_pillow is None or found_pillow.origin is None:
        raise InspectionUnavailableError("Pillow is not installed")
    pillow = Path(found_pillow.origin).parent
    shown += [
        (str(pillow), "/app/PIL"),
        (str(Path(sulku.__file__).parent), "/app/sulku"),
        (str(child), "/app/reader.py"),
    ]
    libraries = pillow.parent / "pillow.libs"
    if libraries.is_dir():
        shown.append((str(libraries), "/app/pillow.libs"))
    arguments = [part for source, target in shown for part in ("--ro-bind", source, target)]
    for link in map(Path, ("/lib", "/lib64", "/bin")):
        if link.is_symlink():
            arguments += ["--symlink", str(link.readlink()), str(link)]
        elif link.is_dir():
            arguments += ["--ro-bind", str(link), str(link)]
    return [*arguments, "--remount-ro", "/", "--chdir", "/"]


def _refused(code: Code, message: str) -> Inspection:
    findings = (found(code, Severity.BLOCK, message),)
    return Inspection("refused", findings, summary=plain(summarise(findings)))


def _findings(answer: Any) -> tuple[Finding, ...]:
    if not isinstance(answer, dict) or not isinstance(answer.get("findings"), list):
        raise _HostileError("the answer has no findings")
    try:
        return tuple(typed(Finding, one) for one in answer["findings"])
    except InvalidInputError:
        raise _HostileError("the findings make no sense") from None


def _inspection(name: str, answer: Any, pixels: bytes) -> Inspection:
    """Return the inspection, after checking everything that the reader says.

    Raises:
        _HostileError: Something in it is not as an honest reader would say it.
    """
    findings = _findings(answer)
    numbers = plain(summarise(findings))
    kind, summary = answer.get("kind"), answer.get("summary")
    if kind == "refused" and any(one.severity is Severity.BLOCK for one in findings):
        return Inspection("refused", findings, summary=numbers)
    if kind not in set(Media) or not isinstance(summary, dict):
        raise _HostileError("the answer has no kind")
    media = Media(kind)
    try:
        numbers = {**plain(summary), **numbers}
        rebuilt, preview = _rebuilt(media, answer, pixels)
    except InvalidInputError as error:
        raise _HostileError(f"what it rebuilt may not leave: {error}") from None
    if not rebuilt:
        if not any(one.severity is Severity.BLOCK for one in findings):
            raise _HostileError("nothing was rebuilt")
        return Inspection(kind, findings, summary=numbers)
    return Inspection(kind, findings, rebuilt, rebuilt_name(name, media), MEDIA_TYPES[media], numbers, preview)


def _rebuilt(media: Media, answer: Any, pixels: bytes) -> tuple[bytes, tuple[tuple[str, ...], ...] | str | bytes]:
    if media is Media.TABLE:
        rows = answer.get("rows")
        if rows is None:
            return b"", b""
        preview = tables.rows_of(rows)
        return tables.write(preview), preview
    if media is Media.TEXT:
        text = answer.get("text")
        if text is None:
            return b"", b""
        return texts.require_rebuilt(text).encode(), text
    if pixels:
        images.require_plain_png(pixels)
    return pixels, pixels
