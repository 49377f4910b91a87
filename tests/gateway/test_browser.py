"""JupyterLab in a real browser through the gateway: it works fully, and nothing it shows reaches another server."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import FrameLocator, Page, expect

from tests.fakes.broker import FakeBroker, OpenTunnel
from tests.gateway.rig import GatewayProcess, Workspace
from tests.servers import chromium as browsers
from tests.soon import eventually

pytestmark = pytest.mark.slow


class Elsewhere:
    """Another server: it notes the first line of every connection, even of one that asks nothing."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(3)
            try:
                line = connection.recv(4096).split(b"\r\n")[0].decode("latin-1")
            except TimeoutError:
                line = ""
            self.seen.append(line or "(connected)")
            body = PAGE if " /control" in line else b""
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)

    def close(self) -> None:
        self.listener.close()


PAGE = b"<!doctype html><title>control</title><body></body>"

# Ways out as script, each to its own path under `there`.
SCRIPT = """there => {
  const say = (f) => { try { const r = f(); if (r && r.catch) r.catch(() => 0); } catch (e) { 0; } };
  const add = (tag, attributes) => { const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v); document.body.append(e); return e; };
  say(() => { new Image().src = there + "image"; });
  say(() => add("script", {src: there + "script"}));
  say(() => add("link", {rel: "stylesheet", href: there + "style"}));
  say(() => add("link", {rel: "prefetch", href: there + "prefetch"}));
  say(() => add("iframe", {src: there + "frame"}));
  say(() => add("object", {data: there + "object"}));
  say(() => add("video", {src: there + "video", preload: "auto"}).load());
  say(() => fetch(there + "fetch", {mode: "no-cors"}));
  say(() => navigator.sendBeacon(there + "beacon", "x"));
  say(() => new WebSocket(there.replace("http", "ws") + "websocket"));
  say(() => new EventSource(there + "events"));
  say(() => new Worker(URL.createObjectURL(new Blob([`fetch("${there}worker",{mode:"no-cors"})`]))));
  say(() => { const f = add("form", {action: there + "form", target: "_blank", method: "post"}); f.submit(); });
  say(() => window.open(there + "window"));
  say(() => { add("a", {href: "#", ping: there + "ping"}).click(); });
}"""
WAYS = {"image", "script", "style", "prefetch", "frame", "object", "video", "fetch", "beacon", "websocket", "events",
        "worker"}  # fmt: skip

# Ways out as markup, as a cell may show it.
MARKUP = """<img src="{0}m-image"><img srcset="{0}m-srcset 1x"><link rel=stylesheet href="{0}m-style">
<LINK rel="preconnect" href="{0}"><link rel="dns-prefetch" href="http://{1}"><link rel=prefetch href="{0}m-prefetch">
<link/rel="preload" as="image" href="{0}m-preload"><iframe src="{0}m-frame"></iframe><object data="{0}m-object"></object>
<embed src="{0}m-embed"><video src="{0}m-video" autoplay></video><audio src="{0}m-audio" autoplay></audio>
<svg><image href="{0}m-svg" /></svg><div style="background:url({0}m-css)">.</div><style>@import url({0}m-import);</style>
<meta http-equiv="refresh" content="0;url={0}m-refresh"><form action="{0}m-form" id="f"><input autofocus></form>
<script>window.ran = "markup"; new RTCPeerConnection()</script><img src=x onerror="window.ran = 'handler'">
<a href="http://{1}/a">link</a>"""


SVG = '<svg xmlns="http://www.w3.org/2000/svg"><image href="{0}svg"/></svg>'


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    yield server
    server.close()


@pytest.fixture
def lab(tmp_path: Path, workspace: Workspace) -> Iterator[tuple[GatewayProcess, OpenTunnel]]:
    """A gateway whose broker has the page that people come from, and a tunnel with a notebook."""
    broker = FakeBroker(tmp_path, "gateway-token")
    broker.start()
    holder: list[GatewayProcess] = []
    with broker.pages(lambda tunnel: f"http://{tunnel.label}.{holder[0].domain}") as pages:
        holder.append(GatewayProcess(tmp_path, broker, broker_url=pages))
        with holder[0].run() as gateway:
            yield gateway, broker.open(workspace.socket, workspace.token)
    broker.stop()


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    arguments = (
        "--headless=new", "--disable-background-networking", "--host-resolver-rules=MAP *.localhost 127.0.0.1",
        f"--log-net-log={tmp_path / 'net.json'}",
    )  # fmt: skip
    with browsers.running(*arguments) as browser:
        yield browser


