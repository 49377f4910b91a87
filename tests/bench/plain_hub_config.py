"""Configuration of the plain JupyterHub that openings are compared with; ``BENCH_PLAIN`` names a JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

given = json.loads(Path(os.environ["BENCH_PLAIN"]).read_text())
state = Path(given["state"])
c = get_config()  # type: ignore[name-defined]  # noqa: F821 JupyterHub gives it
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.hub_bind_url = "http+unix://" + quote(given["socket"], safe="")
c.JupyterHub.db_url = f"sqlite:///{state / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}  # as ours
c.JupyterHub.allow_named_servers = True
c.JupyterHub.proxy_class = "tests.bench.no_proxy.NoProxy"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.services = [{"name": "broker", "api_token": given["token"]}]
scopes = ["admin:users", "start:servers", "delete:servers", "read:servers"]
c.JupyterHub.load_roles = [{"name": "broker", "services": ["broker"], "scopes": scopes}]
c.SimpleLocalProcessSpawner.home_dir_template = str(state / "home" / "{username}")
c.Spawner.cmd = given["command"]
c.Spawner.environment = given["environment"]
