"""The command ``sulku``: ``sulku <noun> <verb>``, everything that the pages do.

Exit status: 0 done; 2 usage; 3 refused; 4 not found; 5 conflict; 6 unavailable; 7 integrity broken; 8 a permit's status
cannot be told; 9 the status list is too old.
"""

from __future__ import annotations

import typer

from sulku_client.commands import applications, datasets, doctor, ledger, people, permits, releases, session, tunnels

app = typer.Typer(
    name="sulku",
    help="Work with a sulku data access broker. Exit status: 2 usage, 3 refused, 4 not found, 5 conflict, 6 unavailable, 7 integrity, "
    "8 a permit's status cannot be told, 9 the status list is too old.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
session.add(app)
doctor.add(app)
for noun in (
    people.app, datasets.app, applications.app, permits.app, permits.register, tunnels.app, releases.outputs, releases.app, ledger.app,
):  # fmt: skip
    app.add_typer(noun)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
