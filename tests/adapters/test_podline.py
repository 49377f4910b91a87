"""Sealed lines between the broker and a pod's programs: what is not sealed, or was used before, gets no answer."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from broker.adapters import podline
from sulku.errors import WorkspaceUnavailableError

PROGRAMS = Path(__file__).parents[2] / "hub" / "images" / "python"
KEY = "k" * 64


def _inside() -> ModuleType:
    """Return the pod's own copy of the protocol."""
    about = importlib.util.spec_from_file_location("pod_podline", PROGRAMS / "podline.py")
    assert about and about.loader
    module = importlib.util.module_from_spec(about)
    sys.modules[about.name] = module
    about.loader.exec_module(module)
    return module


INSIDE = _inside()


class Pod:
    """One start of a program in a pod, on loopback."""

    def __init__(self, role: str = "prove") -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.heard: list[dict[str, Any]] = []
        self.line = INSIDE.Line(listener, KEY.encode(), role)
        self.thread = threading.Thread(target=self.line.run, args=(self.answer,))
        self.thread.start()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.heard.append(body)
        if body.get("do") == "release":
            self.line.over = True
        return {"echo": body}

    def end(self) -> None:
        self.line.stop()
        self.thread.join()
        self.line.listener.close()


@pytest.fixture
def pod() -> Iterator[Pod]:
    made = Pod()
    yield made
    made.end()


def test_a_sealed_line_is_answered_with_a_sealed_line(pod: Pod) -> None:
    line = podline.Line("127.0.0.1", pod.port, KEY)
    assert line.role == "prove"
    assert line.ask({"do": "probe", "told": {"names": ["ä", 1]}}) == {"echo": {"do": "probe", "told": {"names": ["ä", 1]}}}
    assert line.ask({"do": "again"}) == {"echo": {"do": "again"}}


def test_both_sides_seal_alike() -> None:
    body = {"b": [1, None, True, "ö"], "a": {"z": "", "y": 2}}
    assert podline.seal(KEY.encode(), "request", "boot", "c", body) == INSIDE.seal(KEY.encode(), "request", "boot", "c", body)
    assert podline.seal(KEY.encode(), "request", "boot", "c", body) != podline.seal(KEY.encode(), "answer", "boot", "c", body)


def test_another_key_gets_nothing(pod: Pod) -> None:
    with pytest.raises(WorkspaceUnavailableError):
        podline.Line("127.0.0.1", pod.port, "x" * 64).ask({"do": "release"})
    assert pod.heard == []


def test_a_line_cannot_be_used_twice(pod: Pod) -> None:
    sent: list[bytes] = []

    def listening(host: str, port: int, line: bytes, seconds: float) -> bytes:
        sent.append(line)
        return podline.direct(host, port, line, seconds)

    podline.Line("127.0.0.1", pod.port, KEY, listening).ask({"do": "once"})
    assert podline.direct("127.0.0.1", pod.port, sent[-1], 60) == b""
    assert pod.heard == [{"do": "once"}]


def test_a_line_for_one_start_is_nothing_to_another(pod: Pod) -> None:
    line = podline.Line("127.0.0.1", pod.port, KEY)
    later = Pod()
    try:
        line._where = ("127.0.0.1", later.port)
        with pytest.raises(WorkspaceUnavailableError):
            line.ask({"do": "release"})
        assert later.heard == []
    finally:
        later.end()


def test_two_callers_at_once_do_not_disturb_each_other(pod: Pod) -> None:
    one, other = podline.Line("127.0.0.1", pod.port, KEY), podline.Line("127.0.0.1", pod.port, KEY)
    for n in range(3):
        assert other.ask({"n": n}) == {"echo": {"n": n}}
        assert one.ask({"n": -n}) == {"echo": {"n": -n}}


def test_an_answer_that_somebody_else_made_up_is_refused(pod: Pod) -> None:
    def impostor(host: str, port: int, line: bytes, seconds: float) -> bytes:
        if b"hello" in line:
            return podline.direct(host, port, line, seconds)
        return json.dumps({"body": {"released": True}, "mac": "0" * 64}).encode()

    with pytest.raises(WorkspaceUnavailableError):
        podline.Line("127.0.0.1", pod.port, KEY, impostor).ask({"do": "release"})


NONSENSE = [b"", b"\n", b"{}\n", b"[]\n", b"\xff\xfe\n", b'{"do": 3}\n', b'{"body": {}, "challenge": "x", "mac": ""}\n', b"{" * 100_000, b"[" * 100_000]


@pytest.mark.parametrize("line", NONSENSE)
def test_nonsense_gets_no_answer_and_does_no_harm(pod: Pod, line: bytes) -> None:
    assert podline.direct("127.0.0.1", pod.port, line + b"\n", 6) == b""
    assert podline.Line("127.0.0.1", pod.port, KEY).ask({"do": "still here"}) == {"echo": {"do": "still here"}}


@pytest.mark.parametrize("silent", [True, False])
def test_once_a_program_serves_nothing_that_it_or_its_children_say_reaches_the_log(silent: bool) -> None:
    """Also what a child writes by another name of the same descriptor."""
    hush = "podline.silence()" if silent else "None"
    program = f"""
import os, subprocess, sys
sys.path.insert(0, {str(PROGRAMS)!r})
import podline
print("before", flush=True)
{hush}
print("after", flush=True); sys.stderr.write("after"); os.write(1, b"after"); os.write(2, b"after")
subprocess.run(["sh", "-c", "echo after; echo after >&2; echo after >/proc/$PPID/fd/1; cat"])
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], input=b"after", capture_output=True, check=True)
    assert (done.stdout + done.stderr == b"before\n") is silent
    assert (b"after" in done.stdout and b"after" in done.stderr) is not silent


def test_no_key_is_ever_sent(pod: Pod) -> None:
    sent: list[bytes] = []

    def listening(host: str, port: int, line: bytes, seconds: float) -> bytes:
        sent.append(line)
        return podline.direct(host, port, line, seconds)

    podline.Line("127.0.0.1", pod.port, KEY, listening).ask({"do": "once"})
    assert len(sent) == 2
    assert not any(KEY[:16].encode() in line for line in sent)


def test_who_holds_every_place_keeps_nobody_out_for_long(pod: Pod) -> None:
    """Callers who say nothing are dropped after some seconds; the broker, who asks again, gets through."""
    held = [socket.create_connection(("127.0.0.1", pod.port)) for _ in range(12)]
    try:
        for _ in range(40):
            try:
                assert podline.Line("127.0.0.1", pod.port, KEY).ask({"do": "through"}, 2) == {"echo": {"do": "through"}}
                break
            except WorkspaceUnavailableError:
                threading.Event().wait(0.25)
        else:
            pytest.fail("the broker was kept out")
    finally:
        for one in held:
            one.close()
