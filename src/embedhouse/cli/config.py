"""`embedhouse config show`: every setting, its value, and where it came from."""

from __future__ import annotations

import typer

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell

app = typer.Typer(help="Settings: values and where they come from.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
@command
def show(shell: Shell) -> None:
    """Print each setting, its value, and where it came from. Secrets show as "set"."""
    from embedhouse.cli import render

    rows = list(shell.settings.shown())
    record = {name: {"value": value, "origin": origin} for name, value, origin in rows}
    cells = [(name, str(value), origin) for name, value, origin in rows]
    shell.show(record, lambda console: render.table(console, ["setting", "value", "from"], cells))
