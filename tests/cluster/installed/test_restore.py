"""Database, state and secrets are lost while people work, and come back from a backup as docs/how-to/operator/keep-a-cluster-running.md says."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from sulku import ids
from tests.cluster.install import CHART, merged
from tests.cluster.installed.visits import SOCKETS, Site
from tests.soon import soon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800, func_only=True), SOCKETS]

STATE: Final = ("blobs", "vault/datasets", "policies", "spool", "homes", "keys")
SECRETS: Final = ("tokens", "session", "canary", "database", "redis", "authority")
DATABASE: Final = ("-h", "/run/postgres", "-U", "postgres")
LEFT_ALONE: Final = 60  # seconds for which the worker leaves a namespace that nobody knows alone


@dataclass
class Backup:
    """What an operator keeps elsewhere, and how they take it and bring it back."""

    here: Site
    folder: Path

    @property
    def state(self) -> Path:
        """The state folder on the node."""
        return self.here.at.folder / "state"

    def postgres(self, *words: str, given: bytes | None = None) -> bytes:
        """Run a program of PostgreSQL's in its pod."""
        cluster = self.here.at.cluster
        kubectl = [*cluster.asking(), "-n", "sulku"]
        command = [*kubectl, "exec", "-i", "postgres-0", "--", *words]
        done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def take(self) -> None:
        """The database first, then what its rows name, then the secrets."""
        (self.folder / "sulku.dump").write_bytes(self.postgres("pg_dump", *DATABASE, "--format=custom", "sulku"))
        for name in STATE:
            if (self.state / name).exists():
                copy(self.state / name, self.folder / "state" / name)
        found = [self.here.at.cluster.get("secret", name, "-n", "sulku") for name in SECRETS]
        for one in found:
            for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
                one["metadata"].pop(field, None)
        (self.folder / "secrets.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))

    def lose(self) -> None:
        """A disk is gone, and the secrets with it; what runs finds nothing where it was."""
        for part in ("state", "postgres"):
            for one in (self.here.at.folder / part).iterdir():
                assert soon(lambda one=one: gone(one)), f"{one} is written anew"  # type: ignore[misc]
        self.here.at.installed.kubectl("delete", "secret", *SECRETS)
        self.here.at.installed.kill("postgres")

    def bring_back(self) -> None:
        """State and secrets; the keys first."""
        for name in ("keys", *STATE[:-1]):
            if (self.folder / "state" / name).exists():
                copy(self.folder / "state" / name, self.state / name)
        self.here.at.installed.kubectl("apply", "-f", "-", given=(self.folder / "secrets.json").read_text())

    def helm(self, values: dict[str, Any]) -> None:
        """Have Helm install what values say, without waiting."""
        self.here.at.installed.helm("upgrade", "sulku", str(CHART), given=merged(self.here.at.installed.values, values))


def gone(one: Path) -> bool:
    """Remove a file or a folder, and return whether it is gone: in one that is in use something may appear meanwhile."""
    if one.is_dir():
        shutil.rmtree(one, ignore_errors=True)
    else:
        one.unlink(missing_ok=True)
    return not one.exists()


def copy(source: Path, target: Path) -> None:
    """Copy a folder with its owners and modes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copystat(source.parent, target.parent)
    command = ["cp", "-a", "--no-target-directory", str(source), str(target)]
    assert soon(lambda: subprocess.run(command, check=False).returncode == 0), "something vanishes from it each time"
    subprocess.run(["chown", "--reference", str(source.parent), str(target.parent)], check=True)


def strays(here: Site) -> list[str]:
    """Return the tunnels of which the ledger says that they ended and were in no record."""
    return [one["body"]["tunnel"] for one in here.who("tove").get("/ledger/entries?type=ledger.stray-ended&most=50")["entries"]]


@pytest.fixture
def backup(here: Site, tmp_path: Path) -> Backup:
    return Backup(here, tmp_path)


@pytest.mark.draw(1, "replaced")
def test_what_is_lost_while_people_work_comes_back_and_tunnels_that_nobody_recorded_end(here: Site, backup: Backup) -> None:
    permit = here.permit("flchain", "ada", "aki")
    lab = here.open("ada", permit)
    recorded = lab.tunnel
    lab.run("open('/home/researcher/kept.txt', 'w').write('of before')")
    backup.take()
    lab.run("open('/home/researcher/lost.txt', 'w').write('of after')")
    unrecorded = here.open("aki", permit).tunnel
    backup.lose()

    # 1: nothing of ours runs; what is left of tunnels is deleted by name. One is forgotten
    backup.helm({"images": {"server": ""}})
    here.at.installed.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=gateway", "--grace-period=1", "--ignore-not-found")
    assert soon(lambda: here.at.installed.pods() == [] == here.at.cluster.get("pv", "-l", "app.kubernetes.io/name=sulku")["items"], 300)
    here.at.cluster.kubectl("delete", "pod", "workspace", "-n", ids.label(recorded), "--grace-period=1")
    # 2: state and secrets; 3: an empty database, which nobody begins anew
    backup.bring_back()
    backup.helm({})
    assert soon(lambda: "restore its database" in here.at.installed.logs("prepare"), 300), here.at.installed.told()
    assert backup.postgres("psql", *DATABASE, "-At", "sulku", "-c", "select count(*) from pg_tables where schemaname = 'public'").strip() == b"0"
    backup.postgres("pg_restore", *DATABASE, "--exit-on-error", "--dbname=sulku", given=(backup.folder / "sulku.dump").read_bytes())
    # 4: what waited goes on
    here.at.installed.wait(600)
    here.forget()  # the sign-in of a trial keeps nothing

    here.verified()
    assert here.closed(recorded, 150)["cause"] == "workspace-lost"
    known = {one["id"] for one in here.who("maria").get("/tunnels")}
    assert recorded in known
    assert unrecorded not in known, "it was opened after the backup"
    assert soon(lambda: unrecorded in strays(here), LEFT_ALONE + 120), here.at.installed.logs("worker")
    assert here.at.left_behind(120) == []

    # and work goes on: the home of then, the data, the same ledger
    lab = here.open("ada", permit)
    assert lab.run("import os; print(sorted(one for one in os.listdir('/home/researcher') if one.endswith('.txt')))").strip() == "['kept.txt']"
    assert lab.run("print(open('/data/flchain/flchain.csv').readline().count(','))").strip() == "1"
    here.who("ada").post(f"/tunnels/{lab.tunnel}/close")
    assert here.closed(lab.tunnel)["cause"] == "closed-by-person"
    here.verified()
