"""What a person can do in an open workspace, on a real kernel: all of the work, and none of the ways out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sulku.plan import MIB, Limits, WorkspacePlan
from tests.adapters.labs import Lab
from tests.adapters.sandboxes import IMAGE, Bench, bench, left_behind

CALL, RAISE = "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n", "raise OSError(ctypes.get_errno(), 'refused')"


@dataclass
class Place:
    """An open workspace."""

    bench: Bench
    plan: WorkspacePlan
    lab: Lab


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    """Give one workspace to all tests of this file; each looks at another side of it."""
    with bench() as made:
        limits = Limits(home=32 * MIB, scratch=8 * MIB, shared=4 * MIB, file=24 * MIB, memory=1024 * MIB, processes=200)
        plan = made.opened(made.plan("Survival", limits=limits))
        yield Place(made, plan, Lab(str(made.box.socket_path(plan.tunnel)), plan.token))


def test_an_analysis_runs_on_the_dataset(here: Place) -> None:
    said = here.lab.run("import pandas as pd; d = pd.read_csv('/data/flchain/persons.csv'); print(len(d), d.age.mean())")
    assert said == "2 67.5\n"


def test_jupyterlab_is_served_to_whoever_has_the_token(here: Place) -> None:
    status, page = here.lab.ask("GET", "/lab")
    assert (status, b"jupyter-config-data" in page) == (200, True)
    assert here.lab.ask("GET", "/api/contents", token="wrong")[0] in {403, 404}
    assert here.lab.ask("POST", "/api/kernels", {"name": "python3"}, token="")[0] in {403, 404}


def test_notebooks_are_saved_and_read_back_through_the_contents_api(here: Place) -> None:
    cells = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    status, _ = here.lab.ask("PUT", "/api/contents/n.ipynb", {"type": "notebook", "content": cells})
    assert status in {200, 201}
    assert json.loads(here.lab.ask("GET", "/api/contents/n.ipynb")[1])["content"]["nbformat"] == 4


@pytest.mark.parametrize("path", ["/api/terminals", "/terminals/websocket/1", "/lsp/status", "/files/n.txt", "/files/n.txt?download=1"])
def test_the_server_itself_serves_no_files_terminals_or_language_servers(here: Place, path: str) -> None:
    here.lab.run("open('n.txt', 'w').write('x')")
    assert here.lab.ask("GET", path)[0] in {403, 404}


def test_the_pages_offer_no_download_and_lock_that(here: Place) -> None:
    page = here.lab.ask("GET", "/lab")[1].decode()
    assert "@jupyterlab/docmanager-extension:download" in page
    settings = json.loads(here.lab.ask("GET", "/lab/api/settings/@jupyterlab/apputils-extension:notification")[1])
    assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"


@pytest.mark.parametrize(
    ("attempt", "answer"),
    [
        ("open('/data/flchain/more.csv', 'w')", "OSError: [Errno 30]"),
        ("open('/data/flchain/persons.csv', 'a')", "PermissionError"),
        ("open('/usr/x', 'w')", "OSError: [Errno 30]"),
        ("open('/run/sulku/tunnel.json', 'w')", "OSError: [Errno 30]"),
        ("import socket; socket.create_connection(('192.0.2.1', 80), 2)", "OSError: [Errno 101]"),
        ("import socket; socket.getaddrinfo('example.com', 80)", "gaierror"),
        ("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "OSError: [Errno 95]"),
        ("import os; os.chroot('/tmp')", "PermissionError"),
        ("import os; os.setuid(0)", "OSError"),
        ("import os; os.kill(1, 0); os.mknod('/tmp/d', 0o20600, os.makedev(1, 1))", "PermissionError"),
        (f"{CALL}if c.mount(b'none', b'/data/flchain', None, 32 | 4096, None): {RAISE}", "PermissionError"),
        (f"{CALL}if c.unshare(0x10000000): {RAISE}", "PermissionError"),
    ],
)  # fmt: skip
def test_code_of_the_person_gets_no_further_than_the_probe(here: Place, attempt: str, answer: str) -> None:
    assert answer in here.lab.run(attempt)


def test_nobody_else_is_seen_and_no_secret_is_in_the_environment(here: Place) -> None:
    said = here.lab.run(
        "import os, pathlib\n"
        "print(os.getuid(), os.uname().nodename, sorted(os.listdir('/')))\n"
        "print({pathlib.Path(f'/proc/{p}/comm').read_text().strip() for p in os.listdir('/proc') if p.isdigit()})\n"
        "print(open('/proc/1/cmdline').read(), dict(os.environ))"
    )
    assert said.startswith("1000 workspace ")
    assert here.plan.token not in said
    assert str(here.bench.state) not in said


def test_what_remains_to_be_seen_of_the_host_is_where_sources_lie_on_its_disks(here: Place) -> None:
    """Said in the docs: the kernel's mount table names the source folder of a bind mount, and nothing hides it."""
    said = here.lab.run("print(open('/proc/self/mountinfo').read())")
    told = [row.split() for row in said.splitlines() if str(here.bench.state) in row]
    assert [row[4] for row in told] == ["/data/flchain"]


