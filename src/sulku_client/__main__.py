"""``python -m sulku_client`` is ``sulku``."""

from sulku_client.cli import main

main()
