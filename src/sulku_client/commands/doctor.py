"""`sulku doctor`: where the server is installed beside the client, its own command answers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import typer

from sulku.errors import ConfigurationError
from sulku_client import show

_PASSED = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def add(app: typer.Typer) -> None:
    """Add ``doctor``."""

    @app.command("doctor", context_settings=_PASSED)
    def doctor(context: typer.Context) -> None:
        """Hand over to `sulku-broker doctor`, with all options: for whoever runs the machine, or (`--cluster`) the cluster."""
        places = os.pathsep.join((str(Path(sys.argv[0]).parent), os.environ.get("PATH", os.defpath)))
        program = shutil.which("sulku-broker", path=places)
        if program is None:
            error = ConfigurationError("the server is not installed here: run `sulku-broker doctor` where the broker runs")
            show.refusal(error, json=False)
            raise typer.Exit(error.exit)
        os.execv(program, [program, "doctor", *context.args])  # noqa: S606
