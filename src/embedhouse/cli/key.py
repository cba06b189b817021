"""`embedhouse key`: named API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell

app = typer.Typer(help="Make, list and revoke named API keys.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who uses the key: a person, a team, a service.")]


@app.command()
@command
def create(
    shell: Shell,
    name: Name,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace", metavar="N", help="Bind the key to this namespace, and nothing else; may be repeated."
        ),
    ] = None,
) -> None:
    """Make a key. It is shown once: only its hash is kept.

    Once there is a key, the server asks for one, on this machine too. Commands that go through a running server
    take theirs from EMBEDHOUSE_API_KEY.
    """
    from embedhouse.wiring.keys import open_keys

    with open_keys(shell.settings) as keys:
        made = keys.create(name, namespace)
    shell.show(made, lambda console: console.print(made.key, soft_wrap=True))
    if not shell.as_json:
        shell.note(f"This is the key of {name}. Keep it now: it is not shown again.")


@app.command("list")
@command
def list_(shell: Shell) -> None:
    """List the keys: names, first characters, and when they were made."""
    from embedhouse.cli import render
    from embedhouse.wiring.keys import open_keys

    with open_keys(shell.settings) as keys:
        found = keys.list()
    rows = [(key.name, f"{key.hint}...", ", ".join(key.namespaces or ["all"]), key.created_at) for key in found]
    columns = ["name", "key", "namespaces", "created"]
    shell.show({"keys": found}, lambda console: render.table(console, columns, rows))


@app.command()
@command
def revoke(shell: Shell, name: Name) -> None:
    """Refuse a key from now on; a running server does within a second. What was spent with it stays known."""
    from embedhouse.wiring.keys import open_keys

    with open_keys(shell.settings) as keys:
        keys.revoke(name)
    shell.show({"revoked": name}, lambda console: console.print(f"The key of {name} is revoked."))