def test_a_full_home_stops_at_its_size_and_the_host_does_not_notice(here: Place) -> None:
    image = Path(here.plan.home) / "home.ext4"
    before = image.stat()
    fill = (
        "import errno\nn = 0\ntry:\n"
        "    for i in range(9):\n        with open(f'fill{i}', 'wb') as f:\n"
        "            for _ in range(23): n += f.write(bytes(1 << 20)); f.flush()\n"
        "except OSError as e: print(errno.errorcode[e.errno], n >> 20)"
    )
    said = here.lab.run(fill).split()
    assert said[0] == "ENOSPC"
    assert 20 <= int(said[1]) <= 32
    assert (image.stat().st_size, image.stat().st_blocks) == (before.st_size, before.st_blocks)
    here.lab.run("import os\nfor i in range(9):\n    if os.path.exists(f'fill{i}'): os.remove(f'fill{i}')")
    assert here.lab.run("print(open('ok', 'w').write('x'))") == "1\n"


@pytest.mark.parametrize("path", ["/tmp/fill", "/dev/shm/fill"])
def test_scratch_space_is_bounded(here: Place, path: str) -> None:
    said = here.lab.run(f"try: open({path!r}, 'wb').write(bytes(16 << 20))\nfinally:\n    import os; os.remove({path!r})")
    assert "No space left" in said


def test_one_file_is_bounded(here: Place) -> None:
    assert "File too large" in here.lab.run("f = open('big', 'wb')\ntry: f.truncate(25 << 20)\nfinally: import os; os.remove('big')")


def test_processes_are_bounded_and_the_workspace_survives_the_attempt(here: Place) -> None:
    bomb = (
        "import os, signal\nchildren = []\ntry:\n    for _ in range(400):\n        p = os.fork()\n"
        "        if not p:\n            signal.pause()\n        children.append(p)\nexcept OSError as e: print(e.errno)\n"
        "for p in children: os.kill(p, 9)\nfor p in children: os.waitpid(p, 0)\nprint(len(children) < 200)"
    )
    assert here.lab.run(bomb) == "11\nTrue\n"
    assert here.lab.run("print(1)") == "1\n"


def test_memory_is_bounded_for_the_workspace_as_a_whole(here: Place) -> None:
    """A child that takes too much is killed; the tunnel and its other processes are not."""
    greedy = (
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-c', 'x = bytearray(3 << 30); x[::4096] = b\"1\" * len(x[::4096])'])\n"
        "print(done.returncode)"
    )
    if not next(check for check in here.bench.box.doctor() if check.name == "memory-limit").ok:
        pytest.skip("this host gives no control groups")
    assert here.lab.run(greedy) == "-9\n"
    assert here.lab.run("print(1)") == "1\n"


def test_results_are_handed_in_from_a_notebook_and_from_the_command_line(here: Place) -> None:
    said = here.lab.run(
        "import sulku_outbox; open('t.csv', 'w').write('sex,n\\nf,12\\n')\n"
        "s = sulku_outbox.submit(['t.csv'], title='By sex', manifest={'files': [{'name': 't.csv', 'columns': {'n': 'count'}}]})\n"
        "print(s.name)"
    )
    name = said.strip()
    listed = json.loads(here.lab.ask("GET", f"/api/contents/outbox/{name}?type=directory&content=1")[1])["content"]
    assert {one["name"] for one in listed} == {"manifest.json", "t.csv"}
    receipt = {"type": "file", "format": "text", "content": json.dumps({"release": "rel_0000000000000000"})}
    assert here.lab.ask("PUT", f"/api/contents/outbox/{name}/receipt.json", receipt)[0] in {200, 201}
    assert "under review as rel_0000000000000000" in here.lab.run("!sulku-outbox status")


def test_the_kernel_knows_the_tunnel_its_deadline_and_the_packages(here: Place) -> None:
    said = here.lab.run("%tunnel")
    assert "minutes left" in said
    assert "flchain: /data/flchain" in said
    assert "pandas==" in here.lab.run("%packages")


def test_work_survives_and_the_tunnel_does_not() -> None:
    with bench() as made:
        first = made.opened(made.plan(home="kept"))
        lab = Lab(str(made.box.socket_path(first.tunnel)), first.token)
        lab.run("open('notes.txt', 'w').write('kept'); open('/tmp/gone', 'w').write('gone')")
        made.box.stop(first.tunnel)
        assert not left_behind(first)
        second = made.opened(made.plan(home="kept"))
        lab = Lab(str(made.box.socket_path(second.tunnel)), second.token)
        assert lab.run("import os; print(open('notes.txt').read(), os.path.exists('/tmp/gone'))") == "kept False\n"


def test_what_an_earlier_tunnel_left_at_home_does_not_run_before_the_proof() -> None:
    """A home is a stranger's: start-up files in it must not meet the first program."""
    with bench() as made:
        first = made.opened(made.plan(home="trapped"))
        lab = Lab(str(made.box.socket_path(first.tunnel)), first.token)
        lab.run(
            "import os, site\n"
            "os.makedirs(site.getusersitepackages(), exist_ok=True)\n"
            "for at in (site.getusersitepackages() + '/usercustomize.py', 'probe.py', 'ways.py', 'sitecustomize.py'):\n"
            "    open(at, 'w').write('open(\"/home/researcher/sprung\", \"w\")')"
        )
        made.box.stop(first.tunnel)
        second = made.opened(made.plan(home="trapped"))
        lab = Lab(str(made.box.socket_path(second.tunnel)), second.token)
        assert lab.run("import os; print(os.path.exists('/home/researcher/sprung'), os.path.exists('probe.py'))") == "False True\n"


def test_the_image_lists_its_packages() -> None:
    assert "jupyterlab==" in (IMAGE / "requirements.txt").read_text()
