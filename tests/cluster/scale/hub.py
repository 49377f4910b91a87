"""Configuration of the plain JupyterHub with KubeSpawner that openings are compared with; ``SCALE_HUB`` is a folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

state = Path(os.environ["SCALE_HUB"])
ADDRESS = os.environ["SCALE_ADDRESS"]

c = get_config()  # type: ignore[name-defined]  # noqa: F821 JupyterHub gives it
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.proxy_class = "tests.bench.no_proxy.NoProxy"
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.hub_bind_url = f"http://{ADDRESS}:8081"
c.JupyterHub.db_url = f"sqlite:///{state / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.services = [{"name": "bench", "api_token": (state / "token").read_text()}]
c.JupyterHub.load_roles = [{"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers"]}]
c.Spawner.start_timeout = 600
c.Spawner.http_timeout = 120
c.Spawner.consecutive_failure_limit = 0
c.KubeSpawner.namespace = os.environ["SCALE_NAMESPACE"]
c.KubeSpawner.image = os.environ["SCALE_IMAGE"]
c.KubeSpawner.events_enabled = False
c.KubeSpawner.k8s_api_request_timeout = 30
c.KubeSpawner.k8s_api_request_retry_timeout = 300
c.KubeSpawner.delete_grace_period = 1