def notebook(*sources: str) -> str:
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        for n, source in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells})


def enter(page: Page, gateway: GatewayProcess, tunnel: OpenTunnel) -> FrameLocator:
    """Come in by the broker, as a person does, and return JupyterLab's frame."""
    page.goto(f"http://{tunnel.label}.{gateway.domain}/.sulku/enter")
    assert page.url == f"http://gate.{gateway.domain}/{tunnel.label}/"
    frame = page.frame_locator("iframe")
    frame.locator(".jp-DirListing-content").first.wait_for(state="attached", timeout=60_000)
    return frame


def run_all(frame: FrameLocator, name: str) -> None:
    frame.locator(".jp-DirListing-item", has_text=name).dblclick()
    frame.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    frame.get_by_text("Run", exact=True).first.click()
    frame.get_by_text("Run All Cells", exact=True).click()


def test_a_notebook_is_opened_run_plotted_and_saved(
    lab: tuple[GatewayProcess, OpenTunnel], chromium: Chromium, workspace: Workspace, tmp_path: Path
) -> None:
    gateway, tunnel = lab
    file = workspace.home / "analysis.ipynb"
    file.write_text(notebook("print(6 * 7)", "import matplotlib.pyplot as plt\nplt.plot([1, 4, 2]); plt.show()"))
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("response", lambda answer: trouble.append(answer.url) if answer.status >= 400 else None)

    frame = enter(page, gateway, tunnel)
    run_all(frame, file.name)
    frame.locator(".jp-OutputArea-output img").wait_for(timeout=60_000)
    assert frame.locator(".jp-OutputArea-output img").evaluate("image => image.naturalWidth") > 100
    page.keyboard.press("Control+s")
    eventually(lambda: '"42\\n"' in file.read_text())
    page.screenshot(path=tmp_path / "lab.png")

    expect(page.locator("#left")).to_have_text(re.compile(r"^0:5\d:\d\d$"))
    expect(page.locator("#budget")).to_have_text(re.compile(r"^\d+\.\d MB$"))
    assert trouble == []
    ran = eventually(lambda: gateway.broker.told(tunnel, "executed"))
    assert any("6 * 7" in report["detail"]["code"] for report in ran)


