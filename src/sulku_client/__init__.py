"""The command line ``sulku`` and the tools that verify offline; installs without the server."""
