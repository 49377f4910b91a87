"""JupyterLab exactly as a workspace runs it, but in the open: what a plain JupyterHub spawns in the comparison.

``JUPYTERHUB_SERVICE_URL`` says where to listen, ``BENCH_IMAGE`` where the workspace's programs are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, os.environ["BENCH_IMAGE"])

import wsboot  # the workspace's first program, for its settings
from jupyterlab.labapp import LabApp

where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
config = wsboot.configuration(os.environ.get("JUPYTERHUB_API_TOKEN", "bench"))
config.ServerApp.ip, config.ServerApp.port, config.ServerApp.base_url = where.hostname, where.port, where.path
config.ServerApp.root_dir = str(Path.cwd())
config.ServerApp.allow_root = True
LabApp.initialize_server(argv=[], config=config).start()
