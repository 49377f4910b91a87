"""The gateway: the only way to a workspace, outside the sandbox; it imports ``sulku`` and nothing else of ours."""
