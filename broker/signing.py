"""The operator's commands for policies: ``sulku-broker policies key``, ``bundle`` and ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from broker.adapters import policy, policy_signed
from broker.adapters.keys import write

app = typer.Typer(no_args_is_help=True, help="Policies as one signed file, which OPA and the broker verify: on a cluster nothing else is taken.")
out = Console(stderr=True)


@app.command()
def key(path: Annotated[Path, typer.Argument(help="File of the private key; its public half goes to PATH.pub.")]) -> None:
    """Make a key to sign policies with. Keep it away from what runs: whoever has it decides what policy says."""
    out.print(f"made {path}; OPA and the broker need {policy_signed.make_key(path)} alone", soft_wrap=True)


@app.command()
def bundle(
    output: Annotated[Path, typer.Option(help="File to write, such as bundle.tar.gz.")],
    key: Annotated[Path, typer.Option(help="File of the private key.")],
    policies: Annotated[Path, typer.Option(help="Folder of the policies.")] = Path("policies"),
    profile: Annotated[str | None, typer.Option(help="Profile of data/thresholds.json to put in force; production takes `strict` alone.")] = None,
) -> None:
    """Pack and sign the policies of a folder. Prints the digest that decisions will name."""
    rules = policy.read(policies, profile=profile)
    write(output, policy_signed.pack(rules, key))
    output.chmod(0o644)  # nothing in it is secret
    typer.echo(rules.sha256)


@app.command()
def check(
    archive: Annotated[Path, typer.Argument(help="A bundle.")],
    key: Annotated[Path, typer.Option(help="File of the public key.")],
) -> None:
    """Say whether a bundle is signed by a key and whole, and which digest and profile decisions under it have."""
    rules = policy_signed.unpack(archive.read_bytes(), key)
    out.print(f"signed and whole: {len(rules.modules)} modules, profile {rules.tables['thresholds']['active']}", soft_wrap=True)
    typer.echo(rules.sha256)
