"""JupyterLab's own files, from a trusted copy outside every sandbox; nothing of them is read from a workspace."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from sulku.errors import ConfigurationError

TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".eot": "application/vnd.ms-fontobject",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}

# Parts of JupyterLab that would offer what the gateway refuses: hiding them is a courtesy, the refusal stands by itself.
DISABLED: Final = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyterlab/debugger-extension",
    "@jupyterlab/docmanager-extension:download",
    "@jupyterlab/extensionmanager-extension",
    "@jupyterlab/filebrowser-extension:download",
    "@jupyterlab/fileeditor-extension:language-server",
    "@jupyterlab/filebrowser-extension:open-browser-tab",
    "@jupyterlab/filebrowser-extension:share-file",
    "@jupyterlab/filebrowser-extension:open-url",
    "@jupyterlab/apputils-extension:licenses-plugin",
    "@jupyterlab/htmlviewer-extension",
    "@jupyterlab/hub-extension",
    "@jupyterlab/javascript-extension",  # evaluates text from the workspace as script
    "@jupyterlab/lsp-extension",
    "@jupyterlab/notebook-extension:export",
    "@jupyterlab/notebook-extension:language-server",
    "@jupyterlab/pdf-extension",
    "@jupyterlab/pluginmanager-extension",
    "@jupyterlab/terminal-extension",
    "@jupyterlab/translation-extension:plugin",
)
OVERRIDES: Final[dict[str, dict[str, object]]] = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
    "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": 30},
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file that may be served, and as what."""

    file: Path
    type: str


class Assets:
    """An index from address to file, made once: requests are looked up, never joined to a folder."""

    def __init__(self, prefix: Path) -> None:
        """Index the JupyterLab that is installed under ``prefix``.

        Raises:
            ConfigurationError: There is no JupyterLab.
        """
        share = prefix / "share" / "jupyter"
        lab = share / "lab"
        page = lab / "static" / "index.html"
        server = next(prefix.glob("lib/python3*/site-packages/jupyter_server/static"), None)
        if not page.is_file() or server is None:
            raise ConfigurationError(f"lab_prefix: there is no JupyterLab under {prefix}")
        self._files: dict[str, Asset] = {}
        self._add("/static/lab", lab / "static")
        self._add("/static", server)
        self._add("/lab/api/themes", lab / "themes")
        self._add("/lab/extensions", share / "labextensions")
        self._add("/kernelspecs", share / "kernels", {".png", ".svg"})
        self.kernelspecs = _kernelspecs(share / "kernels")
        self.settings = _settings(lab / "schemas", share / "labextensions")
        self._scripts = re.findall(r'<script defer="defer" src="{{page_config.fullStaticUrl}}/([^"]+)"', page.read_text())
        self._federated = _federated(share / "labextensions")
        if not self._scripts:
            raise ConfigurationError(f"lab_prefix: {page} is not a page that this gateway knows how to serve")

    def _add(self, address: str, folder: Path, kinds: set[str] | None = None) -> None:
        for file in folder.rglob("*") if folder.is_dir() else ():
            kind = TYPES.get(file.suffix)
            if kind and file.is_file() and (kinds is None or file.suffix in kinds):
                self._files[f"{address}/{file.relative_to(folder).as_posix()}"] = Asset(file, kind)

    def find(self, path: str) -> Asset | None:
        """Return the file served at ``path``, if any."""
        return self._files.get(path)

    def page(self, path: str) -> str:
        """Return JupyterLab's page for ``/lab…``; its settings come from here, not from the workspace."""
        words = path.split("/")
        workspace = words[3] if words[2:3] == ["workspaces"] else "default"
        tree = path.partition("/tree/")[2]
        settings = self._page_settings(workspace, tree)
        data = json.dumps(settings).replace("<", "\\u003c").replace("&", "\\u0026")
        scripts = "".join(f'<script defer src="/static/lab/{escape(script)}"></script>' for script in self._scripts)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>JupyterLab</title>'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<script id="jupyter-config-data" type="application/json">{data}</script>'
            '<link rel="icon" type="image/x-icon" href="/static/favicons/favicon.ico" class="idle favicon">'
            '<link rel="" type="image/x-icon" href="/static/favicons/favicon-busy-1.ico" class="busy favicon">'
            f'{scripts}</head><body class="jp-ThemedContainer"></body></html>'
        )

    def _page_settings(self, workspace: str, tree: str) -> dict[str, Any]:
        addresses = {
            "app": "/lab",
            "labextensions": "/lab/extensions",
            "listings": "/lab/api/listings",
            "licenses": "/lab/api/licenses",
            "settings": "/lab/api/settings",
            "themes": "/lab/api/themes",
            "translationsApi": "/lab/api/translations",
            "tree": "/lab/tree",
            "workspacesApi": "/lab/api/workspaces",
        }
        urls = {f"{name}Url": url for name, url in addresses.items()}
        full = {f"full{name[0].upper()}{name[1:]}": url for name, url in urls.items()}
        return urls | full | {
            "appName": "JupyterLab", "appNamespace": "lab", "appVersion": "4", "baseUrl": "/", "wsUrl": "", "token": "",
            "fullStaticUrl": "/static/lab", "federated_extensions": self._federated, "disabledExtensions": DISABLED,
            "terminalsAvailable": False, "buildAvailable": False, "buildCheck": False, "cacheFiles": False,
            "devMode": False, "exposeAppInBrowser": False, "quitButton": False, "news": {"disabled": True},
            "mode": "multiple-document", "notebookStartsKernel": True, "preferredPath": "/", "store_id": 0,
            "treePath": tree, "workspace": workspace, "ignorePlugins": [], "untracked_message_types": [],
            "allow_hidden_files": False, "delete_to_trash": False, "extensionManager": {"can_install": False},
        }  # fmt: skip


