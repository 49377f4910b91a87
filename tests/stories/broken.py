"""Break one thing in each step of the story and see that the story notices: ``make test-broken`` (about six minutes)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Break:
    """One change to one file that ruins step ``step``; ``old`` must be there, once."""

    step: int
    what: str
    file: str
    old: str
    new: str


BREAKS = (
    Break(1, "persons are miscounted", "broker/adapters/vault.py", "len(persons), person_key)", "1, person_key)"),
    Break(2, "one steward is enough", "src/sulku/applications.py", "QUORUM: Final = 2", "QUORUM: Final = 1"),
    Break(3, "anybody enters any tunnel", "policies/tunnel.rego", 'cleared contains "not-yours" if actor.scope == "all"', 'cleared contains "not-yours" if true'),
    Break(4, "attempts are not recorded", "broker/web/api/internal.py", "        tunnels.report(ports, tunnel, seen_there)", "        del seen_there"),
    Break(5, "verdicts are not blind", "src/sulku/releases.py", "    if release.phase is Phase.INDEPENDENT:\n        return replace(release, reviews=tuple", "    if False:\n        return replace(release, reviews=tuple"),
    Break(6, "the supervisor's clock is an hour late", "broker/adapters/sandbox.py", '"milliseconds": left, "boot"', '"milliseconds": left + 3_600_000, "boot"'),
    Break(7, "the verifier compares nothing", "src/sulku/ledger/verify.py", '            hashes = [sha256(b"\\x00" + entry).digest() for entry in entries]', "            hashes = [tile.data[n * 32 : n * 32 + 32] for n in range(len(entries))]"),
)  # fmt: skip


def noticed(one: Break) -> bool:
    """Whether the story fails on a copy of the repository with ``one`` broken."""
    with tempfile.TemporaryDirectory(prefix="sulku-broken-") as folder:
        copy = Path(folder) / "tree"
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
        for name in filter(None, listed):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        target = copy / one.file
        text = target.read_text()
        assert text.count(one.old) == 1, f"{one.file} has no {one.old!r}"
        target.write_text(text.replace(one.old, one.new))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/stories/test_story.py", "-k", "embedded"]
        env = {"PYTHONPATH": f"{copy / 'src'}:{copy}", "HOME": str(Path.home()), "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=400)
        assert done.returncode in {0, 1}, f"the story did not run at all: {done.stdout[-2000:]}{done.stderr[-500:]}"
        if done.returncode == 1:
            lines = [line for line in done.stdout.splitlines() if line.startswith("E  ")]  # those of threads that lost their broker as well
            line = next((line for line in lines if "AssertionError" in line), next(iter(lines), ""))
            print(f"step {one.step}: {one.what}: noticed  ({line[1:].strip()[:120]})", flush=True)
        return done.returncode == 1


def main(steps: list[str]) -> int:
    """Break each step (or those named) in turn; 0 if every break was noticed."""
    missed = [one for one in BREAKS if (not steps or str(one.step) in steps) and not noticed(one)]
    for one in missed:
        print(f"step {one.step}: {one.what}: NOT noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
