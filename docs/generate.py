"""Write what the reference takes from code; ``--check`` fails, with a difference, if a page is not as the code says."""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, Final, get_type_hints

import typer

from broker import manage
from broker.settings import PREFIX, Settings
from broker.web.app import description
from docs import schemas
from docs.reference import permissions
from sulku import errors as tree
from sulku.events import REGISTRY
from sulku.links import LINKS, PARTS
from sulku.soundness import CHECKS
from sulku_client.cli import app

ROOT: Final = Path(__file__).parents[1]
REFERENCE: Final = ROOT / "docs" / "reference"
NOTE: Final = "<!-- Generated from code by docs/generate.py; change the code, then run it again. -->\n\n"
EVERYWHERE: Final = {"--help", "--json", "--server", "--as", "--state"}  # options that every command takes, said once
NOUNS: Final = ("datasets", "applications", "permits", "tunnels", "mounts", "outputs", "releases")
EVENTFUL: Final = ("people", *NOUNS, "events")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield a Markdown table, line by line."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |"


def code(text: str) -> str:
    """Return a docstring's text as Markdown: its double backticks become single ones."""
    return text.replace("``", "`")


def summary(thing: object) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return code(" ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()))


def page(title: str, lead: str, lines: Iterator[str]) -> str:
    """Return a page with a title and a lead."""
    return f"{NOTE}# {title}\n\n{lead}\n\n" + "\n".join(lines).rstrip() + "\n"


# --- lifecycles and events --------------------------------------------------------------------------------------------


def lifecycles() -> str:
    """Return the page of every lifecycle."""

    def lines() -> Iterator[str]:
        for name in NOUNS:
            machine = import_module(f"sulku.{name}").MACHINE
            states = dict.fromkeys([machine.start, *machine.table.values()])
            final = ", ".join(f"`{one}`" for one in states if not machine.moves(one))
            yield f"## {machine.noun.capitalize()}\n"
            yield f"{summary(import_module(f'sulku.{name}'))}\n"
            yield from table(("in", "move", "becomes"), [(f"`{s}`", m, f"`{t}`") for (s, m), t in machine.table.items()])
            yield f"\nBegins `{machine.start}`. Nothing leads out of {final}.\n"
            yield "```mermaid"
            yield from machine.mermaid()
            yield "```\n"

    lead = "A lifecycle is a table of data that the code obeys and the tests walk. A step that is not in its table is refused with `illegal-move`."
    return page("Lifecycles", lead, lines())


def events() -> str:
    """Return the page of every event."""

    for name in EVENTFUL:
        import_module(f"sulku.{name}")

    def lines() -> Iterator[str]:
        noun = ""
        for (kind, schema), cls in sorted(REGISTRY.items()):
            if (here := kind.split(".")[0]) != noun:
                noun = here
                yield f"## {noun.capitalize()}\n"
            marks = [f"schema {schema}"] + (["ending"] if cls.ENDING else []) + (["in the ledger alone"] if cls.STATELESS else [])
            yield f"### `{kind}`\n\n{summary(cls)} *({', '.join(marks)})*\n"
            hints = get_type_hints(cls)
            rows = [(f"`{one.name}`", _type(hints[one.name]), "committed" if one.name in cls.PRIVATE else "") for one in fields(cls)]  # type: ignore[arg-type]
            if rows:
                yield from table(("field", "type", "in the ledger"), rows)
                yield ""

    lead = (
        "Every change is one or more of these events, and every event is one record of the [ledger](formats.md#a-ledger-record). Fields marked\n"
        "*committed* hold free text or personal data: the ledger has a salted commitment, and the text stands beside it, where it can lawfully be\n"
        "erased. Any other field whose JSON is longer than 4,096 bytes is committed to as well. *Ending* events may be recorded under the\n"
        "authority of the decision that opened the thing; *in the ledger alone* means that no record changes."
    )
    return page("Events", lead, lines())


def _type(hint: Any) -> str:
    text = str(hint) if "[" in str(hint) or "|" in str(hint) else getattr(hint, "__name__", str(hint))
    return re.sub(r"\b(?:sulku|datetime|typing)\.(?:\w+\.)*", "", text).replace("...", "…")


# --- errors -----------------------------------------------------------------------------------------------------------


def errors() -> str:
    """Return the page of every error, and of every rule that is refused under the code ``rule``."""

    def walk(cls: type[tree.SulkuError], depth: int) -> Iterator[tuple[str, ...]]:
        for child in cls.__subclasses__():
            if child.__module__.startswith(tree.__name__) and "code" in vars(child):  # the others relay somebody else's code
                fix = "" if child.remedy is not tree.SulkuError.remedy and child.fix == tree.SulkuError.fix else child.fix
                yield (
                    f"{'· ' * depth}`{child.code}`",
                    str(child.status),
                    str(child.exit),
                    summary(child),
                    code(fix) or "said by the error itself",
                )
                yield from walk(child, depth + 1)

    def lines() -> Iterator[str]:
        yield from table(("code", "HTTP", "exit", "what", "what next"), list(walk(tree.SulkuError, 0)))
        yield "\n## Rules of a lifecycle\n"
        yield "Refused under the code `rule`, whoever asks, with one of these as `rule` in the answer.\n"
        yield from table(("rule", "said", "what next"), sorted(rules()))

    lead = (
        "Every no is one tree of codes, shown alike by pages, API, command line and ledger; a code never changes its meaning. What stands\n"
        "under `refused` is a no that the reader can act on; what stands under `fault` is one that an operator must act on. The reasons that\n"
        "come with `denied` are listed under [permissions](permissions.md#reasons)."
    )
    return page("Errors", lead, lines())


def rules() -> set[tuple[str, ...]]:
    """Return code, message and remedy of each ``RuleError`` that the core and the flows raise, read from their source."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted([*(ROOT / "src" / "sulku").rglob("*.py"), *(ROOT / "broker" / "flows").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RuleError" and isinstance(node.args[0], ast.Constant):
                said, remedy = (*map(_literal, node.args[1:]), "")[:2] if len(node.args) > 1 else ("", "")
                name = f"`{node.args[0].value}`"
                if name not in found or remedy > found[name][2]:
                    found[name] = (name, said, remedy)
    return set(found.values())


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "…"


# --- settings, command line, API --------------------------------------------------------------------------------------


def settings() -> str:
    """Return the page of every setting."""

    def lines() -> Iterator[str]:
        rows = [
            (f"`{name}`", f"`{PREFIX}{name.upper()}`", f"`{_value(field.default)}`", str(field.description))
            for name, field in Settings.model_fields.items()
        ]
        yield from table(("setting", "variable", "default", "what"), rows)

    lead = (
        "A variable of the environment beats `settings.json` in the state folder, which beats the default. Secrets are never values: a setting\n"
        "names a file, which only its owner may read. `sulku-broker doctor` shows each value and where it comes from."
    )
    return page("Settings", lead, lines())


def links() -> str:
    """Return the page of every link between parts."""

    def lines() -> Iterator[str]:
        rows = [
            (
                ", ".join(sorted(link.callers)), link.to, "<br>".join(f"`{one}…`" for one in link.paths),
                f"`{link.to}_address`", f"`secrets/{link.token}`", link.why,
            )
            for link in LINKS
        ]  # fmt: skip
        yield from table(("who asks", "whom", "for", "where", "with the token", "what for"), rows)
        yield "\n## What else is connected to\n"
        yield from table(("who", "what", "how"), list(ELSEWHERE))

    lead = (
        "Each is a unix socket below `<state>/run` (`unix:/path`, the default), or TCP with mutual TLS (`https://host:port`): TLS 1.3, and on\n"
        f"both ends a certificate with the part's name ({', '.join(f'`{one}`' for one in PARTS)}) as a DNS name, of the one authority of all parts.\n"
        "What is not in the table is refused. Why it is so: [ADR 0011](../adr/0011-links-by-mutual-tls.md); how to set it up: "
        "[link the parts by TCP](../how-to/operator/link-parts-by-tcp.md)."
    )
    return page("Links between parts", lead, lines())


ELSEWHERE: Final = (
    ("gateway", "a workspace", "its unix socket, or `http://IP:PORT` in the pods' networks (`workspace_networks`); the workspace's token, no name, no redirect, no proxy"),
    ("gateway", "a pod's programs, for the worker", "one line each way, sealed with a key that the gateway does not have"),
    ("broker, worker", "a workspace's supervisor", "a unix socket below `<state>/run/t-…`; on Kubernetes the API server, and a pod's programs by way of the gateway alone"),
    ("broker, worker", "PostgreSQL, Redis", "their own protocols and TLS, by `database` and `redis_url`"),
    ("broker, worker", "an OPA server", "`opa_url`; beside the broker"),
    ("broker", "the issuer", "HTTPS; the development issuer by loopback"),
    ("browsers, programs", "broker, gateway", "HTTP behind whatever ends TLS for people; `host` and `port`, `gate_port`"),
    ("hub", "a workspace", "never: it believes the broker that a workspace answers"),
)


def _value(value: object) -> str:
    return "" if value is None else str(getattr(value, "value", value)) or "(empty)"


def cli() -> str:
    """Return the page of both commands."""

    def walk(command: Any, path: str, level: int) -> Iterator[str]:
        children = getattr(command, "commands", {})
        if not children:
            yield from _command(command, path, level)
        elif " " in path:
            yield f"{'#' * level} `{path}`\n\n{_help(command)}\n"
        for name, child in children.items():
            yield from walk(child, f"{path} {name}", level + 1)

    def lines() -> Iterator[str]:
        yield from walk(typer.main.get_command(app), "sulku", 1)
        yield "## The operator's command\n"
        yield "Each takes `--state PATH`, the folder of everything that is kept (`SULKU_STATE`; `var`).\n"
        yield from walk(typer.main.get_command(manage.app), "sulku-broker", 2)

    lead = (
        "`sulku` is for researchers, stewards and auditors; `sulku-broker` is for whoever runs the machine. Every command of `sulku` also takes\n"
        "`--json`, `--server URL` (`SULKU_SERVER`) and `--as ROLE` (`SULKU_ROLE`). Exit status: 0 done, 2 usage, 3 refused, 4 not found,\n"
        "5 conflict, 6 unavailable, 7 integrity broken, 8 a permit's status cannot be told, 9 the status list is too old."
    )
    return page("Command line", lead, lines())


def _help(command: Any) -> str:
    return code(" ".join((command.help or "").split()))


def _command(command: Any, path: str, level: int) -> Iterator[str]:
    places = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not EVERYWHERE & set(one.opts)]
    usage = " ".join(_place(one) for one in places)
    yield f"{'#' * level} `{path}{' ' + usage if usage else ''}`\n\n{_help(command)}\n"
    rows = [(f"`{'` / `'.join([*one.opts, *one.secondary_opts])}`", _option(one)) for one in options]
    if rows:
        yield from table(("option", "what"), rows)
        yield ""


def _place(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[]{}").removesuffix("...")
    name = name if argument.required else f"[{name}]"
    return f"{name}…" if argument.nargs == -1 else name


def _option(option: Any) -> str:
    marks = [
        mark
        for mark, there in (("needed", option.required), ("may be repeated", option.multiple))
        if there and mark not in (option.help or "")
    ]
    return code(option.help or "") + (f" *({', '.join(marks)})*" if marks else "")


def api() -> str:
    """Return the page of the HTTP interface."""

    def lines() -> Iterator[str]:
        noun = ""
        for path, methods in description()["paths"].items():
            for method, told in methods.items():
                if (here := told["tags"][0]) != noun:
                    if noun:
                        yield ""
                    noun = here
                    yield f"## {noun.capitalize()}\n"
                    yield from table(("method", "path", "what"), [])
                text = code(" ".join((told.get("description") or told["summary"]).split("\n\n")[0].split()))
                yield f"| {method.upper()} | `{path}` | {text.replace('|', chr(92) + '|')} |"

    lead = (
        "JSON over HTTP. A running broker gives the whole description (OpenAPI 3.1) at `/api/v1/openapi.json`. Callers bear an access token of\n"
        "the issuer (`Authorization: Bearer …`) and may choose a role that they hold (`Sulku-Role`). `Idempotency-Key` makes a repeated change\n"
        "happen once; `If-Match` with a record's version refuses a stale one. Every no is `application/problem+json` (RFC 9457) with `code`,\n"
        "`detail` and `remedy`: see [errors](errors.md)."
    )
    return page("HTTP interface", lead, lines())


def checks() -> str:
    """Return the page of what `doctor --cluster` tries."""

    def lines() -> Iterator[str]:
        rows = [(f"`{one.name}`", one.attack, f"not ok{', unknown' if one.certain else ''}", one.remedy) for one in CHECKS.values()]
        yield from table(("check", "what is tried", "no tunnel is safe if it is", "what to do"), rows)

    lead = (
        "`sulku-broker doctor --cluster` attacks the cluster from pods of its own: see [how to use it](../how-to/operator/doctor.md). What fails\n"
        "inside a tunnel counts as *ok* only if an unrestricted pod got through right before and after; else it is *unknown*. The names are\n"
        "stable, for scripts."
    )
    return page("Checks of a cluster", lead, lines())


# --- all of it --------------------------------------------------------------------------------------------------------


def _json(schema: Callable[[], dict[str, Any]]) -> Callable[[], str]:
    return lambda: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "lifecycles.md": lifecycles,
    "events.md": events,
    "errors.md": errors,
    "settings.md": settings,
    "links.md": links,
    "cli.md": cli,
    "api.md": api,
    "permissions.md": permissions.page,
    "cluster-checks.md": checks,
    "permit.schema.json": _json(schemas.permit),
    "release.schema.json": _json(schemas.release),
}


def main(*, check: bool) -> int:
    """Write every page, or compare each with what would be written; 1 if one differs."""
    wrong = 0
    for name, make in PAGES.items():
        path, wanted = REFERENCE / name, make()
        there = path.read_text() if path.exists() else ""
        if there == wanted:
            continue
        if check:
            wrong = 1
            difference = difflib.unified_diff(
                there.splitlines(), wanted.splitlines(), f"{name} as it is", f"{name} as the code says", lineterm="", n=1
            )
            print("\n".join(difference))
        else:
            path.write_text(wanted)
            print(f"wrote {path.relative_to(ROOT)}")
    return wrong


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
