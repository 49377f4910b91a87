"""JupyterHub's configuration: ``SULKU_HUB_CONFIG=FILE.json jupyterhub -f hub/jupyterhub_config.py``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from tornado.httpserver import HTTPServer

from hub.neighbours import Door, neighbour
from hub.settings import read, token
from sulku import links

settings = read()
state = Path(settings.state_dir)
state.mkdir(mode=0o700, parents=True, exist_ok=True)

c = get_config()  # type: ignore[name-defined]  # noqa: F821 JupyterHub gives it

# Nobody signs in: people enter by a ticket at the gateway. The hub listens at one address, for the broker.
c.JupyterHub.authenticator_class = "null"
address = links.address(settings.hub_address)
if address.path:
    c.JupyterHub.hub_bind_url = "http+unix://" + quote(address.path, safe="")
    c.JupyterHub.hub_socket_mode = 0o600
else:
    HTTPServer.configure(Door)
    c.JupyterHub.hub_bind_url = address.url
for part in (links.BROKER, links.GATEWAY):
    neighbour(part)  # what does not serve is refused now, not at the first spawn
c.JupyterHub.db_url = f"sqlite:///{state / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}  # answer at once; the broker watches the progress
c.JupyterHub.last_activity_interval = 3600  # activity ends nothing here: a deadline does

# A hub that stops or starts again leaves tunnels alone: their deadlines are kept by others.
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.allow_named_servers = True

# Role ``user`` may do nothing, so a token of a workspace would be worth nothing; there is none inside either.
c.JupyterHub.services = [{"name": "broker", "api_token": token(settings.broker_token_file)}]
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": []},
    {
        "name": "broker",
        "services": ["broker"],
        "scopes": ["admin:users", "start:servers", "delete:servers", "read:servers", "read:hub", "proxy"],
    },
]

c.JupyterHub.proxy_class = "hub.proxy.GatewayProxy"
c.GatewayProxy.should_start = False
c.JupyterHub.proxy_check_interval = settings.check_routes_seconds

c.JupyterHub.spawner_class = "hub.spawner.BrokerSpawner"
c.Spawner.start_timeout = 75
c.Spawner.poll_interval = 30
c.Spawner.consecutive_failure_limit = 0  # a policy that refuses often is not a reason for the hub to stop
