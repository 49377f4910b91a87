"""Settings of every kernel in the workspace: say in good time that the tunnel ends."""

c = get_config()  # noqa: F821 IPython gives it
c.InteractiveShellApp.extensions = ["sulku_kernel"]
