"""`embedhouse serve`: the house over HTTP."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell


@functools.partial(command, sets=("host", "port"))
def serve(
    shell: Shell,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", help="Where to listen. Beyond this machine an API key is required. [default: 127.0.0.1]"
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="[default: 7700]")] = None,
) -> None:
    """Serve the house over HTTP until Ctrl-C. Other commands then go through the server."""
    from embedhouse.api.server import HouseServer
    from embedhouse.cli.logs import configure_logging
    from embedhouse.wiring import open_house

    configure_logging(shell.settings.log_level)

    def ready(url: str) -> None:
        shell.note(f"Embedhouse serves {shell.settings.home} at {url} (Ctrl-C stops it)")

    HouseServer(open_house, shell.settings, on_ready=ready).run_until_stopped()
