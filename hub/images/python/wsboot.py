"""The workspace's first program: prove that it is closed, wait for the datasets, serve JupyterLab.

It runs isolated (`python -I`) before any of the person's code. Messages, one JSON object a line, over descriptor 4:
  in  {"probe": {...}}       out {"attempts": [{"way", "closed", "how"}]}
  in  {"mounted": [names]}   out {"refused": {name: errno name}}
  in  {"serve": {"token"}}   out {"serving": true}, then the descriptor is closed for good.
"""

# ruff: noqa: PTH100, PTH103, PTH118, PTH120, PTH123, PLC0415, SLF001 -- what is imported when is the point; private names are pinned and tested
from __future__ import annotations

import errno
import json
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# jsonschema's check of IRIs: it compiles a grammar when it is imported, for most of the time that JupyterLab takes to start.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

LISTEN, CONTROL = 3, 4
HOME = "/home/researcher"
SETTINGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lab")


def refusal(name: str) -> str:
    """Return what the kernel answers to a new file in dataset ``name``: ``EROFS``, or what else is wrong with it."""
    place = Path("/data") / name

    def answer(path: Path, flags: int) -> str:
        try:
            os.close(os.open(path, os.O_WRONLY | flags, 0o600))
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, "?")
        return "written"

    new = answer(place / ".sulku-write", os.O_CREAT)
    files = [path for path in sorted(place.rglob("*"))[:50] if path.is_file()]
    old = {answer(path, 0) for path in files} - {"EROFS", "EACCES"}
    if new != "EROFS" or old:
        return f"{new} {' '.join(sorted(old))}".strip()
    return "EROFS" if all(os.access(path, os.R_OK) for path in files) else "unreadable"


def configuration(token: str) -> Any:
    """Return the server's settings; each that is off would be a way around the gateway's allow-list."""
    from tornado import web
    from traitlets.config import Config

    class NoFiles(web.RequestHandler):
        """Whole files are never served; the gateway refuses the path as well."""

        def initialize(self, **_: object) -> None:
            """Take what a file handler would be given."""

        def prepare(self) -> None:
            """Refuse."""
            raise web.HTTPError(403)

    c = Config()
    c.IdentityProvider.token = token  # the gateway adds it to each request; a request with it needs no XSRF cookie,
    c.ServerApp.allow_remote_access = True  # nor a Host or Origin of ours: the gateway checks those, outside
    c.ServerApp.root_dir = HOME
    c.ServerApp.base_url = "/"
    c.ServerApp.open_browser = False
    c.ServerApp.quit_button = False
    c.ServerApp.terminals_enabled = False
    c.ServerApp.jpserver_extensions = {
        "jupyterlab": True, "jupyter_lsp": False, "jupyter_server_terminals": False, "notebook_shim": False,
    }  # fmt: skip
    c.ServerApp.log_level = "ERROR"
    c.ContentsManager.allow_hidden = False
    c.ContentsManager.files_handler_class = NoFiles
    c.FileContentsManager.delete_to_trash = False
    c.KernelManager.transport = "ipc"
    c.LabApp.extension_manager = "readonly"
    c.LabApp.news_url = None
    c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
    c.LabApp.app_settings_dir = SETTINGS
    return c


def serve(token: str, listener: socket.socket, ready: Any) -> None:
    """Serve JupyterLab on ``listener`` until killed; call ``ready`` once it accepts connections."""
    from jupyter_server.serverapp import ServerApp
    from jupyterlab.labapp import LabApp

    def bind(server: Any) -> None:
        listener.setblocking(False)
        listener.set_inheritable(False)
        server.http_server.add_socket(listener)
        server.io_loop.add_callback(ready)

    # Private names of jupyter-server 2.21: it can open a socket itself, but not take one that is open.
    ServerApp._find_http_port = lambda self: None
    ServerApp._bind_http_server = bind
    for folder in ("outbox", ".lab/settings", ".lab/workspaces"):
        os.makedirs(os.path.join(HOME, folder), exist_ok=True)
    LabApp.initialize_server(argv=[], config=configuration(token)).start()


def main() -> None:
    """Follow the supervisor's three messages; end when it does."""
    import probe

    control = socket.socket(fileno=CONTROL)
    os.set_inheritable(CONTROL, False)
    lines = control.makefile("rb")

    def say(message: dict[str, Any]) -> None:
        control.sendall(json.dumps(message).encode() + b"\n")

    def ready() -> None:
        say({"serving": True})
        lines.close()
        control.close()
        with open(os.devnull, "r+b") as silence:
            for number in (1, 2):
                os.dup2(silence.fileno(), number)

    try:
        say({"attempts": probe.run(json.loads(lines.readline())["probe"])})
        import jupyter_server.serverapp  # noqa: F401 half a second that passes while the verdict is recorded
        import jupyterlab.labapp  # noqa: F401

        for line in iter(lines.readline, b""):
            message = json.loads(line)
            if "mounted" in message:
                say({"refused": {name: refusal(name) for name in message["mounted"]}})
            elif "serve" in message:
                serve(message["serve"]["token"], socket.socket(fileno=LISTEN), ready)
                return
    except Exception:
        say({"failed": traceback.format_exc()[-3000:]})
        raise


if __name__ == "__main__":
    main()