def _kernelspecs(folder: Path) -> dict[str, Any]:
    specs = {}
    for file in sorted(folder.glob("*/kernel.json")):
        name = file.parent.name
        images = {f"logo-{file.stem.removeprefix('logo-')}": file.name for file in file.parent.glob("logo-*")}
        resources = {key: f"/kernelspecs/{name}/{image}" for key, image in sorted(images.items())}
        specs[name] = {"name": name, "spec": json.loads(file.read_bytes()), "resources": resources}
    return {"default": "python3" if "python3" in specs else next(iter(specs), ""), "kernelspecs": specs}


def _settings(*folders: Path) -> dict[str, dict[str, Any]]:
    """Return every plugin's settings as JupyterLab's server words them, with our defaults and nobody's choices."""
    found = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.json")):
            if file.name in {"package.json", "package.json.orig", "install.json"} or "schemas" not in file.parts:
                continue
            schema = json.loads(file.read_bytes())
            relative = file.relative_to(folder).parts
            plugin = "/".join(relative[:-1]).replace("/schemas", "") + f":{file.stem}"
            bars = schema.get("jupyter.lab.toolbars", {})
            if "FileBrowser" in bars:
                bars["FileBrowser"] = [item for item in bars["FileBrowser"] if item["name"] != "uploader"]
            for key, value in OVERRIDES.get(plugin, {}).items():
                schema.setdefault("properties", {}).setdefault(key, {})["default"] = value
            found[plugin] = {
                "id": plugin, "schema": schema, "version": "4", "raw": "{}", "settings": {}, "warning": None,
                "last_modified": None, "created": None,
            }  # fmt: skip
    return found


def _federated(folder: Path) -> list[dict[str, Any]]:
    found = []
    for file in sorted([*folder.glob("*/package.json"), *folder.glob("@*/*/package.json")]):
        package = json.loads(file.read_bytes())
        build = package.get("jupyterlab", {}).get("_build")
        if build:
            found.append({"name": package["name"], "entrypoints": None, **build})
    return found