def test_nothing_that_a_cell_shows_or_a_script_does_reaches_another_server(
    lab: tuple[GatewayProcess, OpenTunnel], chromium: Chromium, workspace: Workspace, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    gateway, tunnel = lab
    control = Elsewhere()  # the same script without our headers: it arrives
    page = chromium.new_page()
    page.goto(f"http://control.localhost:{control.port}/control")
    page.evaluate(SCRIPT, f"http://control.localhost:{control.port}/")
    eventually(lambda: {seen.partition(" /")[2].partition(" ")[0] for seen in control.seen} >= WAYS)
    page.close()
    control.close()

    there = f"http://elsewhere.localhost:{elsewhere.port}/"
    markup = MARKUP.format(there, "secret-by-name.example")
    show = (
        f"from IPython.display import *\ndisplay(HTML({markup!r}))\ndisplay(Markdown({markup!r}))\n"
        f"display(SVG({SVG.format(there)!r}))\n"
        "display(Javascript('window.ran = \"javascript\"'))"
    )
    file = workspace.home / "exits.ipynb"
    file.write_text(notebook(show, "print('sh' + 'own')"))
    page = chromium.new_page()
    frame = enter(page, gateway, tunnel)
    run_all(frame, file.name)
    eventually(lambda: len(gateway.broker.told(tunnel, "executed")) == 2)
    frame.get_by_text("m-preload").first.wait_for(timeout=60_000)  # markup that was made text
    inner = page.frames[1]
    page.wait_for_timeout(4000)  # a connection that asks nothing is noted after three seconds
    assert inner.evaluate("window.ran") is None
    assert elsewhere.seen == []
    inner.evaluate(SCRIPT, there)
    for move in ("top.location", "parent.location", "location"):  # the last one leaves an empty frame behind
        inner.evaluate(f"there => setTimeout(() => {{ {move} = there + '{move}' }}, 0)", there)
        page.wait_for_timeout(300)
    page.wait_for_timeout(4000)
    assert {seen for seen in elsewhere.seen if seen != "(connected)"} == set()  # by script a connection, but no request
    assert page.url.startswith(f"http://gate.{gateway.domain}/")
    chromium.close()
    looked_up = (tmp_path / "net.json").read_text()
    assert "control.localhost" in looked_up, "the browser's own log says whom it looked up"
    assert "secret-by-name" not in looked_up


def test_scripts_in_outputs_do_not_run_but_trusted_ones_do(
    lab: tuple[GatewayProcess, OpenTunnel], chromium: Chromium, workspace: Workspace
) -> None:
    gateway, tunnel = lab
    (workspace.home / "script.ipynb").write_text(
        notebook(
            "from IPython.display import *\n"
            "display(HTML('<b id=shown>shown</b><script>window.ran = 1</script><img src=x onerror=\"window.ran = 2\">'))\n"
            "display(Javascript('window.ran = 3'))"
        )
    )
    page = chromium.new_page()
    frame = enter(page, gateway, tunnel)
    run_all(frame, "script.ipynb")
    frame.locator("#shown").wait_for(timeout=60_000)
    page.wait_for_timeout(500)
    assert page.frames[1].evaluate("window.ran") is None
    assert page.frames[1].evaluate("document.querySelectorAll('.jp-Notebook').length") == 1


def test_a_service_worker_is_refused(lab: tuple[GatewayProcess, OpenTunnel], chromium: Chromium) -> None:
    gateway, tunnel = lab
    page = chromium.new_page()
    enter(page, gateway, tunnel)
    register = "() => navigator.serviceWorker.register('/static/lab/x.js').then(() => 'registered', e => e.name)"
    assert page.frames[1].evaluate(register) != "registered"


def test_the_page_at_the_deadline_and_after_a_restart(
    lab: tuple[GatewayProcess, OpenTunnel], chromium: Chromium, workspace: Workspace
) -> None:
    gateway, tunnel = lab
    page = chromium.new_page()
    enter(page, gateway, tunnel)
    page.evaluate("document.documentElement.dataset.before = ''")
    page.context.clear_cookies()  # what a restarted gateway looks like to a browser: its cookie means nothing
    back = page.locator("html:not([data-before]) #left")  # another document: they have been at the broker and come in again
    expect(back).to_have_text(re.compile(r"0:5\d:\d\d"), timeout=60_000)

    gateway.broker.close(tunnel)
    expect(page.locator("#notice")).to_contain_text("has ended")
    page.goto(f"http://{tunnel.label}.{gateway.domain}/lab")
    expect(page.locator("h1")).to_have_text("This tunnel has ended")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_small_screen_and_can_be_read(
    lab: tuple[GatewayProcess, OpenTunnel], chromium: Chromium, scheme: Any, tmp_path: Path
) -> None:
    gateway, tunnel = lab
    page = chromium.new_page(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    enter(page, gateway, tunnel)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    pairs = [("body", "h1"), ("body", "dt"), ("body", "nav a")]
    assert all(contrast(page, *pair) >= 4.5 for pair in pairs)
    page.screenshot(path=tmp_path / f"shell-{scheme}.png")
    page.goto(f"http://t-0000000000000000.{gateway.domain}/lab")
    expect(page.locator("h1")).to_have_text("There is no open tunnel here")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert contrast(page, "body", ".code") >= 4.5


def contrast(page: Page, ground: str, ink: str) -> float:
    """Return the contrast ratio of WCAG 2.2 between two elements' background and text."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    style: Callable[[str, str], str] = lambda where, what: page.locator(where).first.evaluate(  # noqa: E731
        f"element => getComputedStyle(element).{what}"
    )
    light, dark = sorted((luminance(style(ground, "backgroundColor")), luminance(style(ink, "color"))), reverse=True)[:2]
    return (light + 0.05) / (dark + 0.05)
