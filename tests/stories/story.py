"""The whole main job as seven steps, each by the people who do it, through the doors that they use. Demo and tests run the same."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sulku import ids
from tests.soon import SECONDS
from tests.stories.clinical import DATASETS
from tests.stories.installation import At
from tests.stories.person import Lab, Person, RefusedByApi, Watcher

OTHERS = ("aki", "eva", "ilo")
WAIT = 120.0  # seconds for what is usually a matter of one or two: the machine may be everybody's
NOTEBOOK = Path(__file__).with_name("notebook.py")  # what the researcher runs, cell by cell


@dataclass
class Told:
    """One line of the story: who did what, what policy or the lock said of it, and how long it took."""

    step: int
    who: str
    what: str
    said: str
    seconds: float


@dataclass
class Story:
    """Runs the steps in order, on one installation; ``tell`` hears each line as it happens."""

    at: At
    tell: Callable[[Told], None] = lambda told: None
    told: list[Told] = field(default_factory=list)
    step: int = 0
    datasets: dict[str, str] = field(default_factory=dict)
    application: str = ""
    permit: str = ""
    tunnel: str = ""
    release: str = ""
    bundle: bytes = b""
    others: dict[str, tuple[str, Watcher]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._people: dict[str, Person] = {}

    def who(self, name: str) -> Person:
        """Return a signed-in person by their first name."""
        if name not in self._people:
            address = {"ada": "uni", "aki": "uni", "eva": "uni", "ilo": "uni", "sten": "uni", "tove": "audit", "olli": "ops"}.get(name, "register")
            self._people[name] = self.at.person(f"{name}@{address}.example")
        return self._people[name]

    def line(self, who: str, what: str, do: Callable[[], Any], said: Callable[[Any], str] | str = "") -> Any:
        """Do something and tell it; what it returns is passed on."""
        began = time.monotonic()
        found = do()
        told = Told(self.step, who, what, said(found) if callable(said) else said, time.monotonic() - began)
        self.told.append(told)
        self.tell(told)
        return found

    def refused(self, who: str, what: str, do: Callable[[], Any], *codes: str) -> str:
        """Try something that must be refused, with one of ``codes`` (its code or one of its reasons); return which."""

        def attempt() -> str:
            try:
                done = do()
            except RefusedByApi as error:
                found = {error.code, *error.problem.get("reasons", ()), error.problem.get("rule", "")}
                match = found & set(codes)
                assert match, f"{what}: refused as {found}, not as {codes}: {error.problem}"
                return min(match)
            raise AssertionError(f"{what}: was not refused but gave {str(done)[:300]}")

        return self.line(who, what, attempt, lambda code: f"refused: {code}")  # type: ignore[no-any-return]

    # --- 1 ------------------------------------------------------------------------------------------------------------

    def catalogue(self) -> None:
        """Three real datasets are catalogued."""
        self.step = 1
        self.datasets = self.line("Maria (steward)", "catalogues three clinical datasets", self.at.catalogue, lambda all_: ", ".join(all_))
        for one in self.who("ada").get("/datasets"):
            edition = one["editions"][0]
            assert edition["persons"] == next(known.persons for known in DATASETS if known.name == one["name"])
            self.line("anybody", f"reads of {one['name']}", lambda: None, f"{edition['persons']:,} persons, {len(edition['variables'])} variables")

    # --- 2 ------------------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """A researcher applies; two stewards without a conflict decide; the outcome is a signed permit."""
        self.step = 2
        ada, aki, maria, bo, sten = (self.who(name) for name in ("ada", "aki", "maria", "bo", "sten"))
        today = datetime.now(UTC).date()
        answers = {
            "title": "Free light chains and survival",
            "purpose": "Whether a high concentration of free light chain foretells death in older people, so that they are seen earlier.",
            "basis": "Secondary Use Act 552/2019, section 38",
            "outputs": "Tables of counts by sex and age, a survival table and a regression.",
            "people": [aki.id, self.who("eva").id, self.who("ilo").id],
            "datasets": [
                {"dataset": self.datasets["flchain"], "version": "1", "variables": ["person", "age", "sex", "kappa", "lambda", "futime", "death"]},
                {"dataset": self.datasets["whas500"], "version": "1", "variables": ["person", "age", "gender", "lenfol", "fstat"]},
            ],
            "starts": (today - timedelta(days=1)).isoformat(),
            "ends": (today + timedelta(days=300)).isoformat(),
        }
        key = {"Idempotency-Key": "story-application"}
        made = self.line("Ada (researcher)", "drafts an application", lambda: ada.post("/applications", answers, **key), lambda one: one["id"])
        self.application = made["id"]
        again = ada.post("/applications", answers, **key)
        assert again["id"] == self.application, "the same request twice made two applications"
        path = f"/applications/{self.application}"
        self.line("Ada (researcher)", "sends it to the stewards", lambda: ada.post(f"{path}/submit"), lambda one: f"round {one['round']}")
        self.refused("Sten (steward)", "would decide: same employer", lambda: sten.post(f"{path}/judge", _yes()), "same-organisation")
        self.refused("Ada (researcher)", "would approve her own", lambda: ada.post(f"{path}/judge", _yes()), "role-not-allowed")
        self.line("Maria (steward)", "approves", lambda: maria.post(f"{path}/judge", _yes()), lambda one: f"{one['state']}: one of two")
        self.refused("Maria (steward)", "would approve twice", lambda: maria.post(f"{path}/judge", _yes()), "judged-already", "rule")
        decided = self.line("Bo (steward)", "approves", lambda: bo.post(f"{path}/judge", _yes()), lambda one: f"{one['state']}: two of two")
        self.permit = decided["permit"]
        found = ada.get(f"/permits/{self.permit}")
        self.line("Ada (researcher)", "reads her permit", lambda: found, lambda one: f"{one['id']}, {one['state']}, signed")

    # --- 3 ------------------------------------------------------------------------------------------------------------

    def open(self) -> Lab:
        """The researcher opens a tunnel: proved closed, then the data, then she enters."""
        self.step = 3
        ada = self.who("ada")
        asked = {"permit": self.permit, "minutes": 60}
        self.refused("Ada (researcher)", "asks for ten hours", lambda: ada.post("/tunnels", {**asked, "minutes": 600}), "minutes", "too-long", "minutes-out-of-range", "rule")
        self.refused("Maria (steward)", "asks for a tunnel", lambda: self.who("maria").post("/tunnels", asked), "role-not-allowed")
        self.tunnel = self.line("Ada (researcher)", "asks for a tunnel of an hour", lambda: ada.post("/tunnels", asked), lambda one: one["id"])["id"]
        self.line(
            "sulku",
            "proves it closed, mounts the data, starts JupyterLab",
            lambda: ada.wait(f"/tunnels/{self.tunnel}", "state", "open", "closing", "closed", seconds=WAIT),
            lambda one: f"{one['state']} until {one['deadline']}",
        )
        found = ada.get(f"/tunnels/{self.tunnel}")
        assert found["state"] == "open", f"{found}\n{self.at.tail('broker')}"
        ada.sign_in()
        lab = self.line("Ada (researcher)", "enters by a single-use ticket", lambda: ada.enter(self.tunnel), "shell page of the gateway")
        self.line("Aki (researcher)", "would enter Ada's tunnel", lambda: self._stranger(lab), lambda code: f"refused: {code}")
        return lab  # type: ignore[no-any-return]

    def run(self, scratch: Path) -> None:
        """Tell all of it."""
        self.catalogue()
        self.apply()
        lab = self.open()
        self.analyse(lab)
        self.release_results(lab)
        self.open_others()
        self.deadlines()
        self.audit(scratch)

    def _stranger(self, lab: Lab) -> str:
        aki = self.who("aki")
        aki.sign_in()
        try:
            aki.enter(self.tunnel)
        except RefusedByApi as error:
            assert lab.request("GET", "/api/kernels").status_code == 200, "the owner cannot reach her own tunnel"
            return str(error.code)
        raise AssertionError("Aki entered Ada's tunnel")

    # --- 4 ------------------------------------------------------------------------------------------------------------

    def analyse(self, lab: Lab) -> None:
        """A real notebook on a real kernel; then every way out is tried and refused."""
        self.step = 4
        self.line("Ada (researcher)", "starts a kernel", lab.start, "over the websocket, through the gateway")
        for number, cell in enumerate(NOTEBOOK.read_text().split("# %%")[1:], 1):
            title = cell.split("\n", 1)[0].strip()
            self.line("Ada (researcher)", f"cell {number}: {title}", lambda cell=cell: lab.run(cell.split("\n", 1)[1]), lambda text: text.strip().splitlines()[-1][:100])
        for what, code in INSIDE:
            self.line("Ada (researcher)", f"tries from inside: {what}", lambda code=code: lab.run(_attempt(code)), _refused_inside)
        for what, method, path in OUTSIDE:
            self.line("Ada (researcher)", f"tries through the gateway: {what}", lambda m=method, p=path: lab.request(m, p).status_code, _refused_outside)
        self.line("Ada (researcher)", "floods display data", lambda: self._flood(lab), lambda text: f"cut: {text}")
        self.line("sulku", "has every attempt in the ledger", self._attempts_recorded, lambda count: f"{count} refusals of the gateway")

    def _flood(self, lab: Lab) -> str:
        left = int(self.who("ada").get(f"/tunnels/{self.tunnel}")["budget"])
        code = f"from IPython.display import display, HTML\nfor n in range({left // 2**21 + 40}): display(HTML('x' * 2**21))"
        try:
            lab.run(code, 120)
        except (ConnectionError, TimeoutError) as error:
            return str(error)[:80]
        raise AssertionError("the flood was let through")

    def _attempts_recorded(self) -> int:
        tove = self.who("tove")
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            found = tove.get(f"/ledger/entries?record={self.tunnel}&type=refusal.recorded&most=200")["entries"]
            if len(found) >= len(OUTSIDE):
                return len(found)
            time.sleep(0.5)
        raise AssertionError(f"only {len(found)} of {len(OUTSIDE)} attempts are in the ledger")

    # --- 5 ------------------------------------------------------------------------------------------------------------

    def release_results(self, lab: Lab) -> None:
        """Outputs are submitted from inside; a small cell is found and returned; the corrected version is reviewed blind and released."""
        self.step = 5
        ada, maria, bo, cai = (self.who(name) for name in ("ada", "maria", "bo", "cai"))
        maria_tops = {"bytes": 50 * 2**20, "reason": "The demonstration spent the budget on purpose."}
        self.line("Maria (steward)", "tops the egress budget up", lambda: maria.post(f"/tunnels/{self.tunnel}/top-up", maria_tops), "recorded")
        lab = ada.enter(self.tunnel)
        lab.start()
        lab.run(SETUP)
        self.line("Ada (researcher)", "submits a table from inside", lambda: lab.run(SUBMIT_FIRST), lambda text: text.strip().splitlines()[-1])
        self.release = self._arrived(1)
        path = f"/releases/{self.release}"
        findings = self._inspected(path)
        self.line("sulku", "checks and rebuilds it in isolation", lambda: findings, lambda all_: f"{len(all_)} findings, first: {all_[0]['code']}")
        assert any(one["severity"] == "block" for one in findings), findings
        no = lambda person: person.post(f"{path}/judge", {"marks": self._marks(person, path, "change", "small-count")})  # noqa: E731
        self.line("Maria (steward)", "asks for a change: small-count", lambda: no(maria), "blind")
        hidden = bo.get(path)["reviews"]
        assert not hidden, "Bo sees Maria's verdict before giving his own"
        self.line("Bo (steward)", "asks for a change, not seeing hers", lambda: no(bo), "blind")
        back = {"release": False, "points": ["Merge the oldest ages: some cells have fewer than ten persons."]}
        self.line("Bo (steward)", "consolidates: returned", lambda: bo.post(f"{path}/consolidate", back), lambda one: ", ".join(one["reasons"]))
        self.line("Ada (researcher)", "submits the corrected table and a plot", lambda: lab.run(SUBMIT_SECOND.replace("RELEASE", self.release)), lambda text: text.strip().splitlines()[-1])
        self._arrived(2)
        self._inspected(path)
        yes = lambda person: person.post(f"{path}/judge", {"marks": self._marks(person, path, "approve", None)})  # noqa: E731
        self.refused("Aki (researcher)", "would judge his own group's", lambda: yes(self.who("aki")), "role-not-allowed", "not-found")
        self.line("Bo (steward)", "approves every file", lambda: yes(bo), "blind")
        self.line("Cai (steward)", "approves every file", lambda: yes(cai), "blind")
        self.line("Cai (steward)", "consolidates: let out", lambda: cai.post(f"{path}/consolidate", {"release": True, "points": []}), lambda one: one["state"])
        out = self.line("sulku", "signs the manifest and delivers", lambda: ada.wait(path, "state", "released", seconds=WAIT), lambda one: f"{len(one['items'])} files")
        for item in out["items"]:
            answer = ada.call("GET", f"{path}/files/{item['output']}")
            self.line("Ada (researcher)", f"fetches {item['name']} outside", lambda answer=answer: answer, lambda got: f"{len(got.content):,} bytes")

    def _arrived(self, round_: int) -> str:
        ada = self.who("ada")
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            for one in ada.get("/releases"):
                if one["tunnel"] == self.tunnel and one["round"] == round_ and one["state"] == "submitted":
                    return str(one["id"])
            time.sleep(0.3)
        raise TimeoutError(f"no submission arrived: {self.at.tail('gateway')}")

    def _inspected(self, path: str) -> list[dict[str, Any]]:
        deadline = time.monotonic() + WAIT
        ada = self.who("ada")
        while not ada.get(path)["compared"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not inspected: {self.at.tail('broker')}")
            time.sleep(0.3)
        return [finding for one in ada.get(f"{path}/outputs") for finding in one["findings"]]

    def _marks(self, person: Person, path: str, verdict: str, reason: str | None) -> list[dict[str, Any]]:
        try:
            items = person.get(path)["items"]
        except RefusedByApi:
            items = self.who("ada").get(path)["items"]
        return [{"output": one["output"], "rebuilt": one["rebuilt"], "verdict": verdict, "reason": reason, "comment": ""} for one in items]

    # --- 6 ------------------------------------------------------------------------------------------------------------

    def open_others(self) -> None:
        """Three colleagues open short tunnels while Ada works; step 6 is about their ends."""

        def one(name: str) -> None:
            person = self.who(name)
            tunnel = person.post("/tunnels", {"permit": self.permit, "minutes": self.at.shortest})["id"]
            person.wait(f"/tunnels/{tunnel}", "state", "open", "closing", "closed", seconds=60 * self.at.shortest)
            person.sign_in()
            lab = person.enter(tunnel)
            lab.start()
            self.others[name] = (tunnel, Watcher(lab))

        for name in OTHERS:
            self.who(name)
        self._opening = [threading.Thread(target=one, args=(name,), daemon=True) for name in OTHERS]
        for thread in self._opening:
            thread.start()

    def deadlines(self) -> None:
        """Deadlines pass. Any one clock is killed first; the others end the tunnel all the same."""
        self.step = 6
        for thread in self._opening:
            thread.join(60 * self.at.shortest)
        assert set(self.others) == set(OTHERS), f"only {set(self.others)} got in: {self.at.tail('broker')}"
        due = {name: self._deadline(name) for name in OTHERS}
        first, second, third = sorted(OTHERS, key=due.__getitem__)
        self.line("an operator", f"kills {self.at.keeper} of {third.title()}'s tunnel", lambda: self._kill_keeper(third), lambda cause: f"dead at once: {cause}")
        self._until(due[first] - timedelta(seconds=2))
        self.line("an operator", "kills the broker two seconds before the deadline", lambda: self.at.kill("broker"), "kill -9")
        self.line(self.at.clocks, f"end {first.title()}'s tunnel without it", lambda: self._ended(first, due[first]), self._late)
        self._until(due[second])
        self.line(self.at.clocks, f"end {second.title()}'s tunnel without it", lambda: self._ended(second, due[second]), self._late)
        self.at.start("broker")
        for name in (first, second, third):
            path = f"/tunnels/{self.others[name][0]}"
            found = self.who(name).wait(path, "state", "closed", seconds=WAIT)
            self.line("the broker, back", f"records the end of {name.title()}'s tunnel", lambda found=found: found, lambda one: f"{one['cause']}, nothing left")
        origin = self.at.settings.tunnel_url(ids.label(self.others[first][0]))
        page = self.line("anybody", "asks for the tunnel again", lambda: self.who(first).web.get(f"{origin}/lab", headers={"Accept": "text/html"}), lambda got: f"{got.status_code}, a page that says so")
        assert page.status_code in {403, 404, 410} and "ended" in page.text.lower(), (page.status_code, page.text[:500])
        self.line("an operator", "kills the gateway while Ada is inside", lambda: self.at.kill("gateway"), "kill -9")
        self.line("Ada (researcher)", "closes her tunnel meanwhile", lambda: self._close_own(), lambda one: f"{one['state']}: {one['cause']}")
        self.at.start("gateway")

    def _deadline(self, name: str) -> datetime:
        return datetime.fromisoformat(self.who(name).get(f"/tunnels/{self.others[name][0]}")["deadline"])

    def _until(self, at: datetime) -> None:
        time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))

    def _kill_keeper(self, name: str) -> str:
        tunnel, watcher = self.others[name]
        self.at.kill_keeper(tunnel)
        found = self.who(name).wait(f"/tunnels/{tunnel}", "state", "closed", seconds=WAIT)
        watcher.wait(10)
        assert watcher.closed_at is not None, "the socket outlived the workspace"
        return str(found["cause"])

    def _ended(self, name: str, due: datetime) -> tuple[float, float]:
        """Return how late, in seconds, the socket was cut and the workspace was dead."""
        tunnel, watcher = self.others[name]
        watcher.wait(10)
        assert watcher.closed_at is not None, f"the socket of {name}'s tunnel is open after its deadline"
        for _ in range(int(self.at.late * 25)):
            found = self.at.ended(tunnel)
            if found is not None:
                break
            time.sleep(0.1)
        assert found is not None, f"{name}'s workspace outlived its deadline"
        assert found.cause in self.at.causes and found.processes_left == found.mounts_left == 0, found
        late = ((watcher.closed_at - due).total_seconds(), (found.at - due).total_seconds())
        assert late[0] <= SECONDS and late[1] <= self.at.late, f"{late} s late"
        return late

    @staticmethod
    def _late(late: tuple[float, float]) -> str:
        return f"socket cut after {late[0]:.2f} s, kernel dead after {late[1]:.2f} s"

    def _close_own(self) -> Any:
        ada = self.who("ada")
        ada.post(f"/tunnels/{self.tunnel}/close")
        found = ada.wait(f"/tunnels/{self.tunnel}", "state", "closed", seconds=WAIT)
        record = self.at.ended(self.tunnel)
        assert record is not None and record.processes_left == record.mounts_left == 0, record
        return found

    # --- 7 ------------------------------------------------------------------------------------------------------------

    def audit(self, scratch: Path) -> None:
        """The auditor verifies everything offline, replays a decision, and one changed byte is named."""
        self.step = 7
        tove = self.who("tove")
        self.bundle = self.line("Tove (auditor)", "exports the ledger", lambda: tove.call("GET", "/ledger/bundle").content, lambda data: f"{len(data):,} bytes")
        path = scratch / "ledger.bundle"
        path.write_bytes(self.bundle)
        done = self.at.cli("ledger", "verify", str(path), home=scratch)
        assert done.returncode == 0, done.stdout + done.stderr
        self.line("Tove (auditor)", "verifies it offline, with the client alone", lambda: None, (done.stdout + done.stderr).strip().splitlines()[-1][:90])
        entries = tove.get(f"/ledger/entries?type=tunnel.requested&record={self.tunnel}")["entries"]
        decision = entries[0]["clearance"]["decision"]
        again = self.line("Tove (auditor)", "replays the decision to open the tunnel", lambda: tove.post("/ledger/replays", {"decision": decision}), lambda one: "same, bit for bit" if one["same"] else "DIFFERENT")
        assert again["same"], again
        index = entries[0]["index"]
        path.write_bytes(self._changed(index))
        done = self.at.cli("ledger", "verify", str(path), home=scratch)
        said = done.stdout + done.stderr
        assert done.returncode == 7, (done.returncode, said)
        assert str(index) in said and self.tunnel[:8] in said, said
        self.line("Tove (auditor)", f"changes one byte of record {index} and verifies", lambda: None, f"exit 7, names record {index}")

    def _changed(self, index: int) -> bytes:
        """Return the bundle with one byte of record ``index`` changed, to one that could stand there too, and the zip file intact."""
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(self.bundle)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
            for info in old.infolist():
                data = old.read(info)
                mark = f'"index":{index},'.encode()
                if info.filename.startswith("tile/entries/") and mark in data:
                    at = data.rindex(b'"dec_', 0, data.index(mark)) + len(b'"dec_')
                    data = data[:at] + (b"a" if data[at : at + 1] != b"a" else b"b") + data[at + 1 :]
                new.writestr(info, data)
        return out.getvalue()


def _yes() -> dict[str, str]:
    return {"verdict": "approve", "reason": ""}


def _attempt(code: str) -> str:
    return f"try:\n    {code}\n    print('GOT OUT')\nexcept BaseException as error:\n    print('refused', type(error).__name__, error)"


def _refused_inside(text: str) -> str:
    assert "GOT OUT" not in text and "refused" in text, text
    return text.strip().splitlines()[-1][:80]


def _refused_outside(status: int) -> str:
    assert status in {400, 403, 404, 405, 410, 429}, f"the gateway answered {status}"
    return f"refused: {status}"


INSIDE = (
    ("a socket to the internet", "import socket; socket.create_connection(('192.0.2.1', 80), 3)"),
    ("a socket to the host", "import socket; socket.create_connection(('127.0.0.1', 22), 3)"),
    ("a look-up in DNS", "import socket; socket.getaddrinfo('example.org', 80)"),
    ("writing to the dataset", "open('/data/flchain/flchain.csv', 'a').write('x')"),
    ("removing the dataset", "import os; os.remove('/data/flchain/flchain.csv')"),
)
OUTSIDE = (
    ("a file download", "GET", "/files/table.csv?download=1"),
    ("the contents API, as bytes", "GET", "/api/contents/table.csv?content=1&format=base64"),
    ("nbconvert", "GET", "/nbconvert/html/analysis.ipynb?download=true"),
    ("the viewer", "GET", "/view/table.csv"),
    ("a terminal", "POST", "/api/terminals"),
    ("a kernelspec's files", "GET", "/kernelspecs/leak/data.bin"),
    ("a path that climbs", "GET", "/static/..%2f..%2fetc/passwd"),
)
SETUP = "import pandas as pd, os\nos.chdir('/home/researcher')\nflchain = pd.read_csv('/data/flchain/flchain.csv')\n"
SUBMIT_FIRST = """
import sulku_outbox
ages = pd.cut(flchain.age, [49, 59, 69, 79, 89, 94, 99, 120], labels=["50-59", "60-69", "70-79", "80-89", "90-94", "95-99", "100-"])
table = flchain.groupby([ages, "sex"], observed=False).person.nunique().unstack().rename_axis("age", axis=0).reset_index()
table.to_csv("persons.csv", index=False)
print(sulku_outbox.submit(["persons.csv"], title="Persons by sex and age", context="Counts of distinct persons in flchain."))
"""
SUBMIT_SECOND = """
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
ages = pd.cut(flchain.age, [49, 59, 69, 79, 120], labels=["50-59", "60-69", "70-79", "80-"])
table = flchain.groupby([ages, "sex"], observed=False).person.nunique().unstack().rename_axis("age", axis=0).reset_index()
table.to_csv("persons.csv", index=False)
table.set_index("age").plot.bar(); plt.ylabel("persons"); plt.tight_layout(); plt.savefig("ages.png", dpi=100)
print(sulku_outbox.submit(["persons.csv", "ages.png"], title="Persons by sex and age", context="Counts of distinct persons, oldest merged.", answers="RELEASE"))
"""


def dumps(told: list[Told]) -> str:
    """Return the story as JSON lines, for whoever compares runs."""
    return "\n".join(json.dumps(one.__dict__) for one in told)
