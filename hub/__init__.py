"""JupyterHub as the spawner of tunnels: nobody signs in to it, its one client is the broker, and it holds no rights."""
