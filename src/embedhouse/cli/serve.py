"""`embedhouse serve`: the house over HTTP."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.house import House


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

    def open_announced(settings: Settings) -> House:
        house = open_house(settings)
        house.announce(server.url)
        return house

    def ready(url: str) -> None:
        shell.note(f"Embedhouse serves {shell.settings.home} at {url} (Ctrl-C stops it)")

    server = HouseServer(open_announced, shell.settings, on_ready=ready)
    server.run_until_stopped()
