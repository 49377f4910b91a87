"""The way in is not a way out: each known exit is refused and reported, and what people need still works."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from aiohttp import web

from broker.gateway import allow, answers, messages
from broker.gateway.allow import decide
from sulku.errors import NotAllowedError, PathRefusedError
from tests.gateway.rig import Browser, GatewayProcess, Workspace
from tests.soon import eventually

KERNEL = "/api/kernels/01234567-89ab-cdef-0123-456789abcdef"

EXITS = [
    "GET /files/secret.csv", "GET /files/secret.csv?download=1", "GET /view/secret.csv",
    "GET /nbconvert/html/secret.ipynb", "GET /nbconvert/html/secret.ipynb?download=true", "POST /nbconvert/html",
    "GET /api/contents/secret.csv?content=1&format=base64", "GET /api/contents/secret.csv?type=file&content=1",
    "GET /api/contents/secret.csv", "GET /api/contents/secret.png?type=file&content=1&format=text",
    "GET /api/contents/secret.csv?type=notebook&content=1", "GET /api/contents/secret.ipynb?type=file&format=text",
    "GET /api/contents/secret.csv?type=file&format=text&content=1&download=1",
    "GET /kernelspecs/leak/data.bin", "GET /kernelspecs/leak/kernel.json", "GET /terminals/1", "POST /api/terminals",
    "GET /api/terminals", "GET /lsp/ws/pylsp", "GET /lsp/status", "GET /metrics", "GET /lab/extensions",
    "GET /lab/api/extensions", "GET /lab/api/listings/x.json", "GET /lab/api/licenses/", "GET /api/spec.yaml",
    "GET /api/resolvePath", "GET /api/status", "GET /proxy/8080/", "POST /api/shutdown", "GET /login", "GET /",
    "GET /tree", "GET /api/security/csp-report", "GET /custom/custom.css", "PUT /api/me", "GET /hub/api",
    f"GET {KERNEL}/restart", f"PUT {KERNEL}", "TRACE /lab", "CONNECT /lab", "OPTIONS /api/contents", "HEAD /api/kernels",
]  # fmt: skip


@pytest.mark.parametrize("exit_", EXITS)
def test_an_exit_is_refused_and_reported(inside: Browser, gateway: GatewayProcess, workspace: Workspace, exit_: str) -> None:
    (workspace.home / "secret.csv").write_text("name,value\nAino,SECRET\n")
    method, target = exit_.split(" ")
    answer = inside.ask(method, target)
    assert answer.status in {400, 403, 404}
    assert b"SECRET" not in answer.body
    if answer.status != 404:
        (report,) = eventually(lambda: gateway.broker.told(inside.tunnel, "refused"))
        assert report["detail"]["method"] == method
        assert report["detail"]["path"] == target


# One path, many spellings: each is refused before anything is matched.
TRICKS = [
    "/api/contents/../../files/x", "/lab/../files/x", "/api/contents/%2e%2e/x", "/api/contents/..%2fx", "//files/x",
    "/api//contents", "/api/contents//x.ipynb", "/%66iles/x", "/api/contents/x%2Fy.ipynb", "/api/contents/x%5cy.ipynb",
    "/api/contents/x\\y.ipynb", "/api/contents/%252e%252e/x", "/api/contents/x%00.ipynb", "/api/contents/x;y.ipynb",
    "/api/contents/x.ipynb;a=b", "/api/contents/./x.ipynb", "/api/contents/.hidden", "/api/contents/a/.hidden/x.ipynb",
    "/api/contents/%C3%28.ipynb", "/api/contents/a%0Ab.ipynb", "/api/contents/%E2%80%AEb.ipynb", "/api/contents/%zz",
    "/api/contents/%e4%e4", "/api/contents/%c3%a4.ipynb", "/API/contents", "/Lab", "/lab/", "/api/contents/",
    "/lab#x", "/lab?reset&reset", "/api/contents?type=directory&type=file", "/api/contents?content=2",
    "/api/kernels/../contents", f"{KERNEL.upper()}", "/api/contents/a@b.ipynb", "/api/contents/" + "a" * 3000,
    "http://t.sulku.localhost/lab", "*", "lab", "?x", "/lab?token=x", "/static/lab/../../x.js", "/static/%6cab/main.js",
    "/lab/extensions/../x.js", "/lab/tree/..", "/lab/workspaces/default/tree/../x",
]  # fmt: skip


@pytest.mark.parametrize("target", TRICKS)
def test_another_spelling_is_refused(target: str) -> None:
    with pytest.raises((PathRefusedError, NotAllowedError)):
        decide("GET", target)


@pytest.mark.parametrize(
    "target",
    ["/lab", "/lab/tree/a/b%20c.ipynb", "/api/contents?content=1&type=directory&1795369926645", "/api/contents/%C3%A4.ipynb",
     "/api/contents/a/b%20c.ipynb?type=notebook&content=1&hash=1", "/api/contents/a%40b.py", f"{KERNEL}/channels?session_id=a-b",
     "/lab/api/settings/@jupyterlab/apputils-extension:themes", "/static/lab/main.abc.js?v=abc", "/api/contents/a..b.py"],
)  # fmt: skip
def test_what_jupyterlab_asks_is_understood(target: str) -> None:
    assert decide("GET", target).path == target.partition("?")[0]


def test_every_row_of_the_table_can_be_asked_for() -> None:
    examples = {"uuid": KERNEL[-36:], "path": "a/b.ipynb", "plugin": "@a/b:c", "word": "abc", "file": "a/b.js"}
    for rule in allow.TABLE:
        path = re.sub(r"\{(\w+)\}", lambda found: examples[found[1]], rule.name)
        for method in rule.methods:
            assert method in decide(method, path).rule.methods


@pytest.mark.parametrize("target", ["http://x/lab", "/lab\\..", "/%2e%2e/files/x", "//x/lab", "/api/contents/x%00", "/lab;x", "/läb"])
def test_tricks_on_the_wire_get_a_refusal(inside: Browser, gateway: GatewayProcess, target: str) -> None:
    head = f"GET {target} HTTP/1.1\r\nHost: {inside.host}\r\nCookie: {inside.cookie}\r\nConnection: close\r\n\r\n"
    assert gateway.raw(head.encode()).split()[1] in {b"400", b"403"}
    assert gateway.raw(head.replace(target, "/api/kernels").encode()).split()[1] == b"200"


SMUGGLING = {
    "both lengths": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    "two lengths": "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "odd encoding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "folded header": "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "negative": "Content-Length: -1\r\n\r\n",
    "plus": "Content-Length: +4\r\n\r\nabcd",
    "space before colon": "Content-Length : 4\r\n\r\nabcd",
    "bare line feed": "A: b\nContent-Length: 4\n\nabcd",
    "null": "A: b\0c\r\n\r\n",
    "two hosts": "Host: gate.sulku.localhost\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLING.values(), ids=SMUGGLING)
def test_a_request_that_two_parsers_could_read_differently_is_refused(inside: Browser, gateway: GatewayProcess, rest: str) -> None:
    head = f"POST /api/kernels HTTP/1.1\r\nHost: {inside.host}\r\nCookie: {inside.cookie}\r\n"
    answer = gateway.raw((head + rest).encode())
    statuses = [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    assert statuses, "an answer, not silence"
    assert set(statuses) <= {b"400", b"404", b"501"}, answer[:300]


def test_a_header_that_is_not_known_is_dropped_from_any_answer() -> None:
    answer = web.Response(headers={"X-Secret": "a", "Link": "<http://x>; rel=preconnect", "Location": "/lab", "Server": "b"})
    answers.seal(answer, "default-src 'none'")
    assert not {"X-Secret", "Link"} & set(answer.headers)
    assert (answer.headers["Location"], answer.headers["Server"]) == ("/lab", "sulku")


def test_only_known_headers_leave_and_none_of_ours_enter(inside: Browser) -> None:
    answer = inside.get("/api/kernels", Authorization="token stolen", X_Forwarded_For="x", Accept_Encoding="gzip")
    assert answer.status == 200
    names = {name.lower() for name in answer.headers}
    assert not names & {"x-jupyter", "x-xsrftoken", "server-timing", "content-encoding", "set-cookie"}
    assert answer.headers["Server"] == "sulku"
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval';" in policy
    assert "connect-src 'self'" in policy
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://gate.sulku.localhost"])
def test_a_page_of_another_origin_changes_nothing(inside: Browser, origin: str) -> None:
    assert inside.ask("POST", "/api/contents", {"type": "notebook"}, Origin=origin).status == 403
    assert inside.ask("POST", "/api/contents", {"type": "notebook"}, Origin=f"http://{inside.host}").status == 201


def test_a_service_worker_script_is_refused(inside: Browser) -> None:
    assert inside.get("/static/favicons/favicon.ico", Service_Worker="script").status == 403
    assert inside.get("/static/favicons/favicon.ico").status == 200


def test_jupyterlab_is_shown_in_the_shell_only(inside: Browser) -> None:
    assert inside.get("/lab", Sec_Fetch_Dest="document").status == 303
    assert inside.get("/lab", Sec_Fetch_Dest="iframe").status == 200


def test_notebooks_are_saved_opened_renamed_copied_and_deleted(inside: Browser) -> None:
    name = f"n-{inside.tunnel.label}.ipynb"
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    assert inside.ask("PUT", f"/api/contents/{name}", {"type": "notebook", "format": "json", "content": content}).status == 201
    assert inside.get(f"/api/contents/{name}?type=notebook&content=1").json["content"]["cells"] == []
    assert inside.ask("POST", f"/api/contents/{name}/checkpoints").status == 201
    assert inside.ask("POST", "/api/contents", {"copy_from": name}).status == 201
    assert inside.ask("PATCH", f"/api/contents/{name}", {"path": f"b-{name}"}).status == 200
    listed = inside.get("/api/contents?content=1&type=directory").json["content"]
    assert f"b-{name}" in {entry["name"] for entry in listed}
    assert inside.ask("DELETE", f"/api/contents/b-{name}").status == 204


def test_small_text_files_are_edited_and_large_ones_are_not_opened(inside: Browser, workspace: Workspace) -> None:
    name = f"t-{inside.tunnel.label}.py"
    assert inside.ask("PUT", f"/api/contents/{name}", {"type": "file", "format": "text", "content": "x = 1"}).status == 201
    target = f"/api/contents/{name}?type=file&format=text&content=1"
    assert inside.get(target).json["content"] == "x = 1"
    (workspace.home / name).write_text("x" * 300_000)
    assert inside.get(target).code == "not-allowed"


def test_files_are_not_uploaded(inside: Browser) -> None:
    for extra in ({"format": "base64"}, {"format": "text", "chunk": 1}):
        assert inside.ask("PUT", "/api/contents/x.bin", {"type": "file", "content": "QQ==", **extra}).status == 403


def test_settings_and_layouts_come_back_without_the_workspace(inside: Browser, workspace: Workspace) -> None:
    plugin = "/lab/api/settings/@jupyterlab/apputils-extension:themes"
    before = inside.tunnel.leased
    assert inside.ask("PUT", plugin, {"raw": '{"theme": "JupyterLab Dark"}'}).status == 204
    assert inside.get(plugin).json["raw"] == '{"theme": "JupyterLab Dark"}'
    assert inside.ask("PUT", "/lab/api/workspaces/default", {"data": {"a": 1}, "metadata": {"id": "default"}}).status == 204
    assert inside.get("/lab/api/workspaces/default").json["data"] == {"a": 1}
    assert inside.ask("PUT", plugin, {"raw": "x" * 100_000}).status == 422
    assert inside.tunnel.leased == before
    assert not list(workspace.home.rglob("*themes*"))


REACHING = ["<link rel=x>", "<LINK/rel=x>", "<iframe\nsrc=x>", "<base href=x>", "<meta http-equiv=refresh>", "<object>",
            "<svg:link >", "<embed/>", "<FrameSet>"]  # fmt: skip


@pytest.mark.parametrize("markup", REACHING)
def test_markup_that_reaches_out_becomes_text(markup: str) -> None:
    assert messages.tame(f"a{markup}b") == f"a&lt;{markup[1:]}b"
    deep = {"payload": [{"data": {"text/html": ["<b>", markup]}}]}
    assert "&lt;" in json.dumps(messages.tame_bundles(deep))


@pytest.mark.parametrize("markup", ["<b>x</b>", "<linker>", "<table><tr>", "a < link ", "<img src='data:x'>", "<metadata>"])
def test_other_markup_stays_as_it_is(markup: str) -> None:
    assert messages.tame(markup) == markup
    assert messages.tame_bundles({"text/plain": "<link >"}) == {"text/plain": "<link >"}


def test_a_notebook_from_inside_is_tamed(inside: Browser, workspace: Workspace) -> None:
    name = f"tame {inside.tunnel.label}.ipynb"
    output = {"output_type": "display_data", "metadata": {}, "data": {"text/html": ["<link rel=preconnect", " href=x>"]}}
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "<iframe src=x>"},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": "'<link >'", "outputs": [output], "execution_count": 1},
    ]
    (workspace.home / name).write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))
    found = inside.get(f"/api/contents/{quote(name)}?type=notebook&content=1").json["content"]["cells"]
    assert found[0]["source"] == "&lt;iframe src=x>"
    assert found[1]["outputs"][0]["data"]["text/html"] == "&lt;link rel=preconnect href=x>"
    assert found[1]["source"] == "'<link >'", "code is shown as it is"
